//! What is old enough is deleted, a bounded batch a statement.
//!
//! No statement here touches a row a claim could want: jobs that have ended are never claimed, and rows of
//! theirs are deleted without a look at the job's lock. What another scheduler deletes is skipped.

pub mod files;

use std::time::Duration;

use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::runner::interval;
use super::{Executor, Result};
use crate::domain::clock::Instant;

/// What a batch came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Rows deleted; of jobs, those alone.
    pub rows: u64,
    /// Whether another batch may find more.
    pub more: bool,
}

/// Where the next batch goes on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    job: Uuid,
    event: i64,
}

/// Rows of a job that may go before it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What its steps printed.
    Log,
    /// Its steps.
    Step,
    /// What agents said and used in its steps.
    Usage,
    /// Its attempts.
    Attempt,
}

impl Part {
    const fn table(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Step => "step",
            Self::Usage => "step_usage",
            Self::Attempt => "attempt",
        }
    }
}

/// Deletes up to `limit` rows of jobs that ended more than `ttl` ago, the oldest jobs first.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away; deleting again is safe.
pub async fn parts(
    db: impl Executor<'_>,
    part: Part,
    ttl: Duration,
    now: Instant,
    limit: u32,
    place: &mut Place,
) -> Result<Swept> {
    let statement = parts_statement(part.table());
    let (rows, job): (i64, Option<Uuid>) = sqlx::query_as(AssertSqlSafe(statement))
        .bind(place.job)
        .bind(interval(ttl))
        .bind(now)
        .bind(i64::from(limit))
        .fetch_one(db)
        .await?;
    let full = rows >= i64::from(limit);
    let more = full || job.is_some();
    // A full batch may have stopped within a job, which is looked at again.
    if let (false, Some(job)) = (full, job) {
        place.job = job;
    }
    Ok(Swept {
        rows: rows.unsigned_abs(),
        more,
    })
}

/// One statement for four tables of one shape, so it is no macro; the name is one of ours.
fn parts_statement(table: &str) -> String {
    format!(
        "
        with recursive candidate as (
            -- From one job that has rows to the next, without reading the rows between.
            (select job_id, 1 as n from {table} where job_id > $1 and job_id < uuid_at(coalesce($3::timestamptz, now()) - $2::interval) order by job_id limit 1)
             union all
            select (select job_id from {table}
                     where job_id > candidate.job_id and job_id < uuid_at(coalesce($3::timestamptz, now()) - $2::interval) order by job_id limit 1), n + 1
              from candidate where candidate.job_id is not null and n < 1000
        ), old as materialized (
            select part.ctid
              from (select job.id from candidate join job on job.id = candidate.job_id
                     where job.finished_at < coalesce($3::timestamptz, now()) - $2::interval
                       and not exists (select from event where event.job_id = job.id and event.id > (select done from rollup where name = 'event'))
                     order by job.id) as ended,
                   lateral (select ctid from {table} where job_id = ended.id for update skip locked) as part
             limit $4
        ), gone as (
            delete from {table} where ctid = any (array(select ctid from old)) returning 1
        )
        select (select count(*) from gone), (select job_id from candidate where job_id is not null and n = 1000)
        "
    )
}

