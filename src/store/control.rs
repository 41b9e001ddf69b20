//! What operators do to jobs, queues and runners: each one guarded statement.

use super::ended::Ended;
use super::gate::Gate;
use super::named::Named;
use super::{Executor, Result};
use crate::domain::id::{JobId, RunnerId};
use crate::domain::job::JobState;

/// What a request to cancel met.
#[derive(Clone, Debug)]
pub struct Cancelled {
    /// Where the job was.
    pub before: JobState,
    /// The session that runs it and is to be told, if one does.
    pub runner: Option<RunnerId>,
    /// Set when the job ended by this.
    pub ended: Option<Ended>,
}

/// Cancels a job that nobody runs; of one that runs, writes down that it is to end. `None`: there is
/// no such job in `projects`. One that has ended stays as it is.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn cancel(
    db: impl Executor<'_>,
    job: JobId,
    projects: super::job::Reach<'_>,
    actor: &str,
) -> Result<Option<Cancelled>> {
    let projects = super::job::reach(projects);
    let row = sqlx::query!(
        r#"
        with found as materialized (
            select id, state from job where id = $1 and ($2::uuid[] is null or project_id = any ($2)) for no key update
        ), changed as (
            update job
               set state = case when job.state = 'running' then job.state else 'cancelled' end,
                   cancel_asked_at = coalesce(cancel_asked_at, now()), gate = null,
                   code = case when job.state <> 'running' then 'cancelled' end,
                   message = case when job.state <> 'running' then 'Cancelled on request before it ran to its end.' end,
                   finished_at = case when job.state <> 'running' then now() end
              from found
             -- As it was found once it was held: the scan of this update is of before.
             where job.id = found.id and found.state in ('blocked', 'scheduled', 'available', 'running', 'awaiting_approval')
            returning job.*
        ), logged as (
            insert into event (project_id, job_id, attempt, kind, actor)
            select project_id, id, nullif(attempt, 0), case state when 'running' then 'job.cancel_asked' else 'job.cancelled' end, $3
              from changed
        )
        select found.state as "before!: Named<JobState>", changed.runner_id, changed.project_id as "project_id?",
               changed.needed as "needed?", changed.concurrency_key, changed.project_limited as "project_limited?"
          from found left join changed using (id)
        "#,
        job.0,
        projects.as_deref(),
        actor,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| Cancelled {
        before: row.before.0,
        runner: row.runner_id.map(RunnerId),
        ended: row
            .project_id
            .filter(|_| row.runner_id.is_none())
            .map(|project| Ended {
                job,
                queue: None,
                needed: row.needed.unwrap_or_default(),
                gates: Gate::all_of(
                    project,
                    row.concurrency_key,
                    row.project_limited.unwrap_or_default(),
                ),
            }),
    }))
}

/// What a request to retry met.
#[derive(Clone, Debug)]
pub struct Retried {
    /// Where the job was.
    pub before: JobState,
    /// Where it is now, if that is elsewhere.
    pub after: Option<JobState>,
    /// Its queue, when it is available now.
    pub queue: Option<String>,
    /// The gates it waits at first, when it does.
    pub gates: Vec<Gate>,
}

