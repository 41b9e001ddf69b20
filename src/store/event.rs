//! The append-only audit log.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::{Executor, Result};
use crate::domain::id::{JobId, ProjectId};
use crate::domain::page::{Cursor, Page};

/// Something that happened, to be kept.
#[derive(Debug)]
pub struct NewEvent<'a> {
    /// The project it happened in, if in one.
    pub project: Option<ProjectId>,
    /// The job it happened to, if to one.
    pub job: Option<JobId>,
    /// What happened, as `job.submitted`.
    pub kind: &'a str,
    /// Who did it.
    pub actor: &'a str,
    /// Anything more.
    pub detail: Option<Value>,
}

/// Appends one event.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away or refuses; nothing is kept then.
pub async fn append(db: impl Executor<'_>, event: &NewEvent<'_>) -> Result<()> {
    sqlx::query!(
        "insert into event (project_id, job_id, kind, actor, detail) values ($1, $2, $3, $4, $5)",
        event.project.map(|id| id.0),
        event.job.map(|id| id.0),
        event.kind,
        event.actor,
        event.detail,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// An event, as people see it.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its place in the log.
    pub id: i64,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// The attempt it happened in, if in one.
    pub attempt: Option<i32>,
    /// What happened.
    pub kind: String,
    /// Who did it.
    pub actor: String,
    /// Anything more.
    pub detail: Option<Value>,
}

/// What happened to a job, the first event first, a page at a time.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn of_job(
    db: impl Executor<'_>,
    job: JobId,
    after: Option<Cursor>,
    limit: u16,
) -> Result<Page<Event>> {
    let events = sqlx::query_as!(
        Event,
        "select id, at, attempt, kind, actor, detail from event where job_id = $1 and id > $2 order by id limit $3",
        job.0,
        after.map_or(0, place),
        i64::from(limit) + 1,
    )
    .fetch_all(db)
    .await?;
    Ok(Page::cut(events, usize::from(limit), |event| {
        Uuid::from_u128(u128::from(event.id.unsigned_abs()))
    }))
}

/// Cursors hold a UUID; an event's place is a number in the low half of one.
fn place(cursor: Cursor) -> i64 {
    i64::try_from(cursor.0.as_u128()).unwrap_or(i64::MAX)
}
