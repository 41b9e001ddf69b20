//! Attempts: every claim of a job, as people see it.

use chrono::{DateTime, Utc};

use super::named::Named;
use super::{Executor, Result};
use crate::domain::id::{JobId, RunnerId};
use crate::domain::job::Code;

/// One claim of a job by one runner session.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Its number, from 1.
    pub number: i32,
    /// The session that claimed the job.
    pub runner: RunnerId,
    /// What the operator calls that runner, while its row is kept.
    pub instance: Option<String>,
    /// When the job was claimed.
    pub started_at: DateTime<Utc>,
    /// When the attempt ended; `None` while it runs.
    pub ended_at: Option<DateTime<Utc>>,
    /// How it ended, or `running`.
    pub outcome: String,
    /// Why it did not succeed.
    pub code: Option<Code>,
}

/// The attempts at a job, the first one first; the one that runs comes from the job's own row.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn of_job(db: impl Executor<'_>, job: JobId) -> Result<Vec<Attempt>> {
    let rows = sqlx::query!(
        r#"
        with claims as (
            select number, runner_id, started_at, ended_at, outcome, code from attempt where job_id = $1
            union all
            select attempt, runner_id, claimed_at, null, 'running', null from job where id = $1 and state = 'running'
        )
        select number as "number!", runner_id as "runner_id!", runner.instance as "instance?",
               claims.started_at as "started_at!", claims.ended_at, outcome as "outcome!", code as "code: Named<Code>"
          from claims left join runner on runner.id = claims.runner_id
         order by number
        "#,
        job.0,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Attempt {
            number: row.number,
            runner: RunnerId(row.runner_id),
            instance: row.instance,
            started_at: row.started_at,
            ended_at: row.ended_at,
            outcome: row.outcome,
            code: row.code.map(|code| code.0),
        })
        .collect())
}
