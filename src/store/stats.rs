//! Numbers for metrics and health.

use chrono::NaiveDate;

use super::job::{Reach, reach};
use super::named::Named;
use super::{Executor, Result};
use crate::domain::job::JobState;

/// How many jobs are in each state that is not terminal. Finished jobs are not counted: there may be
/// millions, and a scrape is to cost a few milliseconds.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn open_jobs(db: impl Executor<'_>) -> Result<Vec<(JobState, i64)>> {
    let rows = sqlx::query!(
        r#"select state as "state: Named<JobState>", count(*) as "count!" from job
            where state in ('blocked', 'scheduled', 'available', 'running', 'awaiting_approval')
            group by state"#
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.state.0, row.count)).collect())
}

/// Seconds the oldest available job has waited; `None` when none waits.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn oldest_available_sec(db: impl Executor<'_>) -> Result<Option<f64>> {
    let age = sqlx::query_scalar!(
        "select extract(epoch from now() - min(run_at))::double precision from job where state = 'available'"
    )
    .fetch_one(db)
    .await?;
    Ok(age)
}

/// How runners and what time does stand.
#[derive(Clone, Copy, Debug)]
pub struct System {
    /// Sessions whose lease holds.
    pub runners: i64,
    /// Slots of those that take work.
    pub slots: i64,
    /// Jobs that run.
    pub slots_busy: i64,
    /// Sessions whose lease has passed and that still hold jobs.
    pub leases_expired: i64,
    /// Since when events wait to be added up for reports.
    pub reports_behind_sec: f64,
}

/// Counts the sessions that have not ended, and what they run.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn system(db: impl Executor<'_>) -> Result<System> {
    let system = sqlx::query_as!(
        System,
        r#"
        select count(*) filter (where lease_expires_at > now()) as "runners!",
               coalesce(sum(slots) filter (where lease_expires_at > now() and drain_asked_at is null), 0) as "slots!",
               (select count(*) from job where state = 'running') as "slots_busy!",
               -- A tick may come a little late.
               count(*) filter (where lease_expires_at < now() - interval '15 seconds'
                                  and exists (select from job where job.runner_id = runner.id and job.state = 'running')) as "leases_expired!",
               coalesce((select extract(epoch from now() - event.at) from event
                          where event.id > (select done from rollup where name = 'event')
                          order by event.id limit 1), 0)::double precision as "reports_behind_sec!"
          from runner
         where ended_at is null
        "#
    )
    .fetch_one(db)
    .await?;
    Ok(system)
}

/// Seconds the schedule that was to be released first is late; 0 when none is.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn scheduler_lag_sec(db: impl Executor<'_>) -> Result<f64> {
    let lag = sqlx::query_scalar!(
        r#"select coalesce(extract(epoch from greatest(now() - min(fire_at), interval '0')), 0)::double precision as "lag!"
             from schedule where paused_at is null"#
    )
    .fetch_one(db)
    .await?;
    Ok(lag)
}

/// What ended and came in on a day (UTC).
#[derive(Clone, Copy, Debug)]
pub struct Day {
    /// The day.
    pub day: NaiveDate,
    /// Jobs that came in.
    pub submitted: i64,
    /// Jobs that ended well.
    pub succeeded: i64,
    /// Jobs that failed.
    pub failed: i64,
    /// Jobs that were cancelled.
    pub cancelled: i64,
}

/// Jobs of `projects` that have not ended, by state, and how long the oldest that could begin has waited.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn open_jobs_of(
    db: impl Executor<'_>,
    projects: Reach<'_>,
) -> Result<(Vec<(JobState, i64)>, Option<f64>)> {
    let projects = reach(projects);
    let rows = sqlx::query!(
        r#"select state as "state: Named<JobState>", count(*) as "count!",
                  extract(epoch from now() - min(run_at))::double precision as "age!"
             from job
            where state in ('blocked', 'scheduled', 'available', 'running', 'awaiting_approval')
              and ($1::uuid[] is null or project_id = any ($1))
            group by state"#,
        projects.as_deref(),
    )
    .fetch_all(db)
    .await?;
    let available = rows.iter().find(|row| row.state.0 == JobState::Available);
    let oldest = available.map(|row| row.age.max(0.0));
    Ok((
        rows.into_iter().map(|row| (row.state.0, row.count)).collect(),
        oldest,
    ))
}

/// The last `count` days of `projects` on which anything came in or ended, the latest first, from what the
/// scheduler added up.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn days(db: impl Executor<'_>, projects: Reach<'_>, count: u16) -> Result<Vec<Day>> {
    let projects = reach(projects);
    let days = sqlx::query_as!(
        Day,
        r#"
        select day,
               coalesce(sum(jobs) filter (where what = 'submitted'), 0)::bigint as "submitted!",
               coalesce(sum(jobs) filter (where what = 'succeeded'), 0)::bigint as "succeeded!",
               coalesce(sum(jobs) filter (where what = 'failed'), 0)::bigint as "failed!",
               coalesce(sum(jobs) filter (where what = 'cancelled'), 0)::bigint as "cancelled!"
          from rollup_job
         where $1::uuid[] is null or project_id = any ($1)
         group by day
         order by day desc
         limit $2
        "#,
        projects.as_deref(),
        i64::from(count),
    )
    .fetch_all(db)
    .await?;
    Ok(days)
}