/// Brings a job that failed or was cancelled back: it goes on at the step that did not succeed. `None`: there is no such
/// job in `projects`. One in another state stays as it is.
///
/// One that `needs` jobs which have not succeeded waits for them, see [`super::need::unmet`]: hold them and it, so that
/// none of them ends unnoticed meanwhile.
///
/// # Errors
///
/// [`super::Error::Statement`] with the constraint `job_unique_key_is_held_once` when another job holds its unique key.
pub async fn retry(
    db: impl Executor<'_>,
    job: JobId,
    projects: super::job::Reach<'_>,
    actor: &str,
    needs: &[JobId],
) -> Result<Option<Retried>> {
    let projects = super::job::reach(projects);
    let needs: Vec<_> = needs.iter().map(|id| id.0).collect();
    let row = sqlx::query!(
        r#"
        with found as materialized (
            select id, state from job where id = $1 and ($2::uuid[] is null or project_id = any ($2)) for no key update
        ), changed as (
            -- What was never begun is not due before it was.
            update job
               set state = case when cardinality($4::uuid[]) > 0 then 'blocked'
                                when concurrency_key is not null or project_limited or attempt = 0 and run_at > now() then 'scheduled'
                                else 'available' end::job_state,
                   gate = case when cardinality($4) > 0 or attempt = 0 and run_at > now() then null
                               when concurrency_key is not null then 'key'
                               when project_limited then 'project' end,
                   run_at = case when attempt = 0 then greatest(run_at, now()) else now() end, finished_at = null, code = null, message = null, cancel_asked_at = null,
                   losses = 0, step_retries = 0, retried_after = job.attempt,
                   -- What ran all the same after the step that failed the job is not where it goes on.
                   step_position = coalesce((select step.position from step
                                              where step.job_id = job.id and step.attempt > job.retried_after
                                                and step.verdict = 'stop'
                                              order by step.attempt, step.ordinal limit 1), job.step_position),
                   needed = needed or exists (select from occurrence where job_id = job.id)
              from found
             -- As in `cancel`.
             where job.id = found.id and found.state in ('failed', 'cancelled')
            returning job.*
        ), marked as (
            update job set needed = true from changed where job.id = any ($4)
        ), unended as (
            -- Its schedule has to hear of the new end.
            update occurrence set outcome = null from changed where occurrence.job_id = changed.id
        ), logged as (
            insert into event (project_id, job_id, attempt, kind, actor)
            select project_id, id, nullif(attempt, 0), 'job.retried', $3 from changed
        )
        select found.state as "before!: Named<JobState>", changed.state as "after?: Named<JobState>", changed.queue as "queue?",
               changed.gate, changed.project_id as "project_id?", changed.concurrency_key, changed.project_limited as "project_limited?"
          from found left join changed using (id)
        "#,
        job.0,
        projects.as_deref(),
        actor,
        &needs,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| Retried {
        before: row.before.0,
        after: row.after.as_ref().map(|after| after.0),
        queue: row
            .queue
            .filter(|_| row.after.is_some_and(|after| after.0 == JobState::Available)),
        gates: match row.project_id {
            Some(project) if row.gate.is_some() => Gate::all_of(
                project,
                row.concurrency_key,
                row.project_limited.unwrap_or_default(),
            ),
            _ => Vec::new(),
        },
    }))
}

/// The other job that has not ended and holds the unique key of `job`, and that key.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn rival(db: impl Executor<'_>, job: JobId) -> Result<Option<(JobId, String)>> {
    let row = sqlx::query!(
        r#"
        select other.id, other.unique_key as "key!"
          from job join job as other on other.project_id = job.project_id and other.unique_key = job.unique_key
         where job.id = $1 and other.id <> job.id
           and other.state in ('blocked', 'scheduled', 'available', 'running', 'awaiting_approval')
        "#,
        job.0,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| (JobId(row.id), row.key)))
}

/// Pauses a queue, or opens it again. Answers whether that changed anything.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away, or when `name` is no name.
pub async fn pause_queue(db: impl Executor<'_>, name: &str, paused: bool, actor: &str) -> Result<bool> {
    let changed = sqlx::query_scalar!(
        r#"
        with changed as (
            insert into queue (name, paused_at) select $1, now() where $2
            on conflict (name) do update set paused_at = excluded.paused_at where queue.paused_at is null
            returning name
        ), opened as (
            update queue set paused_at = null where name = $1 and not $2 and paused_at is not null returning name
        ), either as (
            select name from changed union all select name from opened
        ), logged as (
            insert into event (kind, actor, detail)
            select case when $2 then 'queue.paused' else 'queue.resumed' end, $3, jsonb_build_object('queue', name) from either
        )
        select exists (select from either) as "changed!"
        "#,
        name,
        paused,
        actor,
    )
    .fetch_one(db)
    .await?;
    Ok(changed)
}

/// Asks a session to claim nothing more and to end when its steps have. Answers whether there is one.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn drain(db: impl Executor<'_>, runner: RunnerId, actor: &str) -> Result<bool> {
    let found = sqlx::query_scalar!(
        r#"
        with asked as (
            update runner set drain_asked_at = coalesce(drain_asked_at, now()) where id = $1 and ended_at is null returning id
        ), logged as (
            insert into event (kind, actor, detail)
            select 'runner.drain_asked', $2, jsonb_build_object('runner_id', id) from asked
        )
        select exists (select from asked) as "found!"
        "#,
        runner.0,
        actor,
    )
    .fetch_one(db)
    .await?;
    Ok(found)
}
