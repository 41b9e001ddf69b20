//! Jobs, read back.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::named::Named;
use super::{Executor, Pool, Result};
use crate::domain::id::{JobId, ProjectId, RunnerId};
use crate::domain::job::{Code, JobState};
use crate::domain::page::{Cursor, Page};

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

pub(super) fn reach(projects: Reach<'_>) -> Option<Vec<Uuid>> {
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
    /// Only of this queue.
    pub queue: Option<&'a str>,
    /// Only with this tag.
    pub tag: Option<&'a str>,
    /// Only ended for this reason.
    pub code: Option<Code>,
    /// Only accepted then or later.
    pub created_after: Option<DateTime<Utc>>,
    /// Only accepted before.
    pub created_before: Option<DateTime<Utc>>,
}

impl Filter<'_> {
    /// Whether no index leads to what is looked for.
    fn is_narrow(&self) -> bool {
        self.queue.is_some() || self.tag.is_some() || self.code.is_some()
    }
}

/// Most jobs that are looked at for one page when no index leads to what is looked for.
const WINDOW: i64 = 5_000;

/// The first id that a job of this instant, or a later one, can have: ids begin with their milliseconds.
fn first_id(at: DateTime<Utc>) -> Uuid {
    let milliseconds = at.timestamp_millis().clamp(0, (1 << 48) - 1).unsigned_abs();
    Uuid::from_u128(u128::from(milliseconds) << 80)
}

/// Jobs, newest first, a page at a time. A page may hold fewer than asked for, or none, although there
/// are more: `next` says where to look on.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn page(pool: &Pool, filter: Filter<'_>, after: Option<Cursor>, limit: u16) -> Result<Page<Job>> {
    let projects = reach(filter.projects);
    let window = if filter.is_narrow() {
        WINDOW
    } else {
        i64::from(limit) + 1
    };
    // The page is cut on `job` alone, then its few rows are joined.
    let rows = sqlx::query!(
        r#"
        with looked as materialized (
            select job.*
              from job
             where ($1::uuid[] is null or project_id = any ($1))
               and ($2::text is null or state = $2::text::job_state)
               and ($3::uuid is null or id < $3)
               and ($4::uuid is null or id >= $4)
               and ($5::uuid is null or id < $5)
             order by id desc
             limit $6
        ), picked as materialized (
            select *
              from looked
             where ($7::text is null or queue = $7)
               and ($8::text is null or code = $8)
               and ($9::text is null
                    or exists (select from job_spec where job_id = looked.id and spec -> 'tags' ? $9))
             order by id desc
             limit $10
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
        filter.created_after.map(first_id),
        filter.created_before.map(first_id),
        window,
        filter.queue,
        filter.code.map(Code::as_str),
        filter.tag,
        i64::from(limit) + 1,
    )
    .fetch_all(pool)
    .await?;
    let jobs = rows.into_iter().map(|row| job!(row)).collect();
    let mut page = Page::cut(jobs, usize::from(limit), |job| job.id.0);
    if page.next.is_none() && filter.is_narrow() {
        page.next = edge(pool, filter, after).await?;
    }
    Ok(page)
}

/// The last job that was looked at for a page, when there are more behind it.
async fn edge(db: impl Executor<'_>, filter: Filter<'_>, after: Option<Cursor>) -> Result<Option<Cursor>> {
    let projects = reach(filter.projects);
    let last = sqlx::query_scalar!(
        r#"
        select id
          from job
         where ($1::uuid[] is null or project_id = any ($1))
           and ($2::text is null or state = $2::text::job_state)
           and ($3::uuid is null or id < $3)
           and ($4::uuid is null or id >= $4)
           and ($5::uuid is null or id < $5)
         order by id desc
         limit 1 offset $6
        "#,
        projects.as_deref(),
        filter.state.map(JobState::as_str),
        after.map(|cursor| cursor.0),
        filter.created_after.map(first_id),
        filter.created_before.map(first_id),
        WINDOW - 1,
    )
    .fetch_optional(db)
    .await?;
    Ok(last.map(Cursor))
}
