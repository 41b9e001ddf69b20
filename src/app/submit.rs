//! Requests become jobs: accepted means committed, and of several all or none.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::authenticate::Caller;
use super::hint::Hints;
use super::{agents, follow};
use crate::domain::id::{JobId, ProjectId};
use crate::domain::job::JobState;
use crate::domain::problem::Violation;
use crate::domain::spec::JobSpec;
use crate::domain::token::Scope;
use crate::store::gate::Gate;
use crate::store::insert::{Holder, Inserted, NewJob};
use crate::store::{self, Connection, Pool};

mod needs;
mod together;

pub use together::{Together, together};

/// Most jobs of one request.
pub const MOST: usize = 1000;

/// A request that was accepted.
#[derive(Clone, Copy, Debug)]
pub struct Accepted {
    /// The job, in the table.
    pub job: JobId,
    /// Whether it was there before, under the same idempotency key or unique key.
    pub repeated: bool,
}

/// Why a request was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something is wrong with the request.
    #[error("the job specification has {} error(s)", .0.len())]
    Invalid(Vec<Violation>),
    /// The caller may not submit.
    #[error("submitting needs a token with the scope `submit`")]
    Scope,
    /// The caller does not reach the project, or there is none by this name.
    #[error("this token does not reach a project named {0:?}")]
    Project(String),
    /// The key was used for another request.
    #[error(
        "{place}the idempotency key {key:?} belongs to {holder}, which was asked for with another request; use a new key"
    )]
    KeyReused {
        /// Which of the request, as `jobs[1]: `; empty where there is one.
        place: String,
        /// The key.
        key: String,
        /// Who has it, as `job ID`, or `jobs[0]` where that is of the same request.
        holder: String,
    },
    /// The holder of the key ended or was deleted while we looked.
    #[error("the job that held the key was gone just now; send the request again")]
    KeyVanished,
    /// PostgreSQL refused or is away.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The same, told to everybody whose request went with the same statement.
    #[error(transparent)]
    Together(Arc<store::Error>),
    /// The caller is from memory, and that does not do for this request: look them up, and ask again.
    #[error("the token has to be looked up for this request; send it again")]
    Outdated,
    /// Whoever was to put the request in is gone.
    #[error("nothing is known of what came of the request; send it again under an idempotency key")]
    Lost,
}

/// Puts one job in, in one commit with whatever others ask for just now.
///
/// # Errors
///
/// [`Error`], which says what to do; nothing is stored then. [`Error::Outdated`] is for callers from memory
/// ([`Caller::seen`]) only: it is their answer to whatever the statement that puts a job in cannot decide alone, as who
/// holds a key, which jobs are needed, and every no.
pub async fn submit_with_others(
    pool: &Pool,
    hints: &Hints,
    together: &Together,
    caller: &Caller,
    spec: JobSpec,
) -> Result<Accepted, Error> {
    // Needs are looked at and marked in a transaction of the request's own.
    if !spec.needs.is_empty() {
        return match caller.seen {
            None => submit(pool, hints, caller, &spec).await,
            Some(_) => Err(Error::Outdated),
        };
    }
    if !caller.may(Scope::Submit) {
        return Err(refused(caller, Error::Scope));
    }
    let wrong = agents::violations(pool, std::slice::from_ref(&spec), |_| String::new()).await?;
    if !wrong.is_empty() {
        return Err(refused(caller, Error::Invalid(wrong)));
    }
    let caller = caller.clone();
    let answer = together.ask(together::Request { caller, spec }).await;
    answer.ok_or(Error::Lost)?
}

/// Why a caller is refused; one from memory is looked up first.
fn refused(caller: &Caller, error: Error) -> Error {
    match caller.seen {
        None => error,
        Some(_) => Error::Outdated,
    }
}

/// Puts one job in.
///
/// # Errors
///
/// [`Error`], which says what to do; nothing is stored then.
pub async fn submit(pool: &Pool, hints: &Hints, caller: &Caller, spec: &JobSpec) -> Result<Accepted, Error> {
    let accepted = submit_all(pool, hints, caller, std::slice::from_ref(spec), |_| String::new()).await?;
    // One answer a specification: there is one.
    accepted.first().copied().ok_or(Error::KeyVanished)
}

