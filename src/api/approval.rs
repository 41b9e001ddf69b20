//! Jobs that wait for somebody's word: what was asked, and the word.

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::actions::Acted;
use super::auth::{Allowed, Operate, Read};
use super::extract::{Json, PathId, no_such_job};
use super::pagination::Listing;
use super::problem::Problem;
use crate::app::authenticate::Caller;
use crate::app::control;
use crate::domain::approval::{Decision, Word};
use crate::domain::id::JobId;
use crate::domain::problem::read_json;
use crate::store;

/// A word that lets a job go on.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Approve {
    /// Why, up to 5000 characters; kept with who and when.
    #[serde(default)]
    #[schema(max_length = 5000, example = "Looks right")]
    comment: Option<String>,
    /// What the step's agent is asked instead, 1–20000 characters.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 20000)]
    prompt: Option<String>,
    /// Pass over the step that waits, instead of running it.
    #[serde(default)]
    #[schema(default = false)]
    skip: bool,
    /// The attempt whose question this answers. Sent along, an answer that comes too late to one
    /// question is never taken for the answer to the next.
    #[serde(default)]
    #[schema(minimum = 1)]
    attempt: Option<i32>,
}

/// A word that ends a job.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Reject {
    /// Why, up to 5000 characters; kept with who and when, and part of the job's message.
    #[serde(default)]
    #[schema(max_length = 5000, example = "Not before the release")]
    comment: Option<String>,
    /// The attempt whose question this answers.
    #[serde(default)]
    #[schema(minimum = 1)]
    attempt: Option<i32>,
}

/// Approve a job
///
/// The step that waits goes on: run as it is, run with another prompt, or passed over. Nothing that ran
/// before runs again. Saying the same again changes nothing.
#[utoipa::path(
    post,
    path = "/api/v1/jobs/{id}/approve",
    operation_id = "approveJob",
    tag = "jobs",
    params(("id" = JobId, Path, description = "The job")),
    request_body(content = Approve, description = "The word", examples(
        ("plain" = (summary = "Go on", value = json!({"comment": "Looks right"}))),
        ("edited" = (summary = "Go on with another prompt", value = json!({"prompt": "Do it without a new dependency."}))),
        ("skip" = (summary = "Go on behind the step that waits", value = json!({"skip": true, "attempt": 1}))),
    )),
    responses((status = 200, description = "The job goes on", body = Acted)),
    extensions(("x-problems" = json!(["wrong_state"]))),
    security(("bearer" = ["operate"])),
)]
pub(super) async fn approve(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Operate>,
    PathId(id): PathId<JobId>,
    Json(body): Json,
) -> Result<axum::Json<Acted>, Problem> {
    let Approve {
        comment,
        prompt,
        skip,
        attempt,
    } = read_json(&body)?;
    let decision = if skip {
        Decision::Skipped
    } else {
        Decision::Approved
    };
    let word = Word {
        decision,
        comment,
        prompt,
        attempt,
    };
    say(&api, &caller, id, word).await
}

/// Reject a job
///
/// The job that waits fails with code `rejected`. Saying the same again changes nothing.
#[utoipa::path(
    post,
    path = "/api/v1/jobs/{id}/reject",
    operation_id = "rejectJob",
    tag = "jobs",
    params(("id" = JobId, Path, description = "The job")),
    request_body(content = Reject, description = "The word", example = json!({"comment": "Not before the release"})),
    responses((status = 200, description = "The job has failed", body = Acted)),
    extensions(("x-problems" = json!(["wrong_state"]))),
    security(("bearer" = ["operate"])),
)]
pub(super) async fn reject(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Operate>,
    PathId(id): PathId<JobId>,
    Json(body): Json,
) -> Result<axum::Json<Acted>, Problem> {
    let Reject { comment, attempt } = read_json(&body)?;
    let word = Word {
        decision: Decision::Rejected,
        comment,
        prompt: None,
        attempt,
    };
    say(&api, &caller, id, word).await
}

async fn say(api: &Api, caller: &Caller, id: JobId, word: Word) -> Result<axum::Json<Acted>, Problem> {
    let wrong = word.violations();
    if !wrong.is_empty() {
        return Err(Problem::body(wrong));
    }
    let state = control::decide(&api.pool, &api.hints, caller, id, &word).await?;
    Ok(axum::Json(Acted { id, state }))
}

/// Something that was asked about a job, and what somebody said.
#[derive(Serialize, ToSchema)]
pub(super) struct Approval {
    /// The attempt that asked, and ended by it.
    #[schema(minimum = 1)]
    attempt: i32,
    /// Index of the step that waits, or waited.
    #[schema(minimum = 0)]
    position: i16,
    #[schema(example = "The job asks for approval before its first step, \"deploy\".")]
    question: String,
    asked_at: DateTime<Utc>,
    decided_at: Option<DateTime<Utc>>,
    decision: Option<Decision>,
    #[schema(example = "token:ops")]
    decided_by: Option<String>,
    comment: Option<String>,
    /// What the step's agent was asked instead.
    prompt: Option<String>,
}

impl From<store::approval::Approval> for Approval {
    fn from(approval: store::approval::Approval) -> Self {
        Self {
            attempt: approval.attempt,
            position: approval.position,
            question: approval.question,
            asked_at: approval.asked_at,
            decided_at: approval.decided_at,
            decision: approval.decision,
            decided_by: approval.decided_by,
            comment: approval.comment,
            prompt: approval.prompt,
        }
    }
}

/// List what was asked about a job
///
/// Every question with who decided it, when and how, the first one first.
#[utoipa::path(
    get,
    path = "/api/v1/jobs/{id}/approvals",
    operation_id = "listApprovals",
    tag = "jobs",
    params(("id" = JobId, Path, description = "The job")),
    responses((status = 200, description = "Every question", body = Listing<Approval>)),
    security(("bearer" = ["read"])),
)]
pub(super) async fn list(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Read>,
    PathId(id): PathId<JobId>,
) -> Result<axum::Json<Listing<Approval>>, Problem> {
    let standing = store::job::standing(&api.pool, id, caller.projects.as_deref()).await?;
    standing.ok_or_else(|| no_such_job(id))?;
    let approvals = store::approval::of_job(&api.pool, id).await?;
    Ok(axum::Json(Listing::whole(
        approvals.into_iter().map(Approval::from).collect(),
    )))
}
