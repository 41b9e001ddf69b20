//! Occurrences: what was due, what was decided, why, and which job.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::uuids;
use crate::domain::id::{JobId, ScheduleId};
use crate::domain::job::JobState;
use crate::store::named::Named;
use crate::store::{Executor, Result};

/// An occurrence to be recorded.
#[derive(Clone, Debug)]
pub struct Record {
    /// The schedule.
    pub schedule: ScheduleId,
    /// The instant.
    pub due_at: DateTime<Utc>,
    /// When it could first be released.
    pub fire_at: DateTime<Utc>,
    /// `fired`, `waiting` or `skipped`.
    pub decision: &'static str,
    /// Why, as a word.
    pub reason: &'static str,
    /// Why, as a sentence.
    pub detail: String,
    /// `schedule` or `trigger`.
    pub origin: &'static str,
    /// Who decided.
    pub actor: String,
    /// Under which key it was asked for.
    pub trigger_key: Option<String>,
    /// The job it makes.
    pub job: Option<JobId>,
    /// The last instant it stands for, if it stands for many.
    pub last_due_at: Option<DateTime<Utc>>,
    /// How many it stands for.
    pub stands_for: i32,
}

/// An occurrence that was recorded now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Recorded {
    /// The schedule.
    pub schedule: ScheduleId,
    /// The instant.
    pub due_at: DateTime<Utc>,
    /// The job that is to be made.
    pub job: Option<JobId>,
}

/// Records occurrences, each once: answers with those that were not there. An instant that was decided
/// before keeps its row, and no second job is made for it.
///
/// # Errors
///
/// [`crate::store::Error`] when PostgreSQL is away.
pub async fn record(db: impl Executor<'_>, records: &[Record]) -> Result<Vec<Recorded>> {
    let schedules: Vec<Uuid> = records.iter().map(|record| record.schedule.0).collect();
    let due: Vec<_> = records.iter().map(|record| record.due_at).collect();
    let fire: Vec<_> = records.iter().map(|record| record.fire_at).collect();
    let decisions: Vec<_> = records.iter().map(|record| record.decision).collect();
    let reasons: Vec<_> = records.iter().map(|record| record.reason).collect();
    let details: Vec<_> = records.iter().map(|record| record.detail.as_str()).collect();
    let origins: Vec<_> = records.iter().map(|record| record.origin).collect();
    let actors: Vec<_> = records.iter().map(|record| record.actor.as_str()).collect();
    let keys: Vec<_> = records
        .iter()
        .map(|record| record.trigger_key.as_deref())
        .collect();
    let jobs: Vec<_> = records.iter().map(|record| record.job.map(|job| job.0)).collect();
    let lasts: Vec<_> = records.iter().map(|record| record.last_due_at).collect();
    let counts: Vec<_> = records.iter().map(|record| record.stands_for).collect();
    let rows = sqlx::query!(
        r#"
        with recorded as (
            insert into occurrence (schedule_id, due_at, fire_at, decision, reason, detail, origin, actor, trigger_key,
                                    job_id, last_due_at, stands_for)
            select * from unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::text[], $5::text[], $6::text[],
                                 $7::text[], $8::text[], $9::text[], $10::uuid[], $11::timestamptz[], $12::int[])
            on conflict (schedule_id, due_at) do nothing
            returning schedule_id, due_at, job_id
        )
        select * from recorded
        "#,
        &schedules,
        &due,
        &fire,
        &decisions as &[&str],
        &reasons as &[&str],
        &details as &[&str],
        &origins as &[&str],
        &actors as &[&str],
        &keys as &[Option<&str>],
        &jobs as &[Option<Uuid>],
        &lasts as &[Option<DateTime<Utc>>],
        &counts,
    )
    .fetch_all(db)
    .await?;
    let recorded = rows.into_iter().map(|row| Recorded {
        schedule: ScheduleId(row.schedule_id),
        due_at: row.due_at,
        job: row.job_id.map(JobId),
    });
    Ok(recorded.collect())
}