/// Puts several jobs in, all or none, in one statement, for a caller who was looked up. `path` is where a specification lies
/// in the request, for what is wrong with it.
///
/// # Errors
///
/// [`Error`], which says what to do; nothing is stored then.
pub async fn submit_all(
    pool: &Pool,
    hints: &Hints,
    caller: &Caller,
    specs: &[JobSpec],
    path: impl Fn(usize) -> String + Send + Sync,
) -> Result<Vec<Accepted>, Error> {
    if !caller.may(Scope::Submit) {
        return Err(Error::Scope);
    }
    let projects = projects(pool, caller, specs, &path).await?;
    let wrong = agents::violations(pool, specs, &path).await?;
    if !wrong.is_empty() {
        return Err(Error::Invalid(wrong));
    }
    let new = |spec| new_job(caller, spec, projects[spec.project_id.as_str()]);
    let mut jobs: Vec<NewJob<'_>> = specs.iter().map(new).collect();
    let (accepted, inserted) = match specs {
        // One statement, and so one commit, by itself.
        [spec] if spec.needs.is_empty() => {
            let inserted = store::insert::insert(pool, &jobs, None).await?;
            let accepted = match inserted.len() {
                1 => jobs.iter().map(itself).collect(),
                _ => {
                    answers(
                        &mut *pool.acquire().await.map_err(store::Error::from)?,
                        &jobs,
                        &inserted,
                        path,
                    )
                    .await?
                }
            };
            (accepted, inserted)
        }
        _ => match put_by_themselves(pool, &mut jobs, &path).await {
            // Others took the key of a job that is needed here between the look and the insert: theirs is meant.
            Err(Error::Store(error)) if error.constraint() == Some("job_need_needs_id_fkey") => {
                jobs = specs.iter().map(new).collect();
                put_by_themselves(pool, &mut jobs, &path).await?
            }
            put => put?,
        },
    };
    follow_up(pool, hints, &jobs, &inserted).await;
    Ok(accepted)
}

