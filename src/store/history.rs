//! What an attempt that is not the first must know of those before it.

use std::time::Duration;

use super::named::Named;
use super::{Executor, Result};
use crate::domain::approval::Decision;
use crate::domain::attempt::Failure;
use crate::domain::flow::Past;
use crate::domain::id::JobId;
use crate::domain::job::Code;

/// The steps of a job that ended since somebody retried it, in order.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn past(db: impl Executor<'_>, job: JobId) -> Result<Vec<Past>> {
    let rows = sqlx::query!(
        r#"
        select step.position, step.verdict, step.code as "code: Named<Code>", step.message
          from job join step on step.job_id = job.id and step.attempt > job.retried_after
         where job.id = $1
         order by step.attempt, step.ordinal
        "#,
        job.0,
    )
    .fetch_all(db)
    .await?;
    let past = rows.into_iter().map(|row| Past {
        position: usize::try_from(row.position).unwrap_or_default(),
        verdict: row.verdict,
        failure: row
            .code
            .map(|code| Failure::new(code.0, row.message.unwrap_or_default())),
    });
    Ok(past.collect())
}

/// How long the attempts at a job that ended since somebody retried it took together.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn spent(db: impl Executor<'_>, job: JobId) -> Result<Duration> {
    let milliseconds = sqlx::query_scalar!(
        r#"select coalesce(sum(extract(epoch from attempt.ended_at - attempt.started_at)) * 1000, 0)::bigint as "spent!"
             from job join attempt on attempt.job_id = job.id and attempt.number > job.retried_after
            where job.id = $1"#,
        job.0,
    )
    .fetch_one(db)
    .await?;
    Ok(Duration::from_millis(milliseconds.unsigned_abs()))
}

/// A question about a job that was decided.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Index of the step that waited.
    pub position: usize,
    /// What was decided.
    pub decision: Decision,
    /// What the step's agent is asked instead from then on.
    pub prompt: Option<String>,
    /// Whether the step has ended since, in whatever way.
    pub followed: bool,
}

/// What was decided about a job, in order.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn answers(db: impl Executor<'_>, job: JobId) -> Result<Vec<Answer>> {
    let rows = sqlx::query!(
        r#"
        select position, decision as "decision!: Named<Decision>", prompt,
               exists (select from step
                        where step.job_id = approval.job_id and step.attempt > approval.attempt
                          and step.position = approval.position and step.status <> 'interrupted') as "followed!"
          from approval
         where job_id = $1 and decision is not null
         order by attempt
        "#,
        job.0,
    )
    .fetch_all(db)
    .await?;
    let answers = rows.into_iter().map(|row| Answer {
        position: usize::try_from(row.position).unwrap_or_default(),
        decision: row.decision.0,
        prompt: row.prompt,
        followed: row.followed,
    });
    Ok(answers.collect())
}
