//! A request becomes a job: accepted means committed.

use sha2::{Digest, Sha256};

use super::authenticate::Caller;
use super::hint::Hints;
use crate::domain::id::JobId;
use crate::domain::job::JobState;
use crate::domain::problem::Violation;
use crate::domain::spec::JobSpec;
use crate::domain::token::Scope;
use crate::store::job::NewJob;
use crate::store::project::Project;
use crate::store::{self, Pool};

/// A job that is in the table.
#[derive(Clone, Copy, Debug)]
pub struct Accepted {
    /// The job.
    pub job: JobId,
    /// Whether it was accepted before, under the same idempotency key.
    pub repeated: bool,
}

/// Why a request became no job. Nothing is kept of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The specification does not hold.
    #[error("the job specification has {} error(s)", .0.len())]
    Invalid(Vec<Violation>),
    /// The caller may not submit at all.
    #[error("submitting needs a token with the scope `submit`")]
    Scope,
    /// The caller's token does not reach a project of that name.
    #[error("this token does not reach a project named {0:?}")]
    Project(String),
    /// The idempotency key was used for another request.
    #[error(
        "the idempotency key {key:?} belongs to job {job}, which was asked for with another request; use a new key"
    )]
    KeyReused {
        /// The key.
        key: String,
        /// Who has it.
        job: JobId,
    },
    /// The job that held the key was deleted just now.
    #[error("the job that held the idempotency key was deleted just now; send the request again")]
    KeyVanished,
    /// PostgreSQL is away or refused.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Puts the job `spec` describes into the queue for `caller`, then hints that there is work.
///
/// A repeat under the same idempotency key and project, also at the same instant, is answered with
/// the first job.
///
/// # Errors
///
/// See [`Error`]; the job is in the table only when this answers with it.
pub async fn submit(pool: &Pool, hints: &Hints, caller: &Caller, spec: &JobSpec) -> Result<Accepted, Error> {
    if !caller.may(Scope::Submit) {
        return Err(Error::Scope);
    }
    let project = project(pool, caller, &spec.project_id).await?;
    let job = NewJob {
        id: JobId::generate(),
        project: project.id,
        spec,
        request_hash: request_hash(spec),
        actor: &caller.actor,
    };
    match &spec.idempotency_key {
        None => {
            let state = store::job::insert(pool, &job, None).await?;
            Ok(accepted(hints, &job, state))
        }
        Some(key) => submit_once(pool, hints, &job, key).await,
    }
}

async fn submit_once(pool: &Pool, hints: &Hints, job: &NewJob<'_>, key: &str) -> Result<Accepted, Error> {
    let mut transaction = pool.begin().await.map_err(store::Error::from)?;
    let state = store::job::insert(&mut *transaction, job, None).await?;
    // Waits for whoever holds the key in a transaction of their own, so exactly one of them wins.
    if store::job::reserve_key(&mut *transaction, job.project, key, job.id).await? {
        transaction.commit().await.map_err(store::Error::from)?;
        return Ok(accepted(hints, job, state));
    }
    transaction.rollback().await.map_err(store::Error::from)?;
    match store::job::key_holder(pool, job.project, key, &job.request_hash).await? {
        Some(holder) if holder.same_request => Ok(Accepted {
            job: holder.job,
            repeated: true,
        }),
        Some(holder) => Err(Error::KeyReused {
            key: key.to_owned(),
            job: holder.job,
        }),
        // Retention deleted the holder between the two looks.
        None => Err(Error::KeyVanished),
    }
}

fn accepted(hints: &Hints, job: &NewJob<'_>, state: JobState) -> Accepted {
    if state == JobState::Available {
        hints.work(&job.spec.queue);
    }
    Accepted {
        job: job.id,
        repeated: false,
    }
}

async fn project(pool: &Pool, caller: &Caller, alias: &str) -> Result<Project, Error> {
    let found = store::project::by_alias(pool, alias).await?;
    match found {
        Some(project) if caller.reaches(project.id) => Ok(project),
        // Whoever sees every project learns that it does not exist; others learn nothing of it.
        None if caller.projects.is_none() => Err(Error::Invalid(vec![Violation::new(
            "project_id",
            format!("there is no project named {alias:?}; make it first, or set it in PROJECT_ALIASES"),
        )])),
        _ => Err(Error::Project(alias.to_owned())),
    }
}

/// What tells a repeat from another request: the specification as it was understood, so that spaces
/// and the order of fields do not matter.
fn request_hash(spec: &JobSpec) -> [u8; 32] {
    // What was read from JSON can be written as JSON; were it not, every request would hash alike
    // and a reused key would be answered with the first job, which is the mild way to be wrong.
    Sha256::digest(serde_json::to_vec(spec).unwrap_or_default()).into()
}
