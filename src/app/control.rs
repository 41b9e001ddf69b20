//! What operators do: cancel, retry, pause, drain.

use super::authenticate::Caller;
use super::follow::{admit_all, follow};
use super::hint::Hints;
use crate::domain::approval::{Decision, Word};
use crate::domain::id::{JobId, RunnerId};
use crate::domain::job::JobState;
use crate::store::control::Retried;
use crate::store::listen::{self, notify};
use crate::store::{self, Pool};

/// Why an operator's wish was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such thing, or the caller may not know of it.
    #[error("there is no {0} that you can see")]
    Unknown(String),
    /// The job is in a state in which this cannot be done.
    #[error("job {job} is {state}; {remedy}")]
    State {
        /// The job.
        job: JobId,
        /// Where it is.
        state: JobState,
        /// What can be done instead.
        remedy: &'static str,
    },
    /// The job waits for another answer than this.
    #[error("job {job} waits for the answer to what its attempt {attempt} asked; look at that and answer it")]
    Question {
        /// The job.
        job: JobId,
        /// The attempt that asked last.
        attempt: i32,
    },
    /// The step that waits is no agent's.
    #[error(
        "step {0:?}, which waits, takes no prompt: it runs a program; approve it as it is, skip it or reject"
    )]
    Prompt(String),
    /// Another job holds the unique key.
    #[error(
        "job {holder}, which has not ended, holds the unique key {key:?} of job {job}; cancel job {holder} first, or wait for its end"
    )]
    UniqueKey {
        /// The job.
        job: JobId,
        /// The key.
        key: String,
        /// Who holds it.
        holder: JobId,
    },
    /// What the job needs did not succeed.
    #[error("job {job} needs job {need}, which is {state}; retry that one first, then this one waits for it")]
    Need {
        /// The job.
        job: JobId,
        /// What it needs.
        need: JobId,
        /// Where that is.
        state: JobState,
    },
    /// PostgreSQL refused or is away.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Cancels a job: at once when nobody runs it, else by its runner, which ends the job's processes.
/// Answers with the state the job is in now; asking again for a job that was cancelled changes nothing.
///
/// # Errors
///
/// [`Error::Unknown`]; [`Error::State`] when the job ended in another way.
pub async fn cancel(pool: &Pool, hints: &Hints, caller: &Caller, job: JobId) -> Result<JobState, Error> {
    let met = store::control::cancel(pool, job, caller.projects.as_deref(), &caller.actor).await?;
    let met = met.ok_or_else(|| Error::Unknown(format!("job {job}")))?;
    if let Some(runner) = met.runner {
        tell(pool, runner).await;
    }
    if let Some(ended) = &met.ended {
        afterwards(follow(pool, hints, std::slice::from_ref(ended))).await;
        return Ok(JobState::Cancelled);
    }
    match met.before {
        JobState::Succeeded | JobState::Failed => Err(Error::State {
            job,
            state: met.before,
            remedy: "only a job that has not ended can be cancelled",
        }),
        state => Ok(state),
    }
}

/// Brings back a job that failed or was cancelled: it goes on, with a new attempt, at the step that
/// did not succeed, once all it needs has succeeded. Answers with the state it is in now.
///
/// # Errors
///
/// [`Error::Unknown`]; [`Error::State`] when the job succeeded or has not ended; [`Error::Need`]; [`Error::UniqueKey`].
pub async fn retry(pool: &Pool, hints: &Hints, caller: &Caller, job: JobId) -> Result<JobState, Error> {
    let met = match brought_back(pool, caller, job).await {
        Err(Error::Store(error)) if error.constraint() == Some("job_unique_key_is_held_once") => {
            match store::control::rival(pool, job).await? {
                Some((holder, key)) => return Err(Error::UniqueKey { job, key, holder }),
                // It ended meanwhile.
                None => brought_back(pool, caller, job).await?,
            }
        }
        met => met?,
    };
    let Some(after) = met.after else {
        let remedy = "only a job that failed or was cancelled can be retried";
        return Err(Error::State {
            job,
            state: met.before,
            remedy,
        });
    };
    met.queue.iter().for_each(|queue| hints.work(queue));
    afterwards(admit_all(pool, hints, met.gates.into_iter().collect())).await;
    Ok(after)
}

