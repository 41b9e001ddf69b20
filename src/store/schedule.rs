//! Schedules and their occurrences.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{Executor, Result};
use crate::domain::clock::Instant;
use crate::domain::id::{JobId, ProjectId, ScheduleId};

/// A schedule whose next instant has come, locked for the transaction.
#[derive(Clone, Debug)]
pub struct Due {
    /// Its id.
    pub id: ScheduleId,
    /// The project its jobs belong to.
    pub project: ProjectId,
    /// Its name.
    pub name: String,
    /// The expression.
    pub expression: String,
    /// The time zone it is read in.
    pub zone: String,
    /// Where intervals are counted from.
    pub anchor: DateTime<Utc>,
    /// The job it makes.
    pub spec: Value,
    /// The instant that is due.
    pub next_due_at: DateTime<Utc>,
    /// The instant taken for now.
    pub now: DateTime<Utc>,
}

/// Locks up to `limit` schedules that are due; another scheduler skips them.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn lock_due(db: impl Executor<'_>, now: Instant, limit: u32) -> Result<Vec<Due>> {
    let rows = sqlx::query!(
        r#"
        select id, project_id, name, expression, zone, anchor, spec, next_due_at as "next_due_at!",
               coalesce($1, now()) as "now!"
          from schedule
         where paused_at is null and next_due_at <= coalesce($1, now())
         order by next_due_at, id
         limit $2
           for update skip locked
        "#,
        now,
        i64::from(limit),
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Due {
            id: ScheduleId(row.id),
            project: ProjectId(row.project_id),
            name: row.name,
            expression: row.expression,
            zone: row.zone,
            anchor: row.anchor,
            spec: row.spec,
            next_due_at: row.next_due_at,
            now: row.now,
        })
        .collect())
}

/// Decides the instant; `false` means it was decided before, and nothing is to be done about it.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn occur(
    db: impl Executor<'_>,
    schedule: ScheduleId,
    due_at: DateTime<Utc>,
    fired: bool,
    reason: &str,
) -> Result<bool> {
    let done = sqlx::query!(
        "insert into occurrence (schedule_id, due_at, decision, reason)
         values ($1, $2, case when $3 then 'fired' else 'skipped' end, $4)
         on conflict do nothing",
        schedule.0,
        due_at,
        fired,
        reason,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Notes which job the instant made.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn made(
    db: impl Executor<'_>,
    schedule: ScheduleId,
    due_at: DateTime<Utc>,
    job: JobId,
) -> Result<()> {
    sqlx::query!(
        "update occurrence set job_id = $3 where schedule_id = $1 and due_at = $2",
        schedule.0,
        due_at,
        job.0
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Moves the schedule to its next instant; never back.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn advance(db: impl Executor<'_>, schedule: ScheduleId, next: Option<DateTime<Utc>>) -> Result<()> {
    sqlx::query!(
        "update schedule set next_due_at = $2 where id = $1 and ($2::timestamptz is null or $2 > next_due_at)",
        schedule.0,
        next,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Pauses a schedule that cannot be fired, so that it is seen and does not come up again.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn pause(db: impl Executor<'_>, schedule: ScheduleId) -> Result<()> {
    sqlx::query!(
        "update schedule set paused_at = now() where id = $1 and paused_at is null",
        schedule.0
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A schedule to be made.
#[derive(Debug)]
pub struct NewSchedule<'a> {
    /// Its id.
    pub id: ScheduleId,
    /// The project its jobs belong to.
    pub project: ProjectId,
    /// Its name, unique in the project.
    pub name: &'a str,
    /// The expression.
    pub expression: &'a str,
    /// The time zone it is read in.
    pub zone: &'a str,
    /// Where intervals are counted from.
    pub anchor: DateTime<Utc>,
    /// The job it makes.
    pub spec: &'a Value,
    /// The first instant.
    pub next_due_at: Option<DateTime<Utc>>,
}

/// Makes a schedule.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away, or the name is taken (`schedule_name_is_unique`).
pub async fn insert(db: impl Executor<'_>, schedule: &NewSchedule<'_>) -> Result<()> {
    sqlx::query!(
        "insert into schedule (id, project_id, name, expression, zone, anchor, spec, next_due_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
        schedule.id.0,
        schedule.project.0,
        schedule.name,
        schedule.expression,
        schedule.zone,
        schedule.anchor,
        schedule.spec,
        schedule.next_due_at,
    )
    .execute(db)
    .await?;
    Ok(())
}
