//! What `needs` names becomes jobs: ids, keys of jobs that are there, keys of jobs of the same request.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Error;
use crate::domain::id::{JobId, ProjectId};
use crate::domain::problem::Violation;
use crate::store::insert::{Holder, NewJob};
use crate::store::{self, Connection};

/// Fills in `needs` and `needed`, and marks the jobs of the tables that are needed.
pub(super) async fn resolve(
    db: &mut Connection,
    jobs: &mut [NewJob<'_>],
    path: impl Fn(usize) -> String + Send + Sync,
) -> Result<(), Error> {
    let unknown = |index: usize, need: &str| {
        let sentence = format!("names {need:?}, which is no job of the project, nor the key of one here");
        Error::Invalid(vec![Violation::new(format!("{}needs", path(index)), sentence)])
    };
    let mut outside: BTreeMap<(JobId, ProjectId), usize> = BTreeMap::new();
    let mut inside: Vec<Vec<usize>> = vec![Vec::new(); jobs.len()];
    let keys = keys_here(jobs);
    for project in jobs.iter().map(|job| job.project).collect::<BTreeSet<_>>() {
        let holders = holders(db, jobs, project).await?;
        for index in (0..jobs.len())
            .filter(|index| jobs[*index].project == project)
            .collect::<Vec<_>>()
        {
            for need in &jobs[index].spec.needs {
                let id = match (
                    need.parse(),
                    holders.get(need),
                    keys.get(&(project, need.clone())),
                ) {
                    (Ok(id), ..) => {
                        outside.entry((id, project)).or_insert(index);
                        id
                    }
                    // The key may be of a repeat: then the job that is there is meant.
                    (_, Some(holder), _) => {
                        outside.entry((holder.job, project)).or_insert(index);
                        holder.job
                    }
                    (_, _, Some(other)) => {
                        inside[index].push(*other);
                        jobs[*other].needed = true;
                        jobs[*other].id
                    }
                    _ => return Err(unknown(index, need)),
                };
                // One job may be named in several ways.
                if !jobs[index].needs.contains(&id) {
                    jobs[index].needs.push(id);
                }
            }
        }
    }
    if let Some(index) = in_a_cycle(&inside) {
        let sentence = "needs, through others of this request, itself";
        return Err(Error::Invalid(vec![Violation::new(
            format!("{}needs", path(index)),
            sentence,
        )]));
    }
    if outside.is_empty() {
        return Ok(());
    }
    let needed: Vec<_> = outside.keys().copied().collect();
    let found = store::need::mark(&mut *db, &needed).await?;
    let found: BTreeSet<_> = found.into_iter().collect();
    match outside.iter().find(|(need, _)| !found.contains(*need)) {
        Some(((id, _), index)) => Err(unknown(*index, &id.to_string())),
        None => Ok(()),
    }
}

type Keys = HashMap<(ProjectId, String), usize>;

/// The jobs of the request by key: of several with the same the first, which is the one that is put in.
fn keys_here(jobs: &[NewJob<'_>]) -> Keys {
    let key =
        |(index, job): (usize, &NewJob<'_>)| Some(((job.project, job.spec.idempotency_key.clone()?), index));
    jobs.iter().enumerate().rev().filter_map(key).collect()
}

async fn holders(
    db: &mut Connection,
    jobs: &[NewJob<'_>],
    project: ProjectId,
) -> Result<HashMap<String, Holder>, Error> {
    let named = jobs
        .iter()
        .filter(|job| job.project == project)
        .flat_map(|job| &job.spec.needs);
    let names: Vec<&str> = named.map(String::as_str).collect();
    match names.is_empty() {
        true => Ok(HashMap::new()),
        false => Ok(store::insert::holders(db, project, &names).await?),
    }
}

/// One of the jobs that wait, through others, for themselves, if there is any.
fn in_a_cycle(needs: &[Vec<usize>]) -> Option<usize> {
    // Kahn: take away what waits for nothing, again and again. What is left waits for ever.
    let mut waits: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut free: Vec<usize> = (0..needs.len()).filter(|job| waits[*job] == 0).collect();
    while let Some(done) = free.pop() {
        for (job, needs) in needs.iter().enumerate() {
            let met = needs.iter().filter(|need| **need == done).count();
            if met > 0 {
                waits[job] -= met;
                if waits[job] == 0 {
                    free.push(job);
                }
            }
        }
    }
    waits.iter().position(|waits| *waits > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycle_is_found_and_a_diamond_is_none() {
        assert_eq!(in_a_cycle(&[vec![], vec![0], vec![0], vec![1, 2]]), None);
        assert_eq!(in_a_cycle(&[vec![], vec![2], vec![3], vec![1]]), Some(1));
        assert_eq!(in_a_cycle(&[vec![0]]), Some(0));
        assert_eq!(in_a_cycle(&[]), None);
    }
}
