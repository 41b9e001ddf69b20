//! What time does to jobs: the due become available, the abandoned go back.

use super::ended::Ended;
use super::gate::Gate;
use super::{Executor, Result};
use crate::domain::clock::Instant;
use crate::domain::id::JobId;

/// A job whose time has come.
#[derive(Clone, Debug)]
pub struct Promoted {
    /// Its queue, when it may be claimed now.
    pub queue: Option<String>,
    /// The gates it waits at, when it does.
    pub gates: Vec<Gate>,
}

/// Makes up to `limit` scheduled jobs whose time has come available, or lets them wait for room.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away; running it again is safe, from any number of places.
pub async fn promote(db: impl Executor<'_>, now: Instant, limit: u32) -> Result<Vec<Promoted>> {
    let rows = sqlx::query!(
        r#"
        with due as materialized (
            select id from job
             where state = 'scheduled' and gate is null and run_at <= coalesce($1, now())
             order by run_at
             limit $2
               for update skip locked
        ), promoted as (
            -- What has a limit waits on, for room.
            update job
               set state = case when concurrency_key is not null or project_limited then 'scheduled' else 'available' end::job_state,
                   gate = case when concurrency_key is not null then 'key' when project_limited then 'project' end
              from due where job.id = due.id
            returning job.id, job.project_id, job.queue, job.state, job.concurrency_key, job.project_limited
        ), logged as (
            insert into event (project_id, job_id, kind, actor)
            select project_id, id, 'job.available', 'scheduler' from promoted where state = 'available'
        )
        select case when state = 'available' then queue end as "queue?", project_id, concurrency_key, project_limited
          from promoted
        "#,
        now,
        i64::from(limit),
    )
    .fetch_all(db)
    .await?;
    let promoted = rows.into_iter().map(|row| Promoted {
        queue: row.queue,
        gates: Gate::all_of(row.project_id, row.concurrency_key, row.project_limited),
    });
    Ok(promoted.collect())
}

/// A job whose runner's session is over.
#[derive(Clone, Debug)]
pub struct Expired {
    /// The job.
    pub job: JobId,
    /// The attempt that was lost.
    pub attempt: i32,
    /// Whether it has no attempts left and failed.
    pub over: bool,
    /// Who may go on because of it.
    pub ended: Ended,
}

/// Takes up to `limit` jobs from sessions that have ended or whose lease has passed: each goes back to its queue, or
/// fails with code `lost` once `max_attempts` runners have vanished with it. The lost attempt is
/// kept as a row.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away; running it again is safe, from any number of places.
pub async fn expire(db: impl Executor<'_>, now: Instant, limit: u32) -> Result<Vec<Expired>> {
    let rows = sqlx::query!(
        r#"
        with abandoned as materialized (
            -- Before any row is locked: one that changed meanwhile is looked at again with the runner it had here, which is then
            -- none, as one's whose session is not there, who has nobody, too.
            select job.id, job.attempt
              from job left join runner on runner.id = job.runner_id
             where job.state = 'running'
               and (runner.id is null or runner.lease_expires_at <= coalesce($1, now()) or runner.ended_at is not null)
             order by job.id
        ), lost as materialized (
            -- Who has the attempt is the one who had it.
            select job.id, job.attempt, runner_id, run_at, claimed_at, losses + 1 >= max_attempts as spent,
                   cancel_asked_at is not null as cancelled
              from abandoned
             cross join lateral (select * from job
                                  where job.id = abandoned.id and job.attempt = abandoned.attempt and runner_id is not null
                                    for update skip locked) as job
             limit $2
        ), expired as (
            update job
               set state = case when cancelled then 'cancelled' when spent then 'failed' else 'available' end::job_state,
                   losses = losses + 1, runner_id = null,
                   code = case when cancelled then 'cancelled' when spent then 'lost' end,
                   message = case when cancelled then 'Cancelled on request; its runner vanished meanwhile.'
                                  when spent
                             then format('The runner vanished in each of %s attempts; look at what the job did before, then retry it.', losses + 1)
                             end,
                   finished_at = case when cancelled or spent then now() end
              from lost
             where job.id = lost.id
            returning job.id, job.project_id, job.attempt, job.queue, job.state, job.needed, job.concurrency_key, job.project_limited
        ), ended as (
            insert into attempt (job_id, number, runner_id, due_at, started_at, ended_at, outcome, code)
            select id, attempt, runner_id, run_at, claimed_at, greatest(now(), claimed_at), 'lost', 'lost' from lost
            -- One that is there already, which only a person can have written, must not hold up all others.
            on conflict (job_id, number) do nothing
        ), logged as (
            insert into event (project_id, job_id, attempt, kind, actor)
            select project_id, id, attempt, case state when 'available' then 'job.lost' else 'job.' || state end, 'scheduler'
              from expired
        )
        select id, project_id, attempt, queue, state <> 'available' as "over!", needed, concurrency_key, project_limited from expired
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
            over: row.over,
            ended: Ended {
                job: JobId(row.id),
                queue: (!row.over).then_some(row.queue),
                needed: row.needed && row.over,
                gates: Gate::all_of(row.project_id, row.concurrency_key, row.project_limited),
            },
        })
        .collect())
}
