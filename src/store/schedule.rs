//! Schedules: read, made, changed, and moved on to their next instant.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::database::BRIEFLY;
use super::job::{Reach, reach};
use super::{Executor, Result};
use crate::domain::clock::Instant;
use crate::domain::id::{ProjectId, ScheduleId};
use crate::domain::page::{Cursor, Page};
use crate::domain::schedule::Definition;

pub mod displace;
pub mod occurrence;

/// A schedule as its row has it. Its words are read in `app`: a row may hold what this version does
/// not understand, and is to be shown all the same.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns are documented in the migrations")]
pub struct Schedule {
    pub id: Uuid,
    pub project_id: Uuid,
    pub project_alias: String,
    pub name: String,
    pub expression: String,
    pub zone: String,
    pub anchor: DateTime<Utc>,
    pub spec: Value,
    pub missed: String,
    pub missed_limit: i16,
    pub overlap: String,
    pub jitter_sec: i32,
    pub grace_sec: i32,
    pub starts_at: Option<DateTime<Utc>>,
    pub ends_at: Option<DateTime<Utc>>,
    pub failure_budget: Option<i32>,
    pub failures: i32,
    pub paused_at: Option<DateTime<Utc>>,
    pub pause_reason: Option<String>,
    pub next_due_at: Option<DateTime<Utc>>,
    pub fire_at: Option<DateTime<Utc>>,
    pub managed_by: Option<String>,
    pub version: i32,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// What is taken for now: `now`, or the database's clock.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn now(db: impl Executor<'_>, now: Instant) -> Result<DateTime<Utc>> {
    let now = sqlx::query_scalar!(r#"select coalesce($1, now()) as "now!""#, now)
        .fetch_one(db)
        .await?;
    Ok(now)
}

/// The schedules with these ids that the caller may see, in the order of their ids.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn read(db: impl Executor<'_>, ids: &[ScheduleId], projects: Reach<'_>) -> Result<Vec<Schedule>> {
    let projects = reach(projects);
    let schedules = sqlx::query_as!(
        Schedule,
        r#"
        select schedule.id, project_id, project.alias as project_alias, name, expression, zone, anchor, spec, missed,
               missed_limit, overlap, jitter_sec, grace_sec, starts_at, ends_at, failure_budget, failures, paused_at,
               pause_reason, next_due_at, fire_at, managed_by, version, schedule.created_at, schedule.updated_at
          from schedule join project on project.id = project_id
         where schedule.id = any ($1) and ($2::uuid[] is null or project_id = any ($2))
         order by schedule.id
        "#,
        &uuids(ids),
        projects.as_deref(),
    )
    .fetch_all(db)
    .await?;
    Ok(schedules)
}

/// Waits for no lock longer than a second, until the transaction ends: somebody may hold the run that is to be displaced,
/// and others are due.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn be_brief(db: impl Executor<'_>) -> Result<()> {
    sqlx::query!("select set_config('lock_timeout', $1, true)", BRIEFLY)
        .fetch_one(db)
        .await?;
    Ok(())
}

/// Locks up to `limit` schedules that are to be released, but for those that are `not` to be, for the transaction; another
/// scheduler skips them.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn lock_due(
    db: impl Executor<'_>,
    now: Instant,
    limit: u32,
    not: &[ScheduleId],
) -> Result<Vec<ScheduleId>> {
    let ids = sqlx::query_scalar!(
        "select id from schedule
          where paused_at is null and fire_at <= coalesce($1, now()) and id <> all ($3)
          order by fire_at
          limit $2
            for update skip locked",
        now,
        i64::from(limit),
        &uuids(not),
    )
    .fetch_all(db)
    .await?;
    Ok(ids.into_iter().map(ScheduleId).collect())
}

/// Locks these schedules for the transaction, waiting for whoever has them; answers with those that
/// are there. In a statement of its own, so that the next one sees what the last holder did.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn lock(db: impl Executor<'_>, ids: &[ScheduleId]) -> Result<Vec<ScheduleId>> {
    let ids = sqlx::query_scalar!(
        "select id from schedule where id = any ($1) order by id for update",
        &uuids(ids)
    )
    .fetch_all(db)
    .await?;
    Ok(ids.into_iter().map(ScheduleId).collect())
}

