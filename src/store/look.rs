//! One look at everything that time does, so that a scheduler with nothing to do costs one statement.

use std::time::Duration;

use super::{Executor, Result};
use crate::domain::clock::Instant;

/// What a scheduler has to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    /// Schedules are to be released.
    pub schedules: bool,
    /// Scheduled jobs are due.
    pub jobs: bool,
    /// Jobs run whose runner's lease has passed, or which has ended.
    pub lost: bool,
    /// Jobs have ended that somebody waits for, or jobs wait for room.
    pub waiting: bool,
    /// Callbacks are to be tried.
    pub callbacks: bool,
    /// How late the schedule is that is to be released first; zero when none is late.
    pub lag: Duration,
    /// How long until a schedule or a job is due, if one will be.
    pub next: Option<Duration>,
}

/// Looks: steps of a few partial indexes, none of which holds what is finished.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn look(db: impl Executor<'_>, now: Instant) -> Result<Look> {
    let row = sqlx::query!(
        r#"
        -- The first of each is one step of an index. Asked for with `exists`, the same would be a scan of the whole table
        -- by a plan that does not know the time: so many rows might be due that any page should do.
        with clock as (select coalesce($1, now()) as now,
                              (select min(fire_at) from schedule where paused_at is null) as first_schedule,
                              (select min(run_at) from job where state = 'scheduled' and gate is null) as first_job)
        select coalesce(first_schedule <= clock.now, false) as "schedules!",
               coalesce(first_job <= clock.now, false) as "jobs!",
               exists (select from job left join runner on runner.id = job.runner_id
                        where job.state = 'running'
                          and (runner.id is null or runner.lease_expires_at <= clock.now or runner.ended_at is not null)) as "lost!",
               exists (select from job where needed and state in ('succeeded', 'failed', 'cancelled'))
               or exists (select from job where gate = 'key')
               or exists (select from job where gate = 'project') as "waiting!",
               coalesce((select min(due_at) from delivery where state = 'pending') <= clock.now, false) as "callbacks!",
               coalesce(extract(epoch from clock.now - first_schedule), 0)::double precision as "lag_sec!",
               extract(epoch from least(
                   (select min(fire_at) from schedule where paused_at is null and fire_at > clock.now),
                   (select min(run_at) from job where state = 'scheduled' and gate is null and run_at > clock.now)
               ) - clock.now)::double precision as next_sec
          from clock
        "#,
        now,
    )
    .fetch_one(db)
    .await?;
    Ok(Look {
        schedules: row.schedules,
        jobs: row.jobs,
        lost: row.lost,
        waiting: row.waiting,
        callbacks: row.callbacks,
        lag: Duration::try_from_secs_f64(row.lag_sec).unwrap_or_default(),
        next: row
            .next_sec
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
    })
}
