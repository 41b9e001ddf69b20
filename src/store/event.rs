//! The append-only audit log.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::job::reach;
use super::{Executor, Pool, Result};
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
    Ok(Page::cut(events, usize::from(limit), |event| key(event.id)))
}

/// An event with where it happened.
#[derive(Clone, Debug)]
pub struct Located {
    /// The event.
    pub event: Event,
    /// Alias of the project it happened in, if in one that still is there.
    pub project_alias: Option<String>,
    /// The job it happened to, if to one.
    pub job: Option<JobId>,
}

/// Which events a list or a stream shows.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only of these projects; `None` is all, and what happened in none.
    pub projects: Option<Vec<ProjectId>>,
    /// Only kinds that begin so, as `job.`.
    pub kind: Option<String>,
}

impl Filter {
    fn is_narrow(&self) -> bool {
        self.projects.is_some() || self.kind.is_some()
    }
}

macro_rules! located {
    ($row:expr) => {{
        let row = $row;
        Located {
            event: Event {
                id: row.id,
                at: row.at,
                attempt: row.attempt,
                kind: row.kind,
                actor: row.actor,
                detail: row.detail,
            },
            project_alias: row.alias,
            job: row.job_id.map(JobId),
        }
    }};
}

/// Most rows of the log that are looked at for one page. The log has no index by project or kind, which
/// every job would pay for; who looks for what is rare gets short pages instead.
const WINDOW: i64 = 20_000;

/// Events, the latest first, a page at a time. A page may hold fewer than asked for, or none, although
/// there are more: `next` says where to look on.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn page(pool: &Pool, filter: &Filter, after: Option<Cursor>, limit: u16) -> Result<Page<Located>> {
    let projects = reach(filter.projects.as_deref());
    let before = after.map_or(i64::MAX, place);
    let window = if filter.is_narrow() {
        WINDOW
    } else {
        i64::from(limit) + 1
    };
    let rows = sqlx::query!(
        r#"
        with looked as materialized (
            select * from event where id < $3 order by id desc limit $4
        )
        select looked.id as "id!", looked.at as "at!", looked.attempt, looked.kind as "kind!", looked.actor as "actor!",
               looked.detail, looked.job_id, project.alias as "alias?"
          from looked left join project on project.id = looked.project_id
         where ($1::uuid[] is null or project_id = any ($1)) and ($2::text is null or starts_with(kind, $2))
         order by looked.id desc
         limit $5
        "#,
        projects.as_deref(),
        filter.kind,
        before,
        window,
        i64::from(limit) + 1,
    )
    .fetch_all(pool)
    .await?;
    let found = rows.into_iter().map(|row| located!(row)).collect();
    let mut page = Page::cut(found, usize::from(limit), |located: &Located| {
        key(located.event.id)
    });
    if page.next.is_none() && filter.is_narrow() {
        page.next = edge(pool, before).await?.map(|last| Cursor(key(last)));
    }
    Ok(page)
}

/// The last event that was looked at for a page, when there are more behind it.
async fn edge(db: impl Executor<'_>, before: i64) -> Result<Option<i64>> {
    let last = sqlx::query_scalar!(
        "select id from event where id < $1 order by id desc limit 1 offset $2",
        before,
        WINDOW - 1,
    )
    .fetch_optional(db)
    .await?;
    Ok(last)
}

/// Events with ids above `after` and up to `until`, in order, at most `most` of them.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn between(
    db: impl Executor<'_>,
    filter: &Filter,
    after: i64,
    until: i64,
    most: u32,
) -> Result<Vec<Located>> {
    let projects = reach(filter.projects.as_deref());
    let rows = sqlx::query!(
        r#"
        select event.id, event.at, event.attempt, event.kind, event.actor, event.detail, event.job_id, project.alias as "alias?"
          from event left join project on project.id = event.project_id
         where event.id > $3 and event.id <= $4
           and ($1::uuid[] is null or event.project_id = any ($1)) and ($2::text is null or starts_with(event.kind, $2))
         order by event.id
         limit $5
        "#,
        projects.as_deref(),
        filter.kind,
        after,
        until,
        i64::from(most),
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| located!(row)).collect())
}

/// The highest id that is visible now, 0 in an empty log.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn highest(db: impl Executor<'_>) -> Result<i64> {
    let highest = sqlx::query_scalar!(r#"select coalesce(max(id), 0) as "highest!" from event"#)
        .fetch_one(db)
        .await?;
    Ok(highest)
}

/// The transactions that may have taken an id and have not ended: those that hold the lock every
/// insert takes before it draws its id.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn writers(db: impl Executor<'_>) -> Result<Vec<String>> {
    let writers = sqlx::query_scalar!(
        r#"select distinct virtualtransaction as "writer!" from pg_locks
            where locktype = 'relation' and relation = 'event'::regclass and mode = 'RowExclusiveLock'
              and database = (select oid from pg_database where datname = current_database())"#
    )
    .fetch_all(db)
    .await?;
    Ok(writers)
}

fn key(id: i64) -> Uuid {
    Uuid::from_u128(u128::from(id.unsigned_abs()))
}

/// Cursors hold a UUID; an event's place is a number in the low half of one.
fn place(cursor: Cursor) -> i64 {
    i64::try_from(cursor.0.as_u128()).unwrap_or(i64::MAX)
}
