//! Jobs, read back.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::types::Json;
use uuid::Uuid;

use super::named::Named;
use super::{Executor, Result};
use crate::domain::id::{JobId, ProjectId, RunnerId};
use crate::domain::job::{Code, JobState};

mod page;

pub use page::{Filter, page};

/// A job as people see it in a list.
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
    /// What it waits for although it is due: room under its `key`, or in its `project`.
    pub gate: Option<String>,
    /// When somebody asked for it to be cancelled.
    pub cancel_asked_at: Option<DateTime<Utc>>,
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
    /// What it is for.
    pub goal: String,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// `false`: an administrator has turned the sandbox off for its project.
    pub sandbox: bool,
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
            gate: row.gate,
            cancel_asked_at: row.cancel_asked_at,
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
            code: row.code.map(|code| code.0),
            message: row.message,
            goal: row.goal,
            tags: words(&row.tags.0),
            sandbox: row.sandbox,
        }
    }};
}
use job;

/// The words of a list, without what is none: a row that was written by hand is not to hide the others.
fn words(list: &Value) -> Vec<String> {
    let words = list.as_array().into_iter().flatten();
    words.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// One job with what was asked for, if the caller may see it.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn find(db: impl Executor<'_>, id: JobId, projects: Reach<'_>) -> Result<Option<(Job, Value)>> {
    let projects = reach(projects);
    let row = sqlx::query!(
        r#"
        select job.id, job.project_id, project.alias, job.queue, job.state as "state: Named<JobState>", job.priority,
               job.run_at, job.attempt, job.losses, job.max_attempts, job.step_position, job.runner_id, job.gate,
               job.cancel_asked_at, job.created_at, job.started_at, job.finished_at, job.code as "code: Named<Code>", job.message,
               coalesce(job_spec.spec ->> 'goal', '') as "goal!",
               coalesce(job_spec.spec -> 'tags', '[]') as "tags!: Json<Value>", project.sandbox, job_spec.spec
          from job join project on project.id = job.project_id join job_spec on job_spec.job_id = job.id
         where job.id = $1 and ($2::uuid[] is null or job.project_id = any ($2))
        "#,
        id.0,
        projects.as_deref(),
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|mut row| {
        let spec = std::mem::take(&mut row.spec);
        (job!(row), spec)
    }))
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
