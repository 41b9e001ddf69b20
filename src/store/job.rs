//! Jobs: put in, and read back.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::named::Named;
use super::{Executor, Result};
use crate::domain::clock::Instant;
use crate::domain::id::{JobId, ProjectId, RunnerId};
use crate::domain::job::{Code, JobState};
use crate::domain::page::{Cursor, Page};
use crate::domain::spec::JobSpec;

/// A job to be put in.
#[derive(Debug)]
pub struct NewJob<'a> {
    /// Its id.
    pub id: JobId,
    /// The project it belongs to.
    pub project: ProjectId,
    /// What is to be done.
    pub spec: &'a JobSpec,
    /// SHA-256 of the request.
    pub request_hash: [u8; 32],
    /// Who asked.
    pub actor: &'a str,
}

/// Inserts the job, its specification and the event that says who asked. `now` decides whether it is due.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away or refuses the row.
pub async fn insert(db: impl Executor<'_>, job: &NewJob<'_>, now: Instant) -> Result<JobState> {
    let spec = serde_json::to_value(job.spec).map_err(|error| sqlx::Error::Encode(error.into()))?;
    let row = sqlx::query!(
        r#"
        with inserted as (
            insert into job (id, project_id, queue, state, priority, run_at, max_attempts)
            select $1, $2, $3,
                   case when $5 > coalesce($9, now()) then 'scheduled' else 'available' end::job_state,
                   $4, coalesce($5, $9, now()), $6
            returning id, project_id, state
        ), specified as (
            insert into job_spec (job_id, spec, request_hash) select id, $7, $8 from inserted
        ), logged as (
            insert into event (project_id, job_id, kind, actor) select project_id, id, 'job.submitted', $10 from inserted
        )
        select state as "state: Named<JobState>" from inserted
        "#,
        job.id.0,
        job.project.0,
        job.spec.queue,
        job.spec.priority,
        job.spec.run_at,
        job.spec.max_attempts,
        spec,
        &job.request_hash[..],
        now,
        job.actor,
    )
    .fetch_one(db)
    .await?;
    Ok(row.state.0)
}

/// Reserves `key` in `project` for `job`, or says which job has it and what was asked for then.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn reserve_key(db: impl Executor<'_>, project: ProjectId, key: &str, job: JobId) -> Result<bool> {
    let done = sqlx::query!(
        "insert into job_key (project_id, key, job_id) values ($1, $2, $3) on conflict do nothing",
        project.0,
        key,
        job.0,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The job that holds an idempotency key.
#[derive(Clone, Copy, Debug)]
pub struct KeyHolder {
    /// The first job under the key.
    pub job: JobId,
    /// Whether the request was the same as now.
    pub same_request: bool,
}

/// The job that holds `key` in `project`.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn key_holder(
    db: impl Executor<'_>,
    project: ProjectId,
    key: &str,
    request_hash: &[u8; 32],
) -> Result<Option<KeyHolder>> {
    let row = sqlx::query!(
        r#"select job_id, job_spec.request_hash = $3 as "same!" from job_key join job_spec using (job_id)
            where project_id = $1 and key = $2"#,
        project.0,
        key,
        &request_hash[..],
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| KeyHolder {
        job: JobId(row.job_id),
        same_request: row.same,
    }))
}

/// A job as people see it.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// The project it belongs to.
    pub project: ProjectId,
    /// That project's alias.
    pub project_alias: String,
    /// Its queue.
    pub queue: String,
    /// Where it is in its life.
    pub state: JobState,
    /// Higher goes first.
    pub priority: i16,
    /// Not before this time.
    pub run_at: DateTime<Utc>,
    /// How often it was claimed.
    pub attempt: i32,
    /// How many runners vanished with it.
    pub losses: i16,
    /// How many may.
    pub max_attempts: i16,
    /// Index of the step that runs, or runs next.
    pub step_position: i16,
    /// The session that holds it.
    pub runner: Option<RunnerId>,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// When it was first claimed.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// Why it failed or was cancelled.
    pub code: Option<Code>,
    /// The same as a sentence.
    pub message: Option<String>,
    /// What was asked for.
    pub spec: Value,
}

/// Whose jobs a caller may see: these projects, or `None` for all.
pub type Reach<'a> = Option<&'a [ProjectId]>;

