//! What came in at hooks, a row a request.

use chrono::{DateTime, Utc};

use super::named::Named;
use super::{Executor, Result};
use crate::domain::hook::event::Outcome;
use crate::domain::id::{HookDeliveryId, HookId, JobId};
use crate::domain::page::{Cursor, Page};

/// Most refused requests of a hook that are written down within a minute: anybody can send them.
const REFUSED_A_MINUTE: i64 = 60;

/// An event that came in.
#[derive(Clone, Debug)]
pub struct HookDelivery {
    /// Its id here.
    pub id: HookDeliveryId,
    /// When it came.
    pub received_at: DateTime<Utc>,
    /// The sender's id of it.
    pub sender_id: Option<String>,
    /// What the sender calls it.
    pub event: Option<String>,
    /// How large it was.
    pub body_bytes: i32,
    /// What became of it.
    pub outcome: Outcome,
    /// Why it made no job.
    pub reason: Option<String>,
    /// Its job.
    pub job: Option<JobId>,
}

/// What is known of a request before anything is made of it.
#[derive(Clone, Copy, Debug)]
pub struct Arrived<'a> {
    /// The hook it came in at.
    pub hook: HookId,
    /// The sender's id of it.
    pub sender_id: Option<&'a str>,
    /// What the sender calls it.
    pub event: Option<&'a str>,
    /// How large it is.
    pub body_bytes: i32,
}

/// Takes the sender's id for `job`, which is about to be made. `false`: it is taken. While another
/// transaction is about to take it, waits for its end.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn take(
    db: impl Executor<'_>,
    id: HookDeliveryId,
    arrived: Arrived<'_>,
    job: JobId,
) -> Result<bool> {
    let done = sqlx::query!(
        "insert into hook_delivery (id, hook_id, sender_id, event, body_bytes, outcome, job_id)
         values ($1, $2, $3, $4, $5, 'accepted', $6)
         on conflict (hook_id, sender_id) where outcome = 'accepted' and sender_id is not null do nothing",
        id.0,
        arrived.hook.0,
        arrived.sender_id,
        arrived.event,
        arrived.body_bytes,
        job.0,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// The job that the sender's id made.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn first_job(db: impl Executor<'_>, hook: HookId, sender_id: &str) -> Result<Option<JobId>> {
    let job = sqlx::query_scalar!(
        "select job_id from hook_delivery where hook_id = $1 and sender_id = $2 and outcome = 'accepted'",
        hook.0,
        sender_id,
    )
    .fetch_optional(db)
    .await?;
    Ok(job.flatten().map(JobId))
}

/// Says of a delivery that its job was there before, under a key of its own.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn had_a_job(db: impl Executor<'_>, id: HookDeliveryId, job: JobId) -> Result<()> {
    sqlx::query!(
        "update hook_delivery set outcome = 'repeated', job_id = $2 where id = $1",
        id.0,
        job.0
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Writes down what came of a request that made no job.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn record(
    db: impl Executor<'_>,
    arrived: Arrived<'_>,
    outcome: Outcome,
    reason: Option<&str>,
    job: Option<JobId>,
) -> Result<()> {
    let word: &str = outcome.into();
    sqlx::query!(
        "insert into hook_delivery (id, hook_id, sender_id, event, body_bytes, outcome, reason, job_id)
         select $1, $2, $3, $4, $5, $6, $7, $8
          where $6 <> 'refused'
             or $9 > (select count(*) from hook_delivery
                       where hook_id = $2 and outcome = 'refused' and received_at > now() - interval '1 minute')",
        HookDeliveryId::generate().0,
        arrived.hook.0,
        arrived.sender_id,
        arrived.event,
        arrived.body_bytes,
        word,
        reason,
        job.map(|job| job.0),
        REFUSED_A_MINUTE,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// What came in at a hook, the newest first, a page at a time.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn page(
    db: impl Executor<'_>,
    hook: HookId,
    after: Option<Cursor>,
    limit: u16,
) -> Result<Page<HookDelivery>> {
    let rows = sqlx::query!(
        r#"
        select id, received_at, sender_id, event, body_bytes, outcome as "outcome: Named<Outcome>", reason, job_id
          from hook_delivery
         where hook_id = $1 and ($2::uuid is null or id < $2)
         order by id desc
         limit $3
        "#,
        hook.0,
        after.map(|cursor| cursor.0),
        i64::from(limit) + 1,
    )
    .fetch_all(db)
    .await?;
    let deliveries = rows.into_iter().map(|row| HookDelivery {
        id: HookDeliveryId(row.id),
        received_at: row.received_at,
        sender_id: row.sender_id,
        event: row.event,
        body_bytes: row.body_bytes,
        outcome: row.outcome.0,
        reason: row.reason,
        job: row.job_id.map(JobId),
    });
    Ok(Page::cut(deliveries.collect(), usize::from(limit), |row| {
        row.id.0
    }))
}
