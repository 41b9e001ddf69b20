//! The attempts at a job.

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::auth::{Allowed, Read};
use super::extract::{PathId, no_such_job};
use super::pagination::Listing;
use super::problem::Problem;
use crate::domain::id::{JobId, RunnerId};
use crate::domain::job::Code;
use crate::store;

/// One claim of a job by one runner session.
#[derive(Serialize, ToSchema)]
pub(super) struct Attempt {
    /// Its number, from 1.
    #[schema(minimum = 1)]
    number: i32,
    /// The session that claimed the job.
    runner_id: RunnerId,
    /// What the operator calls that runner.
    #[schema(example = "runner-1")]
    runner: Option<String>,
    /// When the job was claimed.
    started_at: DateTime<Utc>,
    /// When the attempt ended; null while it runs.
    ended_at: Option<DateTime<Utc>>,
    /// `succeeded`, `failed`, `cancelled`, `retried`, `awaiting_approval`, `handed_back`, `lost`, or `running`.
    #[schema(example = "succeeded")]
    outcome: String,
    /// Why it did not succeed.
    code: Option<Code>,
}

impl From<store::attempt::Attempt> for Attempt {
    fn from(attempt: store::attempt::Attempt) -> Self {
        Self {
            number: attempt.number,
            runner_id: attempt.runner,
            runner: attempt.instance,
            started_at: attempt.started_at,
            ended_at: attempt.ended_at,
            outcome: attempt.outcome,
            code: attempt.code,
        }
    }
}

/// List the attempts at a job
///
/// Every claim of the job, the first one first, with the one that runs now.
#[utoipa::path(
    get,
    path = "/api/v1/jobs/{id}/attempts",
    operation_id = "listAttempts",
    tag = "jobs",
    params(("id" = JobId, Path, description = "The job")),
    responses((status = 200, description = "Every attempt", body = Listing<Attempt>)),
    security(("bearer" = ["read"])),
)]
pub(super) async fn list(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Read>,
    PathId(id): PathId<JobId>,
) -> Result<axum::Json<Listing<Attempt>>, Problem> {
    let standing = store::job::standing(&api.pool, id, caller.projects.as_deref()).await?;
    standing.ok_or_else(|| no_such_job(id))?;
    let attempts = store::attempt::of_job(&api.pool, id).await?;
    Ok(axum::Json(Listing::whole(
        attempts.into_iter().map(Attempt::from).collect(),
    )))
}