/// A job of a schedule that has not ended, or an occurrence that waits for such.
#[derive(Clone, Copy, Debug)]
pub struct Open {
    /// The schedule.
    pub schedule: ScheduleId,
    /// The instant it was made for.
    pub due_at: DateTime<Utc>,
    /// The job; `None` when the occurrence waits.
    pub job: Option<JobId>,
    /// Whether the job has begun.
    pub begun: bool,
}

/// What of these schedules has not ended.
///
/// # Errors
///
/// [`crate::store::Error`] when PostgreSQL is away.
pub async fn open(db: impl Executor<'_>, schedules: &[ScheduleId]) -> Result<Vec<Open>> {
    let rows = sqlx::query!(
        r#"
        select schedule_id as "schedule_id!", due_at as "due_at!", job_id,
               (job.state in ('running', 'awaiting_approval') or job.attempt > 0) as "begun!"
          from occurrence join job on job.id = job_id
         where schedule_id = any ($1) and outcome is null and job_id is not null
           and job.state in ('blocked', 'scheduled', 'available', 'running', 'awaiting_approval')
        union all
        select schedule_id, due_at, null, false from occurrence where schedule_id = any ($1) and decision = 'waiting'
        "#,
        &uuids(schedules),
    )
    .fetch_all(db)
    .await?;
    let open = rows.into_iter().map(|row| Open {
        schedule: ScheduleId(row.schedule_id),
        due_at: row.due_at,
        job: row.job_id.map(JobId),
        begun: row.begun,
    });
    Ok(open.collect())
}

