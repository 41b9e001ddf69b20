//! Runner sessions and their leases.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::postgres::types::PgInterval;

use super::job::{Reach, reach};
use super::{Executor, Result};
use crate::domain::attempt::Fence;
use crate::domain::id::{JobId, RunnerId};

/// A session that begins.
#[derive(Clone, Debug)]
pub struct NewSession<'a> {
    /// Its id.
    pub id: RunnerId,
    /// What the operator calls the process.
    pub instance: &'a str,
    /// The host it runs on.
    pub host: &'a str,
    /// Its process id there.
    pub pid: i32,
    /// How many jobs it runs at once.
    pub slots: i32,
    /// The queues it serves.
    pub queues: &'a [String],
    /// What its host has, for jobs that ask for it.
    pub labels: &'a [String],
    /// How long it may be silent.
    pub lease: Duration,
}

/// Opens the session.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn open(db: impl Executor<'_>, session: &NewSession<'_>) -> Result<()> {
    sqlx::query!(
        "insert into runner (id, instance, host, pid, version, slots, queues, labels, lease_expires_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, now() + $9)",
        session.id.0,
        session.instance,
        session.host,
        session.pid,
        env!("CARGO_PKG_VERSION"),
        session.slots,
        session.queues,
        session.labels,
        interval(session.lease),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// What a renewed lease says.
#[derive(Clone, Debug)]
pub struct Renewed {
    /// Whether an operator asked the session to take no more work.
    pub drain: bool,
    /// The attempts that this session has, each with whether somebody asked to stop its job.
    pub held: Vec<(Fence, bool)>,
}

/// Renews the lease, unless it has passed: `None` means everything the session held is another's now.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away; the lease runs on meanwhile.
pub async fn renew(db: impl Executor<'_>, id: RunnerId, lease: Duration) -> Result<Option<Renewed>> {
    let row = sqlx::query!(
        r#"
        update runner set renewed_at = now(), lease_expires_at = now() + $2
         where id = $1 and ended_at is null and lease_expires_at > now()
        returning drain_asked_at is not null as "drain!",
                  array(select job.id from job where job.runner_id = $1 and job.state = 'running' order by id) as "jobs!",
                  array(select job.attempt from job where job.runner_id = $1 and job.state = 'running' order by id) as "attempts!",
                  array(select cancel_asked_at is not null from job
                         where job.runner_id = $1 and job.state = 'running' order by id) as "cancelled!"
        "#,
        id.0,
        interval(lease),
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| {
        let fences = row
            .jobs
            .into_iter()
            .zip(row.attempts)
            .map(|(job, attempt)| Fence {
                job: JobId(job),
                attempt,
            });
        Renewed {
            drain: row.drain,
            held: fences.zip(row.cancelled).collect(),
        }
    }))
}

/// A session that has not ended.
#[derive(Clone, Debug)]
pub struct Live {
    /// Its id.
    pub id: RunnerId,
    /// What the operator calls the process.
    pub instance: String,
    /// The host it runs on.
    pub host: String,
    /// Its process id there.
    pub pid: i32,
    /// The program's version.
    pub version: String,
    /// How many jobs it runs at once.
    pub slots: i32,
    /// How many it runs now.
    pub running: i64,
    /// The queues it serves.
    pub queues: Vec<String>,
    /// What its host has.
    pub labels: Vec<String>,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When others may take over what it runs.
    pub lease_expires_at: DateTime<Utc>,
    /// Since when it takes nothing more.
    pub drain_asked_at: Option<DateTime<Utc>>,
}

/// Every session that has not ended, the oldest first, with the jobs of `projects` that it runs.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn live(db: impl Executor<'_>, projects: Reach<'_>) -> Result<Vec<Live>> {
    let projects = reach(projects);
    let rows = sqlx::query!(
        r#"
        select id, instance, host, pid, version, slots, queues, labels, started_at, lease_expires_at, drain_asked_at,
               (select count(*) from job where job.runner_id = runner.id and job.state = 'running'
                   and ($1::uuid[] is null or job.project_id = any ($1))) as "running!"
          from runner
         where ended_at is null
         order by id
        "#,
        projects.as_deref(),
    )
    .fetch_all(db)
    .await?;
    let live = rows.into_iter().map(|row| Live {
        id: RunnerId(row.id),
        instance: row.instance,
        host: row.host,
        pid: row.pid,
        version: row.version,
        slots: row.slots,
        running: row.running,
        queues: row.queues,
        labels: row.labels,
        started_at: row.started_at,
        lease_expires_at: row.lease_expires_at,
        drain_asked_at: row.drain_asked_at,
    });
    Ok(live.collect())
}

/// Ends the session; what it still holds goes back at the next tick.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn close(db: impl Executor<'_>, id: RunnerId) -> Result<()> {
    sqlx::query!(
        "update runner set ended_at = now() where id = $1 and ended_at is null",
        id.0
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Ends a session on an operator's word, whether its lease has passed or not; what it still writes changes
/// nothing from then on. Answers whether there was one to end.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn give_up(db: impl Executor<'_>, id: RunnerId, actor: &str) -> Result<bool> {
    let found = sqlx::query_scalar!(
        r#"
        with ended as (
            update runner set ended_at = now() where id = $1 and ended_at is null returning id
        ), logged as (
            insert into event (kind, actor, detail)
            select 'runner.given_up', $2, jsonb_build_object('runner_id', id) from ended
        )
        select exists (select from ended) as "found!"
        "#,
        id.0,
        actor,
    )
    .fetch_one(db)
    .await?;
    Ok(found)
}

/// Ends the sessions whose lease has passed and that hold nothing any more, and answers with their number.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn end_lost(db: impl Executor<'_>) -> Result<u64> {
    let done = sqlx::query!(
        "update runner set ended_at = now()
          where ended_at is null and lease_expires_at <= now()
            and not exists (select from job where job.runner_id = runner.id and job.state = 'running')"
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}

pub(super) fn interval(duration: Duration) -> PgInterval {
    let microseconds = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    PgInterval {
        months: 0,
        days: 0,
        microseconds,
    }
}
