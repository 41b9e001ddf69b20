//! The outbox: callbacks that go out. The database itself writes a row with the end of its job, in
//! the same statement (`tell_job_end` in the migrations).

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::job::{Reach, reach};
use super::named::Named;
use super::runner::interval;
use super::{Executor, Result};
use crate::domain::callback::DeliveryState;
use crate::domain::clock::Instant;
use crate::domain::id::{DeliveryId, JobId, ProjectId};
use crate::domain::page::{Cursor, Page};
use crate::domain::trace::TraceParent;

/// A callback that is to be tried now, by whoever claimed it.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The delivery; the receiver knows it again by this.
    pub id: DeliveryId,
    /// Whose secrets sign it.
    pub project: ProjectId,
    /// The job whose end it tells.
    pub job: JobId,
    /// In whose trace the job was asked for.
    pub trace: Option<TraceParent>,
    /// Where it goes.
    pub url: String,
    /// The host and port of that.
    pub authority: String,
    /// What is sent, word for word.
    pub body: String,
    /// The try, which is the fence: what is written of an earlier one changes nothing.
    pub attempt: i32,
    /// Which try it is since the delivery was new, or was sent again by hand.
    pub tries: i32,
    /// When it is given up.
    pub gives_up_at: DateTime<Utc>,
    /// When it was claimed, by the same clock.
    pub claimed_at: DateTime<Utc>,
}

/// Claims up to `limit` callbacks that are due and go elsewhere than to `busy`, for as long as `lease`:
/// then another may try. Opens an attempt for each.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away; nothing is claimed then.
pub async fn claim(
    db: impl Executor<'_>,
    now: Instant,
    limit: u16,
    busy: &[String],
    lease: Duration,
) -> Result<Vec<Claimed>> {
    let rows = sqlx::query!(
        r#"
        with due as materialized (
            select id from delivery
             where state = 'pending' and due_at <= coalesce($1, now()) and authority <> all ($3)
             order by due_at
             limit $2
               for update skip locked
        ), claimed as (
            update delivery
               set tries = tries + 1, attempts = attempts + 1, due_at = coalesce($1, now()) + $4
              from due where delivery.id = due.id
            returning delivery.*
        ), begun as (
            insert into delivery_attempt (delivery_id, number) select id, attempts from claimed
        )
        select id, project_id, job_id, url, authority, body, attempts, tries, gives_up_at, coalesce($1, now()) as "claimed_at!",
               (select traceparent from job_spec where job_spec.job_id = claimed.job_id) as traceparent
          from claimed
        "#,
        now,
        i64::from(limit),
        busy,
        interval(lease),
    )
    .fetch_all(db)
    .await?;
    let claimed = rows.into_iter().map(|row| Claimed {
        id: DeliveryId(row.id),
        project: ProjectId(row.project_id),
        job: JobId(row.job_id),
        trace: row.traceparent.and_then(|text| text.parse().ok()),
        url: row.url,
        authority: row.authority,
        body: row.body,
        attempt: row.attempts,
        tries: row.tries,
        gives_up_at: row.gives_up_at,
        claimed_at: row.claimed_at,
    });
    Ok(claimed.collect())
}

/// What came of a try.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The address that was called.
    pub address: Option<String>,
    /// The status that was answered.
    pub status: Option<u16>,
    /// Why it did not arrive.
    pub reason: Option<String>,
    /// How an answer other than 2xx begins.
    pub answer: Option<String>,
}

/// Writes down what came of a try: the delivery has ended in `state`, or is due again after `wait`.
/// `false`: another has claimed it meanwhile, and only the attempt was written.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away; writing it again is safe.
pub async fn finish(
    db: impl Executor<'_>,
    now: Instant,
    (id, attempt): (DeliveryId, i32),
    report: &Report,
    state: DeliveryState,
    wait: Duration,
) -> Result<bool> {
    let status = report.status.and_then(|status| i16::try_from(status).ok());
    let done = sqlx::query!(
        r#"
        with ended as (
            update delivery_attempt
               set ended_at = greatest(now(), started_at), address = $3, status = $4, reason = $5, answer = $6
             where delivery_id = $1 and number = $2 and ended_at is null
        )
        update delivery
           set state = $7, last_status = $4, last_reason = $5,
               due_at = case when $7 = 'pending' then coalesce($8, now()) + $9 else due_at end,
               finished_at = case when $7 <> 'pending' then now() end
         where id = $1 and attempts = $2 and state = 'pending'
        "#,
        id.0,
        attempt,
        report.address,
        status,
        report.reason,
        report.answer,
        state.as_str(),
        now,
        interval(wait),
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// A callback, as people see it.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its id.
    pub id: DeliveryId,
    /// The alias of its project.
    pub project_alias: String,
    /// The job whose end it tells.
    pub job: JobId,
    /// Where it goes.
    pub url: String,
    /// Where it is on its way.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: i32,
    /// When it is tried next, while it is pending.
    pub due_at: Option<DateTime<Utc>>,
    /// When the job ended.
    pub created_at: DateTime<Utc>,
    /// When it arrived or was given up.
    pub finished_at: Option<DateTime<Utc>>,
    /// What the last try was answered with.
    pub last_status: Option<i16>,
    /// Why the last try did not arrive.
    pub last_reason: Option<String>,
}

/// Which callbacks a list shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter<'a> {
    /// Only of these projects.
    pub projects: Reach<'a>,
    /// Only of this job.
    pub job: Option<JobId>,
    /// Only in this state.
    pub state: Option<DeliveryState>,
    /// Only this one.
    pub id: Option<DeliveryId>,
}

