//! The claim: due jobs become this runner's, each at most one runner's.

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Executor, Result};
use crate::domain::attempt::Fence;
use crate::domain::id::{JobId, RunnerId};
use crate::domain::trace::TraceParent;

/// A job that is now the caller's to run.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// What every later write about it must carry.
    pub fence: Fence,
    /// Index of the step to begin with.
    pub step_position: i16,
    /// How often that step was tried again.
    pub step_retries: i16,
    /// What is to be done, as it lies in the table.
    pub spec: Box<RawValue>,
    /// The project's alias.
    pub project_alias: String,
    /// The project's source directory.
    pub project_directory: String,
    /// Whether an administrator lets the project's steps run without a sandbox.
    pub without_sandbox: bool,
    /// When it was claimed, by the database's clock.
    pub claimed_at: DateTime<Utc>,
    /// When it was due, by the same clock.
    pub due_at: DateTime<Utc>,
    /// Its priority.
    pub priority: i16,
    /// In whose trace it was asked for.
    pub trace: Option<TraceParent>,
}

/// A place in the order in which due jobs are claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    priority: i16,
    due_at: DateTime<Utc>,
    job: Uuid,
}

impl From<&Claimed> for Place {
    fn from(job: &Claimed) -> Self {
        Self {
            priority: job.priority,
            due_at: job.due_at,
            job: job.fence.job.0,
        }
    }
}

/// The claim, of jobs for which `$place` holds as well.
///
/// A statement for each place rather than one condition that may be absent: a plan for all parameters, which PostgreSQL
/// may come to use, would not find that condition in the index.
macro_rules! claim {
    ($db:expr, $place:tt, $($argument:expr),+ $(,)?) => {
        sqlx::query_as!(
            Row,
            r#"
            -- Materialised, or the planner may run the limited subquery again and claim more than the limit.
            with due as materialized (
                select next.id
                  from unnest($4::text[]) as label
                       -- Each label is one ordered range of the index: together they would be sorted, all that there are.
                       cross join lateral (
                        select id, priority, run_at
                          from job
                         where queue = $2 and runs_on = label and state = 'available'
                           and exists (select from runner
                                        where runner.id = $1 and ended_at is null and drain_asked_at is null
                                          and lease_expires_at > now())
                           and not exists (select from queue where name = $2 and paused_at is not null)
            "# + $place + r#"
                         order by priority desc, run_at, id
                         limit $3
                           for update skip locked) as next
                 order by next.priority desc, next.run_at, next.id
                 limit $3
            ), claimed as (
                update job
                   set state = 'running', attempt = attempt + 1, runner_id = $1, claimed_at = now(),
                       started_at = coalesce(started_at, now())
                  from due
                 where job.id = due.id
                returning job.id, job.project_id, job.attempt, job.step_position, job.step_retries, job.claimed_at,
                          job.priority, job.run_at
            ), logged as (
                insert into event (project_id, job_id, attempt, kind, actor)
                select project_id, id, attempt, 'job.running', 'runner:' || $1::text from claimed
            )
            select claimed.id, claimed.attempt, claimed.step_position, claimed.step_retries,
                   claimed.claimed_at as "claimed_at!", claimed.run_at as due_at, claimed.priority,
                   job_spec.spec as "spec: Box<RawValue>", job_spec.traceparent,
                   project.alias, project.directory,
                   not project.sandbox as "without_sandbox!"
              from claimed
              join job_spec on job_spec.job_id = claimed.id
              join project on project.id = claimed.project_id
             order by claimed.priority desc, claimed.run_at, claimed.id
            "#,
            $($argument),+
        )
        .fetch_all($db)
    };
}

