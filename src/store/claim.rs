//! The claim: due jobs become this runner's, each at most one runner's.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{Executor, Result};
use crate::domain::attempt::Fence;
use crate::domain::id::{JobId, RunnerId};

/// A job that is now the caller's to run.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// What every later write about it must carry.
    pub fence: Fence,
    /// Index of the step to begin with.
    pub step_position: i16,
    /// How often that step was tried again.
    pub step_retries: i16,
    /// What is to be done.
    pub spec: Value,
    /// The project's alias.
    pub project_alias: String,
    /// The project's source directory.
    pub project_directory: String,
    /// When it was claimed, by the database's clock.
    pub claimed_at: DateTime<Utc>,
    /// When it was due, by the same clock.
    pub due_at: DateTime<Utc>,
}

/// Claims up to `limit` due jobs of `queue` for the session `runner` and opens an attempt for each.
///
/// A job is due when it is `available`; the database's clock made it so. Delivery is at least once:
/// pass the returned fence to every later write, which changes nothing once another session has
/// claimed the job. A session that is draining, has ended or whose lease has passed claims nothing.
///
/// # Errors
///
/// [`super::Error::Unavailable`] when PostgreSQL cannot be reached; whatever was claimed just then
/// comes back when the session's lease passes.
pub async fn claim(
    db: impl Executor<'_>,
    runner: RunnerId,
    queue: &str,
    label: &str,
    limit: u32,
) -> Result<Vec<Claimed>> {
    let rows = sqlx::query!(
        r#"
        -- Materialised, or the planner may run the limited subquery again and claim more than `limit`.
        with due as materialized (
            select id
              from job
             where queue = $2 and runs_on = $4 and state = 'available'
               and exists (select from runner
                            where runner.id = $1 and ended_at is null and drain_asked_at is null
                              and lease_expires_at > now())
               and not exists (select from queue where name = $2 and paused_at is not null)
             order by priority desc, run_at, id
             limit $3
               for update skip locked
        ), claimed as (
            update job
               set state = 'running', attempt = attempt + 1, runner_id = $1, claimed_at = now(),
                   started_at = coalesce(started_at, now())
              from due
             where job.id = due.id
            returning job.id, job.project_id, job.attempt, job.step_position, job.step_retries, job.claimed_at, job.priority, job.run_at
        ), logged as (
            insert into event (project_id, job_id, attempt, kind, actor)
            select project_id, id, attempt, 'job.running', 'runner:' || $1::text from claimed
        )
        select claimed.id, claimed.attempt, claimed.step_position, claimed.step_retries, claimed.claimed_at as "claimed_at!",
               claimed.run_at as due_at, job_spec.spec, project.alias, project.directory
          from claimed
          join job_spec on job_spec.job_id = claimed.id
          join project on project.id = claimed.project_id
         order by claimed.priority desc, claimed.run_at, claimed.id
        "#,
        runner.0,
        queue,
        i64::from(limit),
        label,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Claimed {
            fence: Fence {
                job: JobId(row.id),
                attempt: row.attempt,
            },
            step_position: row.step_position,
            step_retries: row.step_retries,
            spec: row.spec,
            project_alias: row.alias,
            project_directory: row.directory,
            claimed_at: row.claimed_at,
            due_at: row.due_at,
        })
        .collect())
}