fn reach(projects: Reach<'_>) -> Option<Vec<Uuid>> {
    projects.map(|projects| projects.iter().map(|project| project.0).collect())
}

macro_rules! job {
    ($row:expr) => {{
        let row = $row;
        Job {
            id: JobId(row.id),
            project: ProjectId(row.project_id),
            project_alias: row.alias,
            queue: row.queue,
            state: row.state.0,
            priority: row.priority,
            run_at: row.run_at,
            attempt: row.attempt,
            losses: row.losses,
            max_attempts: row.max_attempts,
            step_position: row.step_position,
            runner: row.runner_id.map(RunnerId),
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
            code: row.code.map(|code| code.0),
            message: row.message,
            spec: row.spec,
        }
    }};
}

/// One job, if the caller may see it.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn find(db: impl Executor<'_>, id: JobId, projects: Reach<'_>) -> Result<Option<Job>> {
    let projects = reach(projects);
    let row = sqlx::query!(
        r#"
        select job.id, job.project_id, project.alias, job.queue, job.state as "state: Named<JobState>", job.priority,
               job.run_at, job.attempt, job.losses, job.max_attempts, job.step_position, job.runner_id, job.created_at,
               job.started_at, job.finished_at, job.code as "code: Named<Code>", job.message, job_spec.spec
          from job join project on project.id = job.project_id join job_spec on job_spec.job_id = job.id
         where job.id = $1 and ($2::uuid[] is null or job.project_id = any ($2))
        "#,
        id.0,
        projects.as_deref(),
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| job!(row)))
}

/// Where a job is in its life, for who follows it.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Where it is.
    pub state: JobState,
    /// Why it failed or was cancelled.
    pub code: Option<Code>,
    /// The same as a sentence.
    pub message: Option<String>,
}

/// Where one job is, if the caller may see it; reads nothing but its narrow row.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn standing(db: impl Executor<'_>, id: JobId, projects: Reach<'_>) -> Result<Option<Standing>> {
    let projects = reach(projects);
    let row = sqlx::query!(
        r#"select state as "state: Named<JobState>", code as "code: Named<Code>", message
             from job where id = $1 and ($2::uuid[] is null or project_id = any ($2))"#,
        id.0,
        projects.as_deref(),
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| Standing {
        state: row.state.0,
        code: row.code.map(|code| code.0),
        message: row.message,
    }))
}

/// Which jobs a list shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter<'a> {
    /// Only of these projects.
    pub projects: Reach<'a>,
    /// Only in this state.
    pub state: Option<JobState>,
}

/// Jobs, newest first, a page at a time.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn page(
    db: impl Executor<'_>,
    filter: Filter<'_>,
    after: Option<Cursor>,
    limit: u16,
) -> Result<Page<Job>> {
    let projects = reach(filter.projects);
    // The page is cut on `job` alone, then its few rows are joined.
    let rows = sqlx::query!(
        r#"
        with picked as materialized (
            select job.*
              from job
             where ($1::uuid[] is null or project_id = any ($1))
               and ($2::text is null or state = $2::text::job_state)
               and ($3::uuid is null or id < $3)
             order by id desc
             limit $4
        )
        select picked.id as "id!", picked.project_id as "project_id!", project.alias, picked.queue as "queue!",
               picked.state as "state!: Named<JobState>", picked.priority as "priority!", picked.run_at as "run_at!",
               picked.attempt as "attempt!", picked.losses as "losses!", picked.max_attempts as "max_attempts!",
               picked.step_position as "step_position!", picked.runner_id, picked.created_at as "created_at!",
               picked.started_at, picked.finished_at, picked.code as "code: Named<Code>", picked.message, job_spec.spec
          from picked join project on project.id = picked.project_id join job_spec on job_spec.job_id = picked.id
         order by picked.id desc
        "#,
        projects.as_deref(),
        filter.state.map(JobState::as_str),
        after.map(|cursor| cursor.0),
        i64::from(limit) + 1,
    )
    .fetch_all(db)
    .await?;
    let jobs = rows.into_iter().map(|row| job!(row)).collect();
    Ok(Page::cut(jobs, usize::from(limit), |job| job.id.0))
}
