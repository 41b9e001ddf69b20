//! The steps of a job that ended.

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::auth::{Allowed, Read};
use super::extract::{PathId, no_such_job};
use super::pagination::Listing;
use super::problem::Problem;
use crate::app::overview::overview;
use crate::domain::id::JobId;
use crate::domain::job::Code;
use crate::store;

/// A step that ended, in the attempt that ran it.
#[derive(Serialize, ToSchema)]
pub(super) struct Step {
    /// The attempt that ran it.
    #[schema(minimum = 1)]
    attempt: i32,
    /// Index in the specification, from 0.
    #[schema(minimum = 0)]
    position: i16,
    /// Its name in the specification.
    #[schema(example = "build")]
    step_id: String,
    /// Who did it.
    #[schema(example = "command")]
    agent: String,
    /// `succeeded`, `failed`, `cancelled`, `interrupted` or `skipped`.
    #[schema(example = "succeeded")]
    status: String,
    /// What its failure led to: `retry`, `continue`, `goto:<step_id>`, `ask_human` or `stop`.
    verdict: Option<String>,
    /// Why it did not succeed.
    code: Option<Code>,
    /// The same as a sentence.
    message: Option<String>,
    /// The program's exit code, when it exited.
    exit_code: Option<i32>,
    /// The signal that ended the program, when one did.
    signal: Option<i32>,
    /// What its agent used; absent unless it is an agent's.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
    /// When it was started, by the runner's clock.
    started_at: DateTime<Utc>,
    /// When it had ended, by the runner's clock.
    finished_at: DateTime<Utc>,
    /// Bytes printed on both streams.
    #[schema(minimum = 0)]
    output_bytes: i64,
    /// Bytes of that kept in the log, after redaction and the cut.
    #[schema(minimum = 0)]
    logged_bytes: i64,
    /// How often a secret was taken out of what it printed.
    #[schema(minimum = 0)]
    redactions: i32,
    /// Time from start to end, in milliseconds.
    #[schema(minimum = 0)]
    wall_ms: i64,
    /// Processor time of all its processes, in milliseconds.
    #[schema(minimum = 0)]
    cpu_ms: i64,
    /// Most memory the largest of its processes held at once, in bytes.
    #[schema(minimum = 0)]
    peak_memory_bytes: i64,
}

/// What an agent used in a step, as it says itself; null is unknown.
#[derive(Serialize, ToSchema)]
pub(super) struct Usage {
    /// Whether it was not really run: `ENABLE_REAL_CLI` was 0, or it is the agent `simulate`.
    simulated: bool,
    /// What it calls its session.
    session_id: Option<String>,
    /// Tokens it read.
    #[schema(minimum = 0)]
    input_tokens: Option<i64>,
    /// Tokens it wrote.
    #[schema(minimum = 0)]
    output_tokens: Option<i64>,
    /// Tokens of those it read that came out of a cache.
    #[schema(minimum = 0)]
    cached_tokens: Option<i64>,
    /// What it cost, in US dollars.
    #[schema(minimum = 0, example = 0.0421)]
    cost_usd: Option<f64>,
}

impl From<store::step::Used> for Usage {
    fn from(used: store::step::Used) -> Self {
        Self {
            simulated: used.simulated,
            session_id: used.session_id,
            input_tokens: used.input_tokens,
            output_tokens: used.output_tokens,
            cached_tokens: used.cached_tokens,
            cost_usd: used.cost_usd,
        }
    }
}

impl From<store::step::Step> for Step {
    fn from(step: store::step::Step) -> Self {
        Self {
            attempt: step.attempt,
            position: step.position,
            step_id: step.step_id,
            agent: step.agent,
            status: step.status,
            verdict: step.verdict,
            code: step.code,
            message: step.message,
            exit_code: step.exit_code,
            signal: step.signal,
            started_at: step.started_at,
            finished_at: step.finished_at,
            usage: step.usage.map(Usage::from),
            output_bytes: step.output_bytes,
            logged_bytes: step.measured.logged_bytes,
            redactions: step.measured.redactions,
            wall_ms: (step.finished_at - step.started_at).num_milliseconds(),
            cpu_ms: step.measured.cpu_ms,
            peak_memory_bytes: step.measured.peak_memory_bytes,
        }
    }
}

/// List a job's steps
///
/// Every step that ended, in the order in which they did; one that several attempts ran is there
/// several times. The step that runs now is the job's `step_position`.
#[utoipa::path(
    get,
    path = "/api/v1/jobs/{id}/steps",
    operation_id = "listSteps",
    tag = "jobs",
    params(("id" = JobId, Path, description = "The job")),
    responses((status = 200, description = "Every step that ended", body = Listing<Step>)),
    security(("bearer" = ["read"])),
)]
pub(super) async fn list(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Read>,
    PathId(id): PathId<JobId>,
) -> Result<axum::Json<Listing<Step>>, Problem> {
    let found = overview(&api.pool, &caller, id).await?;
    let steps = found.ok_or_else(|| no_such_job(id))?.steps;
    Ok(axum::Json(Listing::whole(
        steps.into_iter().map(Step::from).collect(),
    )))
}