/// Locks up to `limit` jobs that nobody needs any more: they ended more than `ttl` ago, no job that has
/// not ended needs them, no callback of theirs is on its way, their idempotency key is older than `keys`,
/// and reports have counted them.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn lock_jobs(
    db: impl Executor<'_>,
    ttl: Duration,
    keys: Duration,
    now: Instant,
    limit: u32,
    place: &mut Place,
) -> Result<Vec<Uuid>> {
    let ids = sqlx::query_scalar!(
        r#"
        select id
          from job
         where id > $1 and id < uuid_at(coalesce($4::timestamptz, now()) - $2::interval)
           and finished_at < coalesce($4::timestamptz, now()) - $2::interval
           and not needed
           -- Files go before rows, or nobody would know whose they are.
           and not exists (select from artifact where artifact.job_id = job.id)
           and not exists (select from delivery where delivery.job_id = job.id and delivery.state = 'pending')
           and not exists (select from job_need join job as waiting on waiting.id = job_need.job_id
                            where job_need.needs_id = job.id
                              and waiting.state in ('blocked', 'scheduled', 'available', 'running', 'awaiting_approval'))
           and (job.created_at < coalesce($4::timestamptz, now()) - $3::interval or not exists (select from job_key where job_key.job_id = job.id))
           and not exists (select from event where event.job_id = job.id and event.id > (select done from rollup where name = 'event'))
         order by id
         limit $5
           for update skip locked
        "#,
        place.job,
        interval(ttl),
        interval(keys),
        now,
        i64::from(limit),
    )
    .fetch_all(db)
    .await?;
    if let Some(last) = ids.last() {
        place.job = *last;
    }
    Ok(ids)
}