/// Gives up the occurrences of these schedules that wait.
///
/// # Errors
///
/// [`crate::store::Error`] when PostgreSQL is away.
pub async fn give_up(
    db: impl Executor<'_>,
    schedules: &[ScheduleId],
    reason: &str,
    detail: &str,
) -> Result<u64> {
    let done = sqlx::query!(
        "update occurrence set decision = 'skipped', reason = $2, detail = $3, decided_at = now()
          where schedule_id = any ($1) and decision = 'waiting'",
        &uuids(schedules),
        reason,
        detail,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}

/// Fires the occurrence of `schedule` that waits: it makes `job`. Answers with the reason it waited
/// for; `None` means that none waits.
///
/// # Errors
///
/// [`crate::store::Error`] when PostgreSQL is away.
pub async fn fire_waiting(db: impl Executor<'_>, schedule: ScheduleId, job: JobId) -> Result<Option<String>> {
    let reason = sqlx::query_scalar!(
        "update occurrence
            set decision = 'fired', job_id = $2, decided_at = now(),
                detail = detail || ' They have, and its job was made.'
          where schedule_id = $1 and decision = 'waiting'
        returning reason",
        schedule.0,
        job.0,
    )
    .fetch_optional(db)
    .await?;
    Ok(reason)
}

/// Takes back that these jobs are made: another job that has not ended holds their unique key.
///
/// # Errors
///
/// [`crate::store::Error`] when PostgreSQL is away.
pub async fn key_was_held(db: impl Executor<'_>, jobs: &[JobId]) -> Result<()> {
    let jobs: Vec<Uuid> = jobs.iter().map(|job| job.0).collect();
    sqlx::query!(
        "update occurrence
            set decision = 'skipped', reason = 'unique_key_held', job_id = null,
                detail = 'Another job that has not ended holds the unique_key of the template.'
          where job_id = any ($1)",
        &jobs,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The schedules that made these jobs.
///
/// # Errors
///
/// [`crate::store::Error`] when PostgreSQL is away.
pub async fn makers(db: impl Executor<'_>, jobs: &[JobId]) -> Result<Vec<ScheduleId>> {
    let jobs: Vec<Uuid> = jobs.iter().map(|job| job.0).collect();
    let ids = sqlx::query_scalar!(
        r#"select distinct schedule_id as "schedule_id!" from occurrence where job_id = any ($1) order by 1"#,
        &jobs
    )
    .fetch_all(db)
    .await?;
    Ok(ids.into_iter().map(ScheduleId).collect())
}

/// How a job of a schedule ended.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// The schedule.
    pub schedule: ScheduleId,
    /// How.
    pub state: JobState,
}

/// Writes down how these jobs ended, those that have, each once; in the order in which they were due.
/// Their schedules are to be locked before. Holds the jobs, so that none of them is retried meanwhile.
///
/// # Errors
///
/// [`crate::store::Error`] when PostgreSQL is away.
pub async fn end(db: impl Executor<'_>, jobs: &[JobId]) -> Result<Vec<Outcome>> {
    let jobs: Vec<Uuid> = jobs.iter().map(|job| job.0).collect();
    let rows = sqlx::query!(
        r#"
        with over as materialized (
            -- Who has ended has an end (finished_iff_terminal); to name the states would offer the planner all who are so.
            select id, state from job
             where id = any ($1) and finished_at is not null
             order by id
               for share
        ), ended as (
            update occurrence set outcome = over.state::text from over
             where occurrence.job_id = over.id and occurrence.job_id = any ($1) and outcome is null
            returning schedule_id, due_at, over.state
        )
        select schedule_id, state as "state: Named<JobState>" from ended order by due_at
        "#,
        &jobs,
    )
    .fetch_all(db)
    .await?;
    let outcomes = rows.into_iter().map(|row| Outcome {
        schedule: ScheduleId(row.schedule_id),
        state: row.state.0,
    });
    Ok(outcomes.collect())
}

/// The last instant of a schedule's own that was decided.
///
/// # Errors
///
/// [`crate::store::Error`] when PostgreSQL is away.
pub async fn last_decided(db: impl Executor<'_>, schedule: ScheduleId) -> Result<Option<DateTime<Utc>>> {
    let last = sqlx::query_scalar!(
        "select coalesce(last_due_at, due_at) from occurrence
          where schedule_id = $1 and origin = 'schedule'
          order by due_at desc limit 1",
        schedule.0
    )
    .fetch_optional(db)
    .await?;
    Ok(last.flatten())
}

/// An occurrence as people see it.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns are documented in the migrations")]
pub struct Occurrence {
    pub due_at: DateTime<Utc>,
    pub fire_at: Option<DateTime<Utc>>,
    pub decided_at: DateTime<Utc>,
    pub decision: String,
    pub reason: String,
    pub detail: String,
    pub origin: String,
    pub actor: String,
    pub job_id: Option<Uuid>,
    pub job_state: Option<String>,
    pub outcome: Option<String>,
    pub last_due_at: Option<DateTime<Utc>>,
    pub stands_for: i32,
}

/// What a schedule's history shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter<'a> {
    /// Only with this decision.
    pub decision: Option<&'a str>,
    /// Only those due before.
    pub before: Option<DateTime<Utc>>,
}

/// What was decided about a schedule's instants, the latest first.
///
/// # Errors
///
/// [`crate::store::Error`] when PostgreSQL is away.
pub async fn history(
    db: impl Executor<'_>,
    schedule: ScheduleId,
    filter: Filter<'_>,
    limit: u16,
) -> Result<Vec<Occurrence>> {
    let rows = sqlx::query_as!(
        Occurrence,
        r#"
        select due_at, fire_at, decided_at, decision, reason, detail, origin, actor, job_id,
               job.state::text as job_state, outcome, last_due_at, stands_for
          from occurrence left join job on job.id = job_id
         where schedule_id = $1 and ($2::text is null or decision = $2) and ($3::timestamptz is null or due_at < $3)
         order by due_at desc
         limit $4
        "#,
        schedule.0,
        filter.decision,
        filter.before,
        i64::from(limit),
    )
    .fetch_all(db)
    .await?;
    Ok(rows)
}

/// The occurrence that was triggered under `key`, or at `due_at`.
///
/// # Errors
///
/// [`crate::store::Error`] when PostgreSQL is away.
pub async fn triggered(
    db: impl Executor<'_>,
    schedule: ScheduleId,
    key: Option<&str>,
    due_at: Option<DateTime<Utc>>,
) -> Result<Option<Occurrence>> {
    let row = sqlx::query_as!(
        Occurrence,
        r#"
        select due_at, fire_at, decided_at, decision, reason, detail, origin, actor, job_id,
               job.state::text as job_state, outcome, last_due_at, stands_for
          from occurrence left join job on job.id = job_id
         where schedule_id = $1 and (trigger_key = $2 or due_at = $3)
        "#,
        schedule.0,
        key,
        due_at,
    )
    .fetch_optional(db)
    .await?;
    Ok(row)
}
