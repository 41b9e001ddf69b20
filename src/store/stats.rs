//! Numbers for metrics and health.

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