/// Callbacks, the newest first, a page at a time.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn page(
    db: impl Executor<'_>,
    filter: Filter<'_>,
    after: Option<Cursor>,
    limit: u16,
) -> Result<Page<Delivery>> {
    let projects = reach(filter.projects);
    let rows = sqlx::query!(
        r#"
        select delivery.id, project.alias, job_id, url, state as "state: Named<DeliveryState>", attempts,
               case when state = 'pending' then due_at end as due_at, delivery.created_at, finished_at,
               last_status, last_reason
          from delivery join project on project.id = delivery.project_id
         where ($1::uuid[] is null or delivery.project_id = any ($1))
           and ($2::uuid is null or job_id = $2)
           and ($3::text is null or state = $3)
           and ($4::uuid is null or delivery.id = $4)
           and ($5::uuid is null or delivery.id < $5)
         order by delivery.id desc
         limit $6
        "#,
        projects.as_deref(),
        filter.job.map(|job| job.0),
        filter.state.map(DeliveryState::as_str),
        filter.id.map(|id| id.0),
        after.map(|cursor| cursor.0),
        i64::from(limit) + 1,
    )
    .fetch_all(db)
    .await?;
    let deliveries = rows.into_iter().map(|row| Delivery {
        id: DeliveryId(row.id),
        project_alias: row.alias,
        job: JobId(row.job_id),
        url: row.url,
        state: row.state.0,
        attempts: row.attempts,
        due_at: row.due_at,
        created_at: row.created_at,
        finished_at: row.finished_at,
        last_status: row.last_status,
        last_reason: row.last_reason,
    });
    Ok(Page::cut(deliveries.collect(), usize::from(limit), |row| {
        row.id.0
    }))
}

/// One try of a callback.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Which one, from 1.
    pub number: i32,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended; never, when its process did.
    pub ended_at: Option<DateTime<Utc>>,
    /// The address that was called.
    pub address: Option<String>,
    /// The status that was answered.
    pub status: Option<i16>,
    /// Why it did not arrive.
    pub reason: Option<String>,
    /// How an answer other than 2xx begins.
    pub answer: Option<String>,
}

/// The tries of a callback, the first one first.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn attempts(db: impl Executor<'_>, id: DeliveryId) -> Result<Vec<Attempt>> {
    let attempts = sqlx::query_as!(
        Attempt,
        "select number, started_at, ended_at, address, status, reason, answer
           from delivery_attempt where delivery_id = $1 order by number",
        id.0,
    )
    .fetch_all(db)
    .await?;
    Ok(attempts)
}

/// Makes a callback due now, for another day of tries, unless it is being tried at this moment.
/// Answers whether there is such a callback in `projects`.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn send_again(
    db: impl Executor<'_>,
    id: DeliveryId,
    projects: Reach<'_>,
    actor: &str,
) -> Result<bool> {
    let projects = reach(projects);
    let found = sqlx::query_scalar!(
        r#"
        with found as materialized (
            select id from delivery where id = $1 and ($2::uuid[] is null or project_id = any ($2)) for no key update
        ), changed as (
            update delivery
               set state = 'pending', finished_at = null, tries = 0, due_at = now(), gives_up_at = now() + interval '1 day'
              from found
             where delivery.id = found.id
               and (state <> 'pending' or due_at <= now()
                    or not exists (select from delivery_attempt
                                    where delivery_id = found.id and number = attempts and ended_at is null))
            returning delivery.id, delivery.project_id, delivery.job_id
        ), logged as (
            insert into event (project_id, job_id, kind, actor, detail)
            select project_id, job_id, 'delivery.sent_again', $3, jsonb_build_object('delivery_id', id) from changed
        )
        select exists (select from found) as "found!"
        "#,
        id.0,
        projects.as_deref(),
        actor,
    )
    .fetch_one(db)
    .await?;
    Ok(found)
}
