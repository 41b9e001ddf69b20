//! Several jobs in one request.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::auth::{Allowed, Submit};
use super::extract::Json;
use super::problem::Problem;
use crate::app::submit::{self, MOST};
use crate::domain::id::JobId;
use crate::domain::problem::{Violation, read_json};
use crate::domain::spec::JobSpec;

/// Jobs to be put in together.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Batch {
    /// What is to be done, 1–1000 jobs. `needs` may name the idempotency keys of others here.
    #[schema(min_items = 1, max_items = 1000)]
    jobs: Vec<JobSpec>,
}

/// One job of a batch, in the table.
#[derive(Serialize, ToSchema)]
pub(super) struct BatchItem {
    id: JobId,
    /// Whether it was there before, under the same idempotency key or unique key.
    repeated: bool,
}

/// The jobs of a batch, in the order of the request.
#[derive(Serialize, ToSchema)]
pub(super) struct BatchAnswer {
    jobs: Vec<BatchItem>,
}

/// Submit several jobs
///
/// Puts up to 1000 jobs in, all or none, in one commit. Jobs of one request may need each other: give
/// them idempotency keys, and name those in `needs`.
#[utoipa::path(
    post,
    path = "/api/v1/jobs/batch",
    operation_id = "submitJobs",
    tag = "jobs",
    request_body(content = Batch, description = "What is to be done", examples(
        ("pipeline" = (summary = "Two jobs, one after the other", value = json!({"jobs": [
            {"goal": "Build", "project_id": "demo", "idempotency_key": "build-7", "steps": [{"step_id": "build", "argv": ["make"]}]},
            {"goal": "Deploy", "project_id": "demo", "idempotency_key": "deploy-7", "needs": ["build-7"], "steps": [{"step_id": "deploy", "argv": ["make", "deploy"]}]},
        ]}))),
    )),
    responses((status = 201, description = "The jobs are in the table", body = BatchAnswer)),
    security(("bearer" = ["submit"])),
    extensions(("x-problems" = json!(["project_forbidden"]))),
)]
pub(super) async fn submit(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Submit>,
    Json(body): Json,
) -> Result<(StatusCode, axum::Json<BatchAnswer>), Problem> {
    let specs = read(&body).map_err(Problem::body)?;
    let accepted = submit::submit_all(&api.pool, &api.hints, &caller, &specs, place).await?;
    let item = |accepted: submit::Accepted| BatchItem {
        id: accepted.job,
        repeated: accepted.repeated,
    };
    let jobs = accepted.into_iter().map(item).collect();
    Ok((StatusCode::CREATED, axum::Json(BatchAnswer { jobs })))
}

fn place(index: usize) -> String {
    format!("jobs[{index}].")
}

fn read(body: &[u8]) -> Result<Vec<JobSpec>, Vec<Violation>> {
    let batch: Batch = read_json(body).map_err(|violation| vec![violation])?;
    if batch.jobs.is_empty() || batch.jobs.len() > MOST {
        let sentence = format!("has {} jobs; send 1 to {MOST}", batch.jobs.len());
        return Err(vec![Violation::new("jobs", sentence)]);
    }
    let mut specs = Vec::with_capacity(batch.jobs.len());
    let mut wrong = Vec::new();
    for (index, spec) in batch.jobs.into_iter().enumerate() {
        match spec.checked() {
            Ok(spec) => specs.push(spec),
            Err(violations) => wrong.extend(violations.into_iter().map(|violation| Violation {
                path: format!("{}{}", place(index), violation.path),
                ..violation
            })),
        }
    }
    if wrong.is_empty() { Ok(specs) } else { Err(wrong) }
}
