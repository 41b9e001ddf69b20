//! What agents may cost in a day: held before a call, corrected after it.

use chrono::NaiveDate;
use uuid::Uuid;

use super::{Connection, Executor, Result};
use crate::domain::budget::{Limit, Scope};
use crate::domain::id::{JobId, ProjectId};

/// What is held for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its id.
    pub id: Uuid,
}

/// Counts a call and what it may cost, if there is room for both; answers with the day, or `None` when there
/// is none. All in one statement, so that of any number of callers no more come through than there is room for.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn count(
    db: &mut Connection,
    scope: Scope,
    key: &str,
    limit: Limit,
    micro_usd: i64,
) -> Result<Option<NaiveDate>> {
    let day = sqlx::query_scalar!(
        r#"
        insert into spending as now_spent (day, scope, key, calls, micro_usd)
        select (now() at time zone 'UTC')::date, $1, $2, 1, $3
         where ($4::int is null or 1 <= $4) and ($5::bigint is null or $3 <= $5)
        on conflict (day, scope, key) do update
           set calls = now_spent.calls + 1, micro_usd = now_spent.micro_usd + $3
         where ($4::int is null or now_spent.calls + 1 <= $4) and ($5::bigint is null or now_spent.micro_usd + $3 <= $5)
        returning day
        "#,
        scope.as_str(),
        key,
        micro_usd,
        limit.calls,
        limit.micro_usd,
    )
    .fetch_optional(db)
    .await?;
    Ok(day)
}

/// Notes that a call is under way.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn hold(
    db: impl Executor<'_>,
    day: NaiveDate,
    host: &str,
    project: ProjectId,
    job: JobId,
    micro_usd: i64,
) -> Result<Held> {
    let id = Uuid::now_v7();
    sqlx::query!(
        "insert into reservation (id, day, host, project_id, job_id, micro_usd) values ($1, $2, $3, $4, $5, $6)",
        id,
        day,
        host,
        project.0,
        job.0,
        micro_usd,
    )
    .execute(db)
    .await?;
    Ok(Held { id })
}

/// What was held for a call.
#[derive(Clone, Debug)]
pub struct Released {
    /// The day it was counted on.
    pub day: NaiveDate,
    /// The host it was counted for.
    pub host: String,
    /// The project it was counted for.
    pub project: ProjectId,
    /// What it might have cost.
    pub micro_usd: i64,
}

/// Ends a hold, once; `None` the second time.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away; it may be tried again.
pub async fn release(db: impl Executor<'_>, held: Held) -> Result<Option<Released>> {
    let row = sqlx::query!(
        "delete from reservation where id = $1 returning day, host, project_id, micro_usd",
        held.id,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| Released {
        day: row.day,
        host: row.host,
        project: ProjectId(row.project_id),
        micro_usd: row.micro_usd,
    }))
}

/// Adds to what was spent, or takes away from it.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn adjust(
    db: impl Executor<'_>,
    day: NaiveDate,
    scope: Scope,
    key: &str,
    calls: i32,
    micro_usd: i64,
) -> Result<()> {
    sqlx::query!(
        r#"
        update spending set calls = greatest(0, calls + $4), micro_usd = greatest(0, micro_usd + $5)
         where day = $1 and scope = $2 and key = $3
        "#,
        day,
        scope.as_str(),
        key,
        calls,
        micro_usd,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// What was spent today.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn spent(db: impl Executor<'_>, scope: Scope, key: &str) -> Result<Limit> {
    let row = sqlx::query!(
        "select calls, micro_usd from spending where day = (now() at time zone 'UTC')::date and scope = $1 and key = $2",
        scope.as_str(),
        key,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map_or(
        Limit {
            calls: Some(0),
            micro_usd: Some(0),
        },
        |row| Limit {
            calls: Some(row.calls),
            micro_usd: Some(row.micro_usd),
        },
    ))
}

/// The project of a job, and a day's budget of it.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn of_project(db: impl Executor<'_>, job: JobId) -> Result<Option<(ProjectId, Limit)>> {
    let row = sqlx::query!(
        r#"
        select project.id, max_daily_calls, (max_daily_cost_usd * 1000000)::bigint as micro_usd
          from project join job on job.project_id = project.id
         where job.id = $1
        "#,
        job.0,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| {
        let limit = Limit {
            calls: row.max_daily_calls,
            micro_usd: row.micro_usd,
        };
        (ProjectId(row.id), limit)
    }))
}