/// Waits until no other transaction applies files, so that two of them do not make half of each.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn lock_files(db: impl Executor<'_>) -> Result<()> {
    sqlx::query!("select pg_advisory_xact_lock(hashtextextended('schedule apply', 6))")
        .execute(db)
        .await?;
    Ok(())
}

/// The schedules of that name, in the project of that alias if one is given.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn named(db: impl Executor<'_>, project: Option<&str>, name: &str) -> Result<Vec<ScheduleId>> {
    let ids = sqlx::query_scalar!(
        "select schedule.id from schedule join project on project.id = project_id
          where name = $2 and ($1::text is null or alias = $1)
          order by alias",
        project,
        name,
    )
    .fetch_all(db)
    .await?;
    Ok(ids.into_iter().map(ScheduleId).collect())
}

/// The schedules that the files of this set made.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn managed_by(db: impl Executor<'_>, set: &str) -> Result<Vec<ScheduleId>> {
    let ids = sqlx::query_scalar!("select id from schedule where managed_by = $1 order by id", set)
        .fetch_all(db)
        .await?;
    Ok(ids.into_iter().map(ScheduleId).collect())
}

/// Which schedules a list shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter<'a> {
    /// Only of these projects.
    pub projects: Reach<'a>,
    /// Only those that are paused, or only those that are not.
    pub paused: Option<bool>,
}

/// The ids of schedules, newest first, a page at a time.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn page(
    db: impl Executor<'_>,
    filter: Filter<'_>,
    after: Option<Cursor>,
    limit: u16,
) -> Result<Page<ScheduleId>> {
    let projects = reach(filter.projects);
    let ids = sqlx::query_scalar!(
        "select id from schedule
          where ($1::uuid[] is null or project_id = any ($1))
            and ($2::bool is null or (paused_at is not null) = $2)
            and ($3::uuid is null or id < $3)
          order by id desc
          limit $4",
        projects.as_deref(),
        filter.paused,
        after.map(|cursor| cursor.0),
        i64::from(limit) + 1,
    )
    .fetch_all(db)
    .await?;
    let ids = ids.into_iter().map(ScheduleId).collect();
    Ok(Page::cut(ids, usize::from(limit), |id: &ScheduleId| id.0))
}

/// Where a schedule stands: whether it is paused, and the next instant to be decided.
#[derive(Clone, Debug, Default)]
pub struct Stand {
    /// Since when it is paused.
    pub paused_at: Option<DateTime<Utc>>,
    /// Why.
    pub pause_reason: Option<String>,
    /// The next instant to be decided.
    pub next_due_at: Option<DateTime<Utc>>,
    /// When that is released.
    pub fire_at: Option<DateTime<Utc>>,
}

