//! Requests of many callers go in with one statement, and so in one commit; each is answered for itself.
//!
//! The commit is what a durable insert costs: shared by all who wait for one, it costs each of them little. What is wrong
//! with one request is its own: it is left out, and the others go in. When the database refuses the statement as a
//! whole, each request is tried alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Accepted, Error, announce, answers, itself, new_job, project, refused};
use crate::app::authenticate::Caller;
use crate::app::follow::Aside;
use crate::app::gather::{Company, Gather, all_or_each};
use crate::app::hint::Hints;
use crate::domain::id::{JobId, ProjectId};
use crate::domain::spec::JobSpec;
use crate::store::insert::NewJob;
use crate::store::{self, Pool};

/// Statements under way at once: while one waits for the disk, the next is put together.
const WORKERS: usize = 2;
/// Most requests of one statement.
const MOST: usize = 200;
/// Most projects that are remembered; where there are more, all are forgotten.
const REMEMBERED: usize = 1000;

/// Projects by alias, as they were a while ago, for callers from memory: the statement that puts their jobs in asks whether
/// the project is still there, and the alias of one that is never becomes another's.
#[derive(Clone, Debug, Default)]
struct Aliases(Arc<Mutex<HashMap<String, ProjectId>>>);

impl Aliases {
    /// The projects that there are of those the requests name. They are looked up unless all callers are from memory, and
    /// all projects too.
    async fn of(&self, pool: &Pool, requests: &[Request]) -> store::Result<HashMap<String, ProjectId>> {
        let aliases = requests.iter().map(|request| request.spec.project_id.as_str());
        let aliases: BTreeSet<&str> = aliases.collect();
        if requests.iter().all(|request| request.caller.seen.is_some()) {
            let known = self.known();
            let found = aliases.iter().map(|alias| known.get_key_value(*alias));
            let found: Option<Vec<_>> = found.collect();
            if let Some(found) = found {
                return Ok(found
                    .into_iter()
                    .map(|(alias, id)| (alias.clone(), *id))
                    .collect());
            }
        }
        let aliases: Vec<&str> = aliases.into_iter().collect();
        let found = store::project::by_aliases(pool, &aliases).await?;
        let mut known = self.known();
        for alias in aliases {
            known.remove(alias);
        }
        if known.len() + found.len() > REMEMBERED {
            known.clear();
        }
        known.extend(found.clone());
        Ok(found)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, ProjectId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
    let putting = Putting {
        pool: pool.clone(),
        hints: hints.clone(),
        aside: Aside::start(pool, hints),
        aliases: Aliases::default(),
    };
    Gather::start(WORKERS, MOST, Company::AsBefore, move |requests| {
        let putting = putting.clone();
        async move {
            let all = |requests: Arc<[Request]>| {
                let putting = &putting;
                async move { putting.all(&requests).await }
            };
            let answers = all_or_each(requests, all, store::Error::is_away).await;
            let answer = |answer: Result<_, _>| answer.unwrap_or_else(|error| Err(Error::Together(error)));
            answers.into_iter().map(answer).collect()
        }
    })
}

/// What it takes to put requests in.
#[derive(Clone)]
struct Putting {
    pool: Pool,
    hints: Hints,
    aside: Aside,
    aliases: Aliases,
}

impl Putting {
    /// One statement for all whose project is theirs; answers in the order of the requests.
    async fn all(&self, requests: &[Request]) -> store::Result<Vec<Result<Accepted, Error>>> {
        let projects = self.aliases.of(&self.pool, requests).await?;
        let job = |Request { caller, spec }: &'_ Request| {
            let found = projects.get(&spec.project_id).copied();
            project(found, caller, &spec.project_id, "").map_err(|error| refused(caller, error))
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
            false => store::insert::insert(&self.pool, &jobs, None).await?,
        };
        let there: BTreeSet<JobId> = inserted.iter().map(|inserted| inserted.id).collect();
        let mut held = BTreeMap::new();
        // The others are in: what goes wrong here is the matter of who asked again.
        for job in jobs.iter().filter(|job| !there.contains(&job.id)) {
            held.insert(job.id, why_left_out(&self.pool, job).await);
        }
        self.aside.admit(announce(&self.hints, &jobs, &inserted));
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
}

/// The job that holds the key for which `job` was left out, if that is why.
async fn why_left_out(pool: &Pool, job: &NewJob<'_>) -> Result<JobId, Error> {
    // Perhaps it was not for its key.
    if job.seen.is_some() {
        return Err(Error::Outdated);
    }
    let mut connection = pool.acquire().await.map_err(store::Error::from)?;
    let found = answers(&mut connection, std::slice::from_ref(job), &[], |_| String::new()).await?;
    found.first().map(|holder| holder.job).ok_or(Error::KeyVanished)
}
