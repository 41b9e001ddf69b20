//! What time does to jobs: the due become available, the abandoned go back.

use super::{Executor, Result};
use crate::domain::clock::Instant;
use crate::domain::id::JobId;

/// Makes up to `limit` scheduled jobs whose time has come available, and answers with the queues
/// that have new work.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away; running it again is safe, from any number of places.
pub async fn promote(db: impl Executor<'_>, now: Instant, limit: u32) -> Result<Vec<String>> {
    let queues = sqlx::query_scalar!(
        r#"
        with due as materialized (
            select id from job
             where state = 'scheduled' and run_at <= coalesce($1, now())
             order by run_at
             limit $2
               for update skip locked
        ), promoted as (
            update job set state = 'available' from due where job.id = due.id returning job.id, project_id, queue
        ), logged as (
            insert into event (project_id, job_id, kind, actor)
            select project_id, id, 'job.available', 'scheduler' from promoted
        )
        select queue from promoted
        "#,
        now,
        i64::from(limit),
    )
    .fetch_all(db)
    .await?;
    Ok(queues)
}

/// A job whose runner's lease passed.
#[derive(Clone, Debug)]
pub struct Expired {
    /// The job.
    pub job: JobId,
    /// The attempt that was lost.
    pub attempt: i32,
    /// Its queue.
    pub queue: String,
    /// Whether it has no attempts left and failed.
    pub failed: bool,
}

/// Takes up to `limit` jobs from sessions whose lease has passed: each goes back to its queue, or
/// fails with code `lost` once `max_attempts` runners have vanished with it. The lost attempt is
/// kept as a row.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away; running it again is safe, from any number of places.
pub async fn expire(db: impl Executor<'_>, now: Instant, limit: u32) -> Result<Vec<Expired>> {
    let rows = sqlx::query!(
        r#"
        with lost as materialized (
            select job.id, job.attempt, job.runner_id, job.claimed_at, job.losses + 1 >= job.max_attempts as spent
              from job join runner on runner.id = job.runner_id
             where job.state = 'running'
               and (runner.lease_expires_at <= coalesce($1, now()) or runner.ended_at is not null)
             order by job.id
             limit $2
               for update of job skip locked
        ), expired as (
            update job
               set state = case when spent then 'failed' else 'available' end::job_state,
                   losses = losses + 1, runner_id = null, claimed_at = null,
                   code = case when spent then 'lost' end,
                   message = case when spent
                             then format('The runner vanished in each of %s attempts; look at what the job did before, then retry it.', losses + 1)
                             end,
                   finished_at = case when spent then now() end
              from lost
             where job.id = lost.id
            returning job.id, job.project_id, job.attempt, job.queue, job.state
        ), ended as (
            insert into attempt (job_id, number, runner_id, started_at, ended_at, outcome, code)
            select id, attempt, runner_id, claimed_at, greatest(now(), claimed_at), 'lost', 'lost' from lost
        ), logged as (
            insert into event (project_id, job_id, attempt, kind, actor)
            select project_id, id, attempt, case state when 'failed' then 'job.failed' else 'job.lost' end, 'scheduler'
              from expired
        )
        select id, attempt, queue, state = 'failed' as "failed!" from expired
        "#,
        now,
        i64::from(limit),
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Expired {
            job: JobId(row.id),
            attempt: row.attempt,
            queue: row.queue,
            failed: row.failed,
        })
        .collect())
}
