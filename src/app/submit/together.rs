//! Requests of many callers go in with one statement, and so in one commit; each is answered for itself.
//!
//! The commit is what a durable insert costs: shared by all who wait for one, it costs each of them little. What is wrong
//! with one request is its own: it is left out, and the others go in. When the database refuses the statement as a
//! whole, each request is tried alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Accepted, Error, follow_up, holder, itself, new_job, project};
use crate::app::authenticate::Caller;
use crate::app::gather::{Gather, all_or_each};
use crate::app::hint::Hints;
use crate::domain::id::JobId;
use crate::domain::spec::JobSpec;
use crate::store::insert::NewJob;
use crate::store::{self, Pool};

/// Statements under way at once: while one waits for the disk, the next is put together.
const WORKERS: usize = 2;
/// Most requests of one statement.
const MOST: usize = 200;

/// One request, of somebody who may submit, for a job that needs no other.
#[derive(Clone, Debug)]
pub struct Request {
    pub(super) caller: Caller,
    pub(super) spec: JobSpec,
}

/// Where to leave requests.
pub type Together = Gather<Request, Result<Accepted, Error>>;

/// Puts in what is left there, for as long as somebody may leave something.
#[must_use]
pub fn together(pool: &Pool, hints: &Hints) -> Together {
    let (pool, hints) = (pool.clone(), hints.clone());
    Gather::start(WORKERS, MOST, move |requests| {
        let (pool, hints) = (pool.clone(), hints.clone());
        async move {
            let all = |requests: Arc<[Request]>| {
                let (pool, hints) = (&pool, &hints);
                async move { all(pool, hints, &requests).await }
            };
            let answers = all_or_each(requests, all, store::Error::is_away).await;
            let answer = |answer: Result<_, _>| answer.unwrap_or_else(|error| Err(Error::Together(error)));
            answers.into_iter().map(answer).collect()
        }
    })
}

/// One statement for all whose project is theirs; answers in the order of the requests.
async fn all(
    pool: &Pool,
    hints: &Hints,
    requests: &[Request],
) -> store::Result<Vec<Result<Accepted, Error>>> {
    let aliases: BTreeSet<&str> = requests
        .iter()
        .map(|request| request.spec.project_id.as_str())
        .collect();
    let aliases: Vec<&str> = aliases.into_iter().collect();
    let projects = store::project::by_aliases(pool, &aliases).await?;
    let job = |Request { caller, spec }: &'_ Request| {
        let found = projects.get(spec.project_id.as_str()).copied();
        project(found, caller, &spec.project_id, "")
    };
    let reached: Vec<Result<_, Error>> = requests.iter().map(job).collect();
    let jobs: Vec<NewJob<'_>> = reached
        .iter()
        .zip(requests)
        .filter_map(|(project, request)| {
            Some(new_job(&request.caller, &request.spec, *project.as_ref().ok()?))
        })
        .collect();
    let inserted = match jobs.is_empty() {
        true => Vec::new(),
        false => store::insert::insert(pool, &jobs, None).await?,
    };
    let there: BTreeSet<JobId> = inserted.iter().map(|inserted| inserted.id).collect();
    let mut held = BTreeMap::new();
    // The others are in: what goes wrong here is the matter of who asked again.
    for job in jobs.iter().filter(|job| !there.contains(&job.id)) {
        let holder = match pool.acquire().await {
            Ok(mut connection) => holder(&mut connection, job).await,
            Err(error) => Err(Error::Store(error.into())),
        };
        held.insert(job.id, holder);
    }
    follow_up(pool, hints, &jobs, &inserted).await;
    let mut put = jobs.iter();
    let answers = reached.into_iter().map(|reached| {
        reached?;
        let job = put.next().ok_or(Error::KeyVanished)?;
        match held.remove(&job.id) {
            None => Ok(itself(job)),
            Some(holder) => Ok(Accepted {
                job: holder?,
                repeated: true,
            }),
        }
    });
    Ok(answers.collect())
}