/// Puts jobs in, in a transaction of their own.
async fn put_by_themselves(
    pool: &Pool,
    jobs: &mut [NewJob<'_>],
    path: impl Fn(usize) -> String + Send + Sync,
) -> Result<(Vec<Accepted>, Vec<Inserted>), Error> {
    let mut transaction = pool.begin().await.map_err(store::Error::from)?;
    let put = put(&mut transaction, jobs, path).await?;
    transaction.commit().await.map_err(store::Error::from)?;
    Ok(put)
}

/// Puts jobs in within a transaction of the caller's, who calls [`follow_up`] after its commit.
pub(super) async fn put(
    db: &mut Connection,
    jobs: &mut [NewJob<'_>],
    path: impl Fn(usize) -> String + Send + Sync,
) -> Result<(Vec<Accepted>, Vec<Inserted>), Error> {
    needs::resolve(db, jobs, &path).await?;
    let inserted = store::insert::insert(&mut *db, jobs, None).await?;
    let accepted = answers(db, jobs, &inserted, path).await?;
    Ok((accepted, inserted))
}

fn new_job<'a>(caller: &'a Caller, spec: &'a JobSpec, project: ProjectId) -> NewJob<'a> {
    NewJob {
        id: JobId::generate(),
        project,
        spec,
        request_hash: request_hash(spec),
        actor: &caller.actor,
        needs: Vec::new(),
        needed: false,
        trace: caller.trace,
        seen: caller.seen,
    }
}

fn itself(job: &NewJob<'_>) -> Accepted {
    Accepted {
        job: job.id,
        repeated: false,
    }
}

/// An answer for each job: itself when it was put in, else the one that holds its key.
async fn answers(
    db: &mut Connection,
    jobs: &[NewJob<'_>],
    inserted: &[Inserted],
    path: impl Fn(usize) -> String + Send + Sync,
) -> Result<Vec<Accepted>, Error> {
    let there: BTreeSet<JobId> = inserted.iter().map(|inserted| inserted.id).collect();
    let left_out = || jobs.iter().filter(|job| !there.contains(&job.id));
    let mut keys: BTreeMap<ProjectId, Vec<&str>> = BTreeMap::new();
    for job in left_out() {
        let key = job.spec.idempotency_key.as_deref();
        keys.entry(job.project).or_default().extend(key);
    }
    let mut holders = BTreeMap::new();
    for (project, keys) in keys {
        holders.insert(project, store::insert::holders(&mut *db, project, &keys).await?);
    }
    let mut held = BTreeMap::new();
    for job in left_out() {
        let holder = holder(db, job, &holders[&job.project]).await?;
        let holder = holder.map_err(|other| {
            let at = |id| jobs.iter().position(|job| job.id == id).map(&path);
            let place = |path: String| path.trim_end_matches('.').to_owned();
            Error::KeyReused {
                place: match at(job.id).filter(|path| !path.is_empty()) {
                    Some(path) => format!("{}: ", place(path)),
                    None => String::new(),
                },
                key: job.spec.idempotency_key.clone().unwrap_or_default(),
                holder: at(other).map_or_else(|| format!("job {other}"), place),
            }
        })?;
        held.insert(job.id, holder);
    }
    let answer = |job: &NewJob<'_>| match held.get(&job.id) {
        None => itself(job),
        Some(holder) => Accepted {
            job: *holder,
            repeated: true,
        },
    };
    Ok(jobs.iter().map(answer).collect())
}

/// The job that holds the key of `job`, its idempotency key being held as `holders` says; as an error the one that holds it
/// for another request.
async fn holder(
    db: &mut Connection,
    job: &NewJob<'_>,
    holders: &HashMap<String, Holder>,
) -> Result<Result<JobId, JobId>, Error> {
    let Some(key) = &job.spec.idempotency_key else {
        let unique_key = job.spec.unique_key.as_deref().unwrap_or_default();
        let holder = store::insert::unique_holder(&mut *db, job.project, unique_key).await?;
        return holder.map(Ok).ok_or(Error::KeyVanished);
    };
    // Retention deleted the holder between the two looks.
    let holder = holders.get(key).ok_or(Error::KeyVanished)?;
    Ok(match holder.request_hash == job.request_hash {
        true => Ok(holder.job),
        false => Err(holder.job),
    })
}

/// Wakes runners, and lets in what waits for room or for what has ended already. The jobs are
/// accepted whatever comes of this: the scheduler does the same at its next tick.
pub(super) async fn follow_up(pool: &Pool, hints: &Hints, jobs: &[NewJob<'_>], inserted: &[Inserted]) {
    let gates = announce(hints, jobs, inserted);
    let needs: BTreeSet<JobId> = jobs.iter().flat_map(|job| job.needs.iter().copied()).collect();
    let followed = async {
        follow::admit_all(pool, hints, gates).await?;
        follow::hear(pool, hints, needs.into_iter().collect()).await
    };
    if let Err(error) = followed.await {
        tracing::warn!(error = %error, "accepted jobs wait for the scheduler to let them in");
    }
}

/// Tells runners of what went in and is due; answers with the gates at which the others wait.
fn announce(hints: &Hints, jobs: &[NewJob<'_>], inserted: &[Inserted]) -> BTreeSet<Gate> {
    let by_id: BTreeMap<JobId, &NewJob<'_>> = jobs.iter().map(|job| (job.id, job)).collect();
    let mut gates = BTreeSet::new();
    for Inserted { id, state, at_gate } in inserted {
        let Some(job) = by_id.get(id) else { continue };
        if *state == JobState::Available {
            hints.job(&job.spec.queue, job.spec.priority);
        }
        if *at_gate {
            let key = job
                .spec
                .concurrency
                .as_ref()
                .map(|concurrency| concurrency.key.clone());
            gates.insert(Gate {
                project: job.project,
                key,
            });
        }
    }
    gates
}

/// The project of each alias that the specifications name.
async fn projects<'a>(
    pool: &Pool,
    caller: &Caller,
    specs: &'a [JobSpec],
    path: impl Fn(usize) -> String + Send + Sync,
) -> Result<BTreeMap<&'a str, ProjectId>, Error> {
    let mut projects = BTreeMap::new();
    for (index, spec) in specs.iter().enumerate() {
        let alias = spec.project_id.as_str();
        if projects.contains_key(alias) {
            continue;
        }
        let found = store::project::by_alias(pool, alias)
            .await?
            .map(|project| project.id);
        projects.insert(alias, project(found, caller, alias, &path(index))?);
    }
    Ok(projects)
}

/// The project that `found` by `alias`, if the caller reaches it.
fn project(found: Option<ProjectId>, caller: &Caller, alias: &str, path: &str) -> Result<ProjectId, Error> {
    match found {
        Some(project) if caller.reaches(project) => Ok(project),
        // Whoever sees every project learns that it does not exist; others learn nothing of it.
        None if caller.projects.is_none() => Err(Error::Invalid(vec![Violation::new(
            format!("{path}project_id"),
            format!("there is no project named {alias:?}; make it first, or set it in PROJECT_ALIASES"),
        )])),
        _ => Err(Error::Project(alias.to_owned())),
    }
}

/// What was asked for, as one number: a repeat has the same.
pub(super) fn request_hash(spec: &JobSpec) -> [u8; 32] {
    // What was read from JSON can be written as JSON; were it not, every request would hash alike
    // and a reused key would be answered with the first job, which is the mild way to be wrong.
    Sha256::digest(serde_json::to_vec(spec).unwrap_or_default()).into()
}
