//! Which jobs' files are old enough to go: what they left behind, and what they worked in.

use std::time::Duration;

use uuid::Uuid;

use super::{Place, interval};
use crate::domain::clock::Instant;
use crate::domain::id::JobId;
use crate::store::{Connection, Executor, Result};

/// Up to `limit` jobs that have artifacts and ended longer ago than `ttl`, and whether there may be more.
///
/// # Errors
///
/// [`crate::store::Error`] when PostgreSQL is away.
pub async fn with_old_artifacts(
    db: impl Executor<'_>,
    ttl: Duration,
    now: Instant,
    limit: u32,
    place: &mut Place,
) -> Result<(Vec<JobId>, bool)> {
    let rows = sqlx::query!(
        r#"
        with recursive candidate as (
            -- From one job that has artifacts to the next, without reading those between.
            (select job_id, 1 as n from artifact where job_id > $1 and job_id < uuid_at(coalesce($3::timestamptz, now()) - $2::interval) order by job_id limit 1)
             union all
            select (select job_id from artifact
                     where job_id > candidate.job_id and job_id < uuid_at(coalesce($3::timestamptz, now()) - $2::interval) order by job_id limit 1), n + 1
              from candidate where candidate.job_id is not null and n < $4
        )
        select candidate.job_id as "job!", coalesce(job.finished_at < coalesce($3::timestamptz, now()) - $2::interval, false) as "old!"
          -- One whose job was deleted by hand is passed over.
          from candidate left join job on job.id = candidate.job_id
         where candidate.job_id is not null
         order by 1
        "#,
        place.job,
        interval(ttl),
        now,
        i32::try_from(limit).unwrap_or(i32::MAX),
    )
    .fetch_all(db)
    .await?;
    if let Some(last) = rows.last() {
        place.job = last.job;
    }
    let more = rows.len() >= limit as usize;
    let old = rows.into_iter().filter(|row| row.old).map(|row| JobId(row.job));
    Ok((old.collect(), more))
}

/// Locks a job that ended longer ago than `ttl`, until the transaction ends; answers whether it did. A job
/// that somebody else holds, or that goes on by now, is left alone: who wants it to go on waits for us.
///
/// # Errors
///
/// [`crate::store::Error`] when PostgreSQL is away.
pub async fn lock(db: &mut Connection, job: JobId, ttl: Duration, now: Instant) -> Result<bool> {
    let locked = sqlx::query_scalar!(
        "select id from job where id = $1 and finished_at < coalesce($2::timestamptz, now()) - $3::interval for update skip locked",
        job.0,
        now,
        interval(ttl),
    )
    .fetch_optional(db)
    .await?;
    Ok(locked.is_some())
}

/// Deletes the rows of a job's artifacts, and notes that its workspace cannot be made again.
///
/// # Errors
///
/// [`crate::store::Error`] when PostgreSQL is away.
pub async fn forget_artifacts(db: impl Executor<'_>, job: JobId) -> Result<u64> {
    let done = sqlx::query!(
        r#"
        with forgotten as (update workspace set forgotten_at = now() where job_id = $1)
        delete from artifact where job_id = $1
        "#,
        job.0,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}

/// Which of these jobs go on, or ended within `ttl`: their workspaces are in use.
///
/// # Errors
///
/// [`crate::store::Error`] when PostgreSQL is away.
pub async fn in_use(db: impl Executor<'_>, jobs: &[Uuid], ttl: Duration, now: Instant) -> Result<Vec<Uuid>> {
    let used = sqlx::query_scalar!(
        r#"
        select id from job
         where id = any ($1) and (finished_at is null or finished_at >= coalesce($2::timestamptz, now()) - $3::interval)
        "#,
        jobs,
        now,
        interval(ttl),
    )
    .fetch_all(db)
    .await?;
    Ok(used)
}

/// Whether there is such a job.
///
/// # Errors
///
/// [`crate::store::Error`] when PostgreSQL is away.
pub async fn is_known(db: impl Executor<'_>, job: JobId) -> Result<bool> {
    let known = sqlx::query_scalar!(
        r#"select exists (select from job where id = $1) as "known!""#,
        job.0
    )
    .fetch_one(db)
    .await?;
    Ok(known)
}