/// Retries the job, and lets it wait for what it needs.
async fn brought_back(pool: &Pool, caller: &Caller, job: JobId) -> Result<Retried, Error> {
    let (projects, actor) = (caller.projects.as_deref(), &caller.actor);
    let unknown = || Error::Unknown(format!("job {job}"));
    // What has succeeded stays so.
    let unmet = store::need::unmet(pool, job).await?;
    if unmet.is_empty() {
        let met = store::control::retry(pool, job, projects, actor, &[]).await?;
        return met.ok_or_else(unknown);
    }
    let mut transaction = pool.begin().await.map_err(store::Error::from)?;
    let needs = unmet.iter().map(|(need, _)| *need);
    // In the order of ids, as whoever holds several jobs.
    store::need::hold(&mut *transaction, &needs.chain([job]).collect::<Vec<_>>(), 0).await?;
    let unmet = store::need::unmet(&mut *transaction, job).await?;
    let needs: Vec<JobId> = unmet.iter().map(|(need, _)| *need).collect();
    let met = store::control::retry(&mut *transaction, job, projects, actor, &needs).await?;
    let met = met.ok_or_else(unknown)?;
    let over = unmet.iter().find(|(_, state)| state.is_terminal());
    if let (Some((need, state)), Some(_)) = (over, met.after) {
        let (need, state) = (*need, *state);
        return Err(Error::Need { job, need, state });
    }
    transaction.commit().await.map_err(store::Error::from)?;
    Ok(met)
}

/// Pauses a queue, so that nothing of it is claimed, or opens it again. Answers whether that changed anything.
///
/// # Errors
///
/// [`store::Error`] when PostgreSQL is away, or when `queue` is no name.
pub async fn pause_queue(
    pool: &Pool,
    hints: &Hints,
    caller: &Caller,
    queue: &str,
    paused: bool,
) -> store::Result<bool> {
    let changed = store::control::pause_queue(pool, queue, paused, &caller.actor).await?;
    if changed && !paused {
        hints.work(queue);
    }
    Ok(changed)
}

/// Asks a runner session to take nothing more and to end when its steps have.
///
/// # Errors
///
/// [`Error::Unknown`] when there is no such session, or it has ended.
pub async fn drain(pool: &Pool, caller: &Caller, runner: RunnerId) -> Result<(), Error> {
    match store::control::drain(pool, runner, &caller.actor).await? {
        true => {
            tell(pool, runner).await;
            Ok(())
        }
        false => Err(Error::Unknown(format!("runner {runner}"))),
    }
}

/// Says somebody's word on a job that waits for it. Answers with the state the job is in now; saying the
/// same again changes nothing.
///
/// # Errors
///
/// [`Error::Unknown`]; [`Error::State`] when the job waits for nobody's word; [`Error::Prompt`] when the step
/// that waits takes no prompt.
pub async fn decide(
    pool: &Pool,
    hints: &Hints,
    caller: &Caller,
    job: JobId,
    word: &Word,
) -> Result<JobState, Error> {
    if word.prompt.is_some() {
        takes_a_prompt(pool, caller, job).await?;
    }
    let met = store::approval::decide(pool, job, caller.projects.as_deref(), word, &caller.actor).await?;
    let met = met.ok_or_else(|| Error::Unknown(format!("job {job}")))?;
    if met.before != met.after {
        if let Some(queue) = &met.queue {
            hints.work(queue);
        }
        if let Some(ended) = &met.ended {
            afterwards(follow(pool, hints, std::slice::from_ref(ended))).await;
        }
        afterwards(admit_all(pool, hints, met.gates.into_iter().collect())).await;
        return Ok(met.after);
    }
    let (state, said_before) = (met.before, met.asked.and_then(|(_, decision)| decision));
    let is_repeat = said_before == Some(word.decision)
        && match word.decision {
            Decision::Rejected => state == JobState::Failed,
            Decision::Approved | Decision::Skipped => {
                !state.is_terminal() && state != JobState::AwaitingApproval
            }
        };
    if is_repeat {
        return Ok(state);
    }
    let remedy = match (state, met.asked) {
        (JobState::AwaitingApproval, Some((attempt, _))) => {
            return Err(Error::Question { job, attempt });
        }
        _ => "only a job that is awaiting_approval can be approved or rejected",
    };
    Err(Error::State { job, state, remedy })
}

/// Hints a session that something is asked of it: its next renewal, a third of its lease away at most, finds the same.
async fn tell(pool: &Pool, runner: RunnerId) {
    if let Err(error) = notify(pool, listen::CONTROL, &[runner.to_string()]).await {
        tracing::debug!(error = %error, "the runner hears of it when it renews its lease");
    }
}

/// What follows from what is committed, and so is the answer whatever comes of this.
async fn afterwards(following: impl Future<Output = store::Result<()>>) {
    if let Err(error) = following.await {
        tracing::warn!(error = %error, "what follows waits for the scheduler");
    }
}

/// Only an agent is asked anything.
async fn takes_a_prompt(pool: &Pool, caller: &Caller, job: JobId) -> Result<(), Error> {
    let Some((spec, position)) = store::approval::waiting(pool, job, caller.projects.as_deref()).await?
    else {
        // Whatever is wrong with the job is said by whoever decides.
        return Ok(());
    };
    let step = usize::try_from(position)
        .ok()
        .and_then(|position| spec["steps"].get(position).cloned())
        .unwrap_or_default();
    match step["prompt"].is_string() {
        true => Ok(()),
        false => Err(Error::Prompt(
            step["step_id"].as_str().unwrap_or_default().to_owned(),
        )),
    }
}