/// Claims up to `limit` due jobs of `queue` for the session `runner` and opens an attempt for each: the first in the order
/// of priority and time of those that ask for no label or for one of `labels`.
///
/// A job is due when it is `available`; the database's clock made it so. Delivery is at least once:
/// pass the returned fence to every later write, which changes nothing once another session has
/// claimed the job. A session that is draining, has ended or whose lease has passed claims nothing.
///
/// # Errors
///
/// [`super::Error::Unavailable`] when PostgreSQL cannot be reached; whatever was claimed just then
/// is the session's all the same, see [`not_begun`].
pub async fn claim(
    db: impl Executor<'_>,
    runner: RunnerId,
    queue: &str,
    labels: &[&str],
    limit: u32,
) -> Result<Vec<Claimed>> {
    let labels = with_none(labels);
    let rows = claim!(db, "", runner.0, queue, i64::from(limit), &labels as &[&str]).await?;
    Ok(rows.into_iter().map(Claimed::from).collect())
}

/// The same, but only jobs of the priority of `place` that come behind it.
///
/// Jobs that were claimed leave entries in the index until vacuum takes them out, which it cannot while any
/// transaction is older: a claim from the start then walks over all of them. Measured with a transaction held open
/// under load, claims fall to a fifth within a minute; behind the last claimed job there are none. What comes before
/// that place, because it is more urgent, was due earlier, or was committed late, is not found: claim from the start
/// now and then, and when this finds less than it was asked for.
///
/// # Errors
///
/// As [`claim`].
pub async fn claim_behind(
    db: impl Executor<'_>,
    runner: RunnerId,
    queue: &str,
    labels: &[&str],
    limit: u32,
    place: Place,
) -> Result<Vec<Claimed>> {
    let labels = with_none(labels);
    let rows = claim!(
        db,
        "and priority = $5 and (run_at, id) > ($6, $7)",
        runner.0,
        queue,
        i64::from(limit),
        &labels as &[&str],
        place.priority,
        place.due_at,
        place.job,
    )
    .await?;
    Ok(rows.into_iter().map(Claimed::from).collect())
}

/// What jobs may ask for that are a host's with these labels: none, or one of them.
fn with_none<'a>(labels: &[&'a str]) -> Vec<&'a str> {
    [""].iter().chain(labels).copied().collect()
}

/// The jobs that the session `runner` holds, but for the claims in `known`: a claim whose answer was lost on its way.
/// List what is known before this is asked, and let no claim go on meanwhile.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn not_begun(db: impl Executor<'_>, runner: RunnerId, known: &[Fence]) -> Result<Vec<Claimed>> {
    let jobs: Vec<Uuid> = known.iter().map(|fence| fence.job.0).collect();
    let attempts: Vec<i32> = known.iter().map(|fence| fence.attempt).collect();
    let rows = sqlx::query_as!(
        Row,
        r#"
        select job.id, job.attempt, job.step_position, job.step_retries, job.claimed_at as "claimed_at!",
               job.run_at as due_at, job.priority, job_spec.spec as "spec: Box<RawValue>", job_spec.traceparent,
                   project.alias, project.directory,
                   not project.sandbox as "without_sandbox!"
          from job
          join job_spec on job_spec.job_id = job.id
          join project on project.id = job.project_id
         where job.runner_id = $1 and job.state = 'running'
           and (job.id, job.attempt) not in (select id, attempt from unnest($2::uuid[], $3::int[]) as known (id, attempt))
         order by job.id
        "#,
        runner.0,
        &jobs,
        &attempts,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(Claimed::from).collect())
}

/// A claim as the tables answer it.
struct Row {
    id: Uuid,
    attempt: i32,
    step_position: i16,
    step_retries: i16,
    claimed_at: DateTime<Utc>,
    due_at: DateTime<Utc>,
    priority: i16,
    spec: Box<RawValue>,
    traceparent: Option<String>,
    alias: String,
    directory: String,
    without_sandbox: bool,
}

impl From<Row> for Claimed {
    fn from(row: Row) -> Self {
        Self {
            fence: Fence {
                job: JobId(row.id),
                attempt: row.attempt,
            },
            step_position: row.step_position,
            step_retries: row.step_retries,
            spec: row.spec,
            project_alias: row.alias,
            project_directory: row.directory,
            without_sandbox: row.without_sandbox,
            claimed_at: row.claimed_at,
            due_at: row.due_at,
            priority: row.priority,
            trace: row.traceparent.and_then(|text| text.parse().ok()),
        }
    }
}
