//! A job in the predecessor's shape: one answer with the state and every step.

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::Api;
use super::auth::{Allowed, Read};
use super::extract::{PathId, no_such_job};
use super::problem::Problem;
use crate::app::overview::{Overview, overview};
use crate::domain::id::JobId;
use crate::domain::job::{Code, JobState};
use crate::store::step::Step;

/// A job and its steps.
#[derive(Serialize, ToSchema)]
pub(super) struct JobStatus {
    status: JobState,
    job_id: JobId,
    /// Alias of the project it belongs to.
    #[schema(example = "demo")]
    project_id: String,
    /// What it is for.
    #[schema(example = "Build and test")]
    goal: String,
    /// How often it was claimed.
    #[schema(minimum = 0)]
    attempt: i32,
    /// When it was accepted.
    created_at: DateTime<Utc>,
    /// When it was first claimed.
    started_at: Option<DateTime<Utc>>,
    /// When it ended.
    finished_at: Option<DateTime<Utc>>,
    /// Why it failed or was cancelled.
    code: Option<Code>,
    /// The same as a sentence.
    error: Option<String>,
    /// Every step of the specification, in order, with what last came of it.
    steps: Vec<StepStatus>,
}

/// A step of the specification and what last came of it.
#[derive(Serialize, ToSchema)]
pub(super) struct StepStatus {
    /// Its name in the specification.
    #[schema(example = "build")]
    step_id: String,
    /// Who does it.
    #[schema(example = "command")]
    agent: String,
    /// `pending`, `running`, `succeeded`, `failed`, `cancelled` or `interrupted`.
    #[schema(example = "succeeded")]
    status: String,
    /// The program's exit code, when it exited.
    exit_code: Option<i32>,
    /// The signal that ended the program, when one did.
    signal: Option<i32>,
    /// Why it did not succeed.
    code: Option<Code>,
    /// The same as a sentence.
    error: Option<String>,
    /// When it was started.
    started_at: Option<DateTime<Utc>>,
    /// When it had ended.
    finished_at: Option<DateTime<Utc>>,
}

impl From<Overview> for JobStatus {
    fn from(Overview { job, spec, steps }: Overview) -> Self {
        let live = (job.state == JobState::Running).then_some(job.step_position);
        Self {
            status: job.state,
            job_id: job.id,
            project_id: job.project_alias,
            goal: job.goal,
            attempt: job.attempt,
            created_at: job.created_at,
            started_at: job.started_at,
            finished_at: job.finished_at,
            code: job.code,
            error: job.message,
            steps: statuses(&spec, &steps, live),
        }
    }
}

fn statuses(spec: &Value, ended: &[Step], live: Option<i16>) -> Vec<StepStatus> {
    let specified = spec["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
    (0..)
        .zip(specified)
        .map(|(position, step)| {
            let last = ended.iter().rfind(|step| step.position == position);
            status(step, last, live == Some(position))
        })
        .collect()
}

fn status(specified: &Value, last: Option<&Step>, live: bool) -> StepStatus {
    let text = |name: &str| specified[name].as_str().unwrap_or_default().to_owned();
    // A step that runs again has not ended, whatever came of it before.
    let ended = last.filter(|_| !live);
    StepStatus {
        step_id: text("step_id"),
        agent: text("agent"),
        status: match (ended, live) {
            (Some(step), _) => step.status.clone(),
            (None, true) => "running".to_owned(),
            (None, false) => "pending".to_owned(),
        },
        exit_code: ended.and_then(|step| step.exit_code),
        signal: ended.and_then(|step| step.signal),
        code: ended.and_then(|step| step.code),
        error: ended.and_then(|step| step.message.clone()),
        started_at: ended.map(|step| step.started_at),
        finished_at: ended.map(|step| step.finished_at),
    }
}

/// Show a job and its steps
///
/// The predecessor's answer; `/api/v1/jobs/{id}` says more. Unlike the predecessor's, it needs a token.
#[utoipa::path(
    get,
    path = "/jobs/{id}",
    operation_id = "getJobStatus",
    tag = "webhook",
    params(("id" = JobId, Path, description = "The job")),
    responses((status = 200, description = "The job and its steps", body = JobStatus)),
    security(("bearer" = ["read"])),
)]
pub(super) async fn show(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Read>,
    PathId(id): PathId<JobId>,
) -> Result<axum::Json<JobStatus>, Problem> {
    overview(&api.pool, &caller, id)
        .await?
        .map(|overview| axum::Json(overview.into()))
        .ok_or_else(|| no_such_job(id))
}