/// Makes a schedule.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away, or the name is taken (`schedule_name_is_unique`).
pub async fn insert(
    db: impl Executor<'_>,
    (id, project): (ScheduleId, ProjectId),
    definition: &Definition,
    managed_by: Option<&str>,
    anchor: DateTime<Utc>,
    stand: &Stand,
) -> Result<()> {
    let spec = template(definition)?;
    sqlx::query!(
        "insert into schedule (id, project_id, name, expression, zone, anchor, spec, missed, missed_limit, overlap,
                               jitter_sec, grace_sec, starts_at, ends_at, failure_budget, managed_by, paused_at,
                               pause_reason, next_due_at, fire_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)",
        id.0,
        project.0,
        definition.name,
        definition.expression.as_str(),
        definition.zone.name(),
        anchor,
        spec,
        <&str>::from(definition.missed),
        i16::try_from(definition.missed_limit).unwrap_or(i16::MAX),
        <&str>::from(definition.overlap),
        number(definition.jitter_sec),
        number(definition.grace_sec),
        definition.starts_at,
        definition.ends_at,
        definition.failure_budget.map(number),
        managed_by,
        stand.paused_at,
        stand.pause_reason,
        stand.next_due_at,
        stand.fire_at,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Gives a schedule another definition and stand. One that is no longer paused begins to count its
/// failures again.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away, or the name is taken (`schedule_name_is_unique`).
pub async fn update(
    db: impl Executor<'_>,
    id: ScheduleId,
    definition: &Definition,
    managed_by: Option<&str>,
    stand: &Stand,
) -> Result<()> {
    let spec = template(definition)?;
    sqlx::query!(
        "update schedule
            set name = $2, expression = $3, zone = $4, spec = $5, missed = $6, missed_limit = $7, overlap = $8,
                jitter_sec = $9, grace_sec = $10, starts_at = $11, ends_at = $12, failure_budget = $13,
                managed_by = $14, paused_at = $15, pause_reason = $16, next_due_at = $17, fire_at = $18,
                failures = case when paused_at is not null and $15::timestamptz is null then 0 else failures end,
                version = version + 1, updated_at = now()
          where id = $1",
        id.0,
        definition.name,
        definition.expression.as_str(),
        definition.zone.name(),
        spec,
        <&str>::from(definition.missed),
        i16::try_from(definition.missed_limit).unwrap_or(i16::MAX),
        <&str>::from(definition.overlap),
        number(definition.jitter_sec),
        number(definition.grace_sec),
        definition.starts_at,
        definition.ends_at,
        definition.failure_budget.map(number),
        managed_by,
        stand.paused_at,
        stand.pause_reason,
        stand.next_due_at,
        stand.fire_at,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Deletes a schedule and its occurrences. Its jobs stay.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn delete(db: impl Executor<'_>, id: ScheduleId) -> Result<()> {
    sqlx::query!("delete from schedule where id = $1", id.0)
        .execute(db)
        .await?;
    Ok(())
}

/// Pauses a schedule, with the reason as a sentence. Answers whether it was not paused before.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn pause(db: impl Executor<'_>, id: ScheduleId, reason: Option<&str>) -> Result<bool> {
    let done = sqlx::query!(
        "update schedule set paused_at = now(), pause_reason = $2, version = version + 1, updated_at = now()
          where id = $1 and paused_at is null",
        id.0,
        reason,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Lets a paused schedule go on at `stand`, with no failures counted.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn resume(db: impl Executor<'_>, id: ScheduleId, stand: &Stand) -> Result<()> {
    sqlx::query!(
        "update schedule
            set paused_at = null, pause_reason = null, failures = 0, next_due_at = $2, fire_at = $3,
                version = version + 1, updated_at = now()
          where id = $1",
        id.0,
        stand.next_due_at,
        stand.fire_at,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A schedule and its next instant.
#[derive(Clone, Copy, Debug)]
pub struct Advance {
    /// The schedule.
    pub id: ScheduleId,
    /// The next instant to be decided.
    pub next_due_at: Option<DateTime<Utc>>,
    /// When that is released.
    pub fire_at: Option<DateTime<Utc>>,
}

/// Moves schedules to their next instants; never back.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn advance(db: impl Executor<'_>, to: &[Advance]) -> Result<()> {
    let ids: Vec<Uuid> = to.iter().map(|to| to.id.0).collect();
    let due: Vec<_> = to.iter().map(|to| to.next_due_at).collect();
    let fire: Vec<_> = to.iter().map(|to| to.fire_at).collect();
    sqlx::query!(
        "update schedule set next_due_at = advance.next_due_at, fire_at = advance.fire_at
           from unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[]) as advance (id, next_due_at, fire_at)
          where schedule.id = advance.id
            and (advance.next_due_at is null or advance.next_due_at >= schedule.next_due_at)",
        &ids,
        &due as &[Option<DateTime<Utc>>],
        &fire as &[Option<DateTime<Utc>>],
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Sets how many runs of a schedule failed in a row.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn count_failures(db: impl Executor<'_>, id: ScheduleId, failures: i32) -> Result<()> {
    sqlx::query!(
        "update schedule set failures = $2 where id = $1 and failures <> $2",
        id.0,
        failures
    )
    .execute(db)
    .await?;
    Ok(())
}

pub(super) fn uuids(ids: &[ScheduleId]) -> Vec<Uuid> {
    ids.iter().map(|id| id.0).collect()
}

fn template(definition: &Definition) -> Result<Value> {
    Ok(serde_json::to_value(&definition.job).map_err(|error| sqlx::Error::Encode(error.into()))?)
}

/// Definitions are checked: their numbers fit.
fn number(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