/// Deletes these jobs with everything of theirs; their events stay, which have a time of their own.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away; nothing is deleted then.
pub async fn delete_jobs(db: impl Executor<'_>, ids: &[Uuid]) -> Result<u64> {
    // No foreign key would: whoever writes these rows holds the job instead, which is cheaper.
    let done = sqlx::query!(
        r#"
        with logs as (delete from log where job_id = any ($1)),
             steps as (delete from step where job_id = any ($1)),
             usages as (delete from step_usage where job_id = any ($1)),
             approvals as (delete from approval where job_id = any ($1)),
             attempts as (delete from attempt where job_id = any ($1)),
             keys as (delete from job_key where job_id = any ($1)),
             workspaces as (delete from workspace where job_id = any ($1)),
             needs as (delete from job_need where job_id = any ($1)),
             specs as (delete from job_spec where job_id = any ($1))
        delete from job where id = any ($1)
        "#,
        ids,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}

/// Deletes up to `limit` events older than `ttl` that reports have counted.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away; deleting again is safe.
pub async fn events(
    db: impl Executor<'_>,
    ttl: Duration,
    now: Instant,
    limit: u32,
    place: &mut Place,
) -> Result<Swept> {
    let row = sqlx::query!(
        r#"
        -- An event is never rewritten, so services may not lock one; who deletes has this lock instead.
        with alone as materialized (
            select pg_try_advisory_xact_lock(hashtext('orchestrator retention of events')) as got
        ), front as materialized (
            select id, at from event
             where (select got from alone) and id > $1 and id <= (select done from rollup where name = 'event')
             order by id limit $4
        ), gone as (
            delete from event where id in (select id from front where at < coalesce($3::timestamptz, now()) - $2::interval) returning id
        )
        select count(*) as "looked!", max(front.id) as last, (select count(*) from gone) as "gone!" from front
        "#,
        place.event,
        interval(ttl),
        now,
        i64::from(limit),
    )
    .fetch_one(db)
    .await?;
    place.event = row.last.unwrap_or(place.event);
    Ok(Swept {
        rows: row.gone.unsigned_abs(),
        // Ids and times go together, but for transactions that took their time.
        more: row.looked == i64::from(limit) && row.gone > 0,
    })
}

/// Deletes up to `limit` occurrences whose instant and decision are more than `ttl` ago, each schedule's oldest first. The
/// schedule itself has moved on, so none of them comes again.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away; deleting again is safe.
pub async fn occurrences(db: impl Executor<'_>, ttl: Duration, now: Instant, limit: u32) -> Result<Swept> {
    let done = sqlx::query!(
        r#"
        with old as materialized (
            select occurrence.schedule_id, occurrence.due_at
              from schedule,
                   lateral (select schedule_id, due_at from occurrence
                             where schedule_id = schedule.id and due_at < coalesce($2::timestamptz, now()) - $1::interval
                               and due_at < coalesce(schedule.next_due_at, 'infinity') and decided_at < coalesce($2::timestamptz, now()) - $1::interval
                               -- One that waits makes its job yet; one whose job goes on is heard of yet.
                               and decision in ('fired', 'skipped')
                               and not exists (select from job where job.id = occurrence.job_id and (job.finished_at is null or job.needed))
                             order by due_at limit $3 for update skip locked) as occurrence
             limit $3
        )
        delete from occurrence using old where occurrence.schedule_id = old.schedule_id and occurrence.due_at = old.due_at
        "#,
        interval(ttl),
        now,
        i64::from(limit),
    )
    .execute(db)
    .await?;
    Ok(of(done.rows_affected(), limit))
}

/// Deletes up to `limit` callbacks that were delivered or given up, and as many events that came in at hooks, of
/// more than `ttl` ago. An event its sender repeats after that makes another job.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away; deleting again is safe.
pub async fn deliveries(db: impl Executor<'_>, ttl: Duration, now: Instant, limit: u32) -> Result<Swept> {
    let row = sqlx::query!(
        r#"
        with sent as materialized (
            select id from delivery
             where created_at < coalesce($2::timestamptz, now()) - $1::interval and finished_at < coalesce($2::timestamptz, now()) - $1::interval
             order by created_at limit $3 for update skip locked
        ), received as materialized (
            select id from hook_delivery where received_at < coalesce($2::timestamptz, now()) - $1::interval
             order by received_at limit $3 for update skip locked
        ), tries as (
            delete from delivery_attempt using sent where delivery_id = sent.id
        ), gone as (
            delete from delivery using sent where delivery.id = sent.id returning 1
        ), forgotten as (
            delete from hook_delivery using received where hook_delivery.id = received.id returning 1
        )
        select (select count(*) from gone) as "sent!", (select count(*) from forgotten) as "received!"
        "#,
        interval(ttl) as sqlx::postgres::types::PgInterval,
        now,
        i64::from(limit),
    )
    .fetch_one(db)
    .await?;
    let limit = i64::from(limit);
    Ok(Swept {
        rows: (row.sent + row.received).unsigned_abs(),
        more: row.sent >= limit || row.received >= limit,
    })
}

/// Deletes up to `limit` runner sessions that ended, or fell silent, more than `ttl` ago and hold nothing.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away; deleting again is safe.
pub async fn runners(db: impl Executor<'_>, ttl: Duration, now: Instant, limit: u32) -> Result<Swept> {
    let done = sqlx::query!(
        r#"
        with old as materialized (
            select id from runner
             where coalesce(ended_at, lease_expires_at) < coalesce($2::timestamptz, now()) - $1::interval
               and not exists (select from job where job.runner_id = runner.id and job.state = 'running')
             limit $3 for update skip locked
        )
        delete from runner using old where runner.id = old.id
        "#,
        interval(ttl),
        now,
        i64::from(limit),
    )
    .execute(db)
    .await?;
    Ok(of(done.rows_affected(), limit))
}

/// Deletes the sums of days more than `ttl` ago.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away; deleting again is safe.
pub async fn sums(db: impl Executor<'_>, ttl: Duration, now: Instant) -> Result<Swept> {
    let row = sqlx::query!(
        r#"
        with before as materialized (select ((coalesce($2::timestamptz, now()) - $1::interval) at time zone 'UTC')::date as day),
             jobs as (delete from rollup_job using before where rollup_job.day < before.day returning 1),
             times as (delete from rollup_time using before where rollup_time.day < before.day returning 1),
             steps as (delete from rollup_step using before where rollup_step.day < before.day returning 1),
             runners as (delete from rollup_runner using before where hour < before.day returning 1)
        select (select count(*) from jobs) + (select count(*) from times) + (select count(*) from steps)
             + (select count(*) from runners) as "rows!"
        "#,
        interval(ttl) as sqlx::postgres::types::PgInterval,
        now,
    )
    .fetch_one(db)
    .await?;
    Ok(Swept {
        rows: row.rows.unsigned_abs(),
        more: false,
    })
}

fn of(rows: u64, limit: u32) -> Swept {
    Swept {
        rows,
        more: rows >= u64::from(limit),
    }
}
