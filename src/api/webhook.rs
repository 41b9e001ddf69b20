//! The webhook: the predecessor's entrance, kept as it was.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::auth::Submitter;
use super::extract::{IdempotencyKey, Json};
use super::jobs::accept;
use super::problem::Problem;
use crate::domain::id::JobId;
use crate::domain::spec::JobSpec;

/// What became of a webhook.
#[derive(Serialize, ToSchema)]
pub(super) struct Receipt {
    /// Always `accepted`: the job is in the table.
    #[schema(example = "accepted", pattern = "^accepted$")]
    status: &'static str,
    job_id: JobId,
    /// Where to see what becomes of it.
    #[schema(
        format = "uri-reference",
        example = "/jobs/01934f5a-7e1c-7c3a-9b1e-5f8d2a6c4e10"
    )]
    status_url: String,
}

/// Submit a job by webhook
///
/// The same as `POST /api/v1/jobs` with a shorter answer. The answer is sent after the commit. Send
/// an `idempotency_key` (or `job_id`, its older name) and repeat without fear: a repeat is answered
/// with the first job and 200.
#[utoipa::path(
    post,
    path = "/webhook",
    operation_id = "receiveWebhook",
    tag = "webhook",
    params(IdempotencyKey),
    request_body(content = JobSpec, description = "What is to be done", examples(
        ("command" = (summary = "One command", value = json!({"goal": "Say hello", "project_id": "demo", "steps": [{"step_id": "hello", "argv": ["echo", "hello"]}]}))),
        ("goal" = (summary = "A goal: plan, implement and review it", value = json!({"goal": "Add a changelog", "project_id": "demo", "idempotency_key": "changelog-1"}))),
    )),
    responses(
        (status = 202, description = "The job is in the table", body = Receipt),
        (status = 200, description = "The first job under the same idempotency key", body = Receipt),
    ),
    security(("bearer" = ["submit"])),
    extensions(("x-problems" = json!(["project_forbidden"]))),
)]
pub(super) async fn receive(
    State(api): State<Api>,
    submitter: Submitter,
    key: Result<IdempotencyKey, Problem>,
    body: Result<Json, Problem>,
) -> Result<(StatusCode, axum::Json<Receipt>), Problem> {
    let accepted = accept(&api, &submitter, key, body).await?;
    let status = match accepted.repeated {
        true => StatusCode::OK,
        false => StatusCode::ACCEPTED,
    };
    let receipt = Receipt {
        status: "accepted",
        job_id: accepted.job,
        status_url: api.settings.link(&format!("/jobs/{}", accepted.job)),
    };
    Ok((status, axum::Json(receipt)))
}
