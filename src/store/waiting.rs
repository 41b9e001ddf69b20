//! What a job waits for, as an operator is told.

use chrono::{DateTime, Utc};

use super::{Executor, Result};
use crate::domain::id::JobId;

/// What decides when a job begins.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Since when nothing of its queue is claimed.
    pub paused_at: Option<DateTime<Utc>>,
    /// The label it asks for; empty is none.
    pub runs_on: String,
    /// Whether a session that lives and is not drained serves its queue and its label.
    pub served: bool,
    /// Its concurrency key.
    pub concurrency_key: Option<String>,
    /// How many jobs with that key run at once.
    pub concurrency_limit: Option<i16>,
    /// How many jobs of its project run at once.
    pub max_running: Option<i16>,
    /// What it asked last, when somebody has to answer.
    pub question: Option<String>,
}

/// What decides when `job` begins; `None` when there is no such job.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn of(db: impl Executor<'_>, job: JobId) -> Result<Option<Waiting>> {
    let waiting = sqlx::query_as!(
        Waiting,
        r#"
        select (select paused_at from queue where queue.name = job.queue) as paused_at, job.runs_on,
               exists (select from runner
                        where ended_at is null and lease_expires_at > now() and drain_asked_at is null
                          and job.queue = any (queues) and (job.runs_on = '' or job.runs_on = any (labels))) as "served!",
               job.concurrency_key, job.concurrency_limit, project.max_running,
               (select question from approval where approval.job_id = job.id order by attempt desc limit 1) as question
          from job join project on project.id = job.project_id
         where job.id = $1
        "#,
        job.0,
    )
    .fetch_optional(db)
    .await?;
    Ok(waiting)
}
