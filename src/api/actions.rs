//! What can be done to a job: cancel it, retry it.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::auth::{Allowed, Operate};
use super::extract::PathId;
use super::problem::{Kind, Problem};
use crate::app::control;
use crate::domain::id::JobId;
use crate::domain::job::JobState;
use crate::domain::problem::Violation;

/// Where a job is after it was acted upon.
#[derive(Serialize, ToSchema)]
pub(super) struct Acted {
    pub(super) id: JobId,
    /// Where it is now. A running job that is to be cancelled is `running` until its processes have ended.
    pub(super) state: JobState,
}

impl From<control::Error> for Problem {
    fn from(error: control::Error) -> Self {
        match error {
            control::Error::Unknown(_) => Self::new(Kind::NotFound, error.to_string()),
            control::Error::State { .. } | control::Error::Need { .. } => {
                Self::new(Kind::WrongState, error.to_string())
            }
            control::Error::Prompt(_) => Self::body(vec![Violation::new("prompt", error.to_string())]),
            control::Error::Question { .. } | control::Error::UniqueKey { .. } => {
                Self::new(Kind::WrongState, error.to_string())
            }
            control::Error::Store(error) => error.into(),
        }
    }
}

/// Cancel a job
///
/// A job that waits is cancelled at once. One that runs is ended by its runner: its processes get
/// TERM, and KILL after a grace. Asking again changes nothing.
#[utoipa::path(
    post,
    path = "/api/v1/jobs/{id}/cancel",
    operation_id = "cancelJob",
    tag = "jobs",
    params(("id" = JobId, Path, description = "The job")),
    responses((status = 200, description = "The job is cancelled, or will be", body = Acted)),
    security(("bearer" = ["operate"])),
    extensions(("x-problems" = json!(["wrong_state"]))),
)]
pub(super) async fn cancel(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Operate>,
    PathId(id): PathId<JobId>,
) -> Result<axum::Json<Acted>, Problem> {
    let state = control::cancel(&api.pool, &api.hints, &caller, id).await?;
    Ok(axum::Json(Acted { id, state }))
}

/// Retry a job
///
/// A job that failed or was cancelled goes on, with a new attempt, at the step that did not succeed.
/// What it did before stays on record. One that needs jobs which have not succeeded waits for them; when one of
/// those failed or was cancelled, retry that one first.
#[utoipa::path(
    post,
    path = "/api/v1/jobs/{id}/retry",
    operation_id = "retryJob",
    tag = "jobs",
    params(("id" = JobId, Path, description = "The job")),
    responses((status = 200, description = "The job is in its queue again, or waits for what it needs", body = Acted)),
    security(("bearer" = ["operate"])),
    extensions(("x-problems" = json!(["wrong_state"]))),
)]
pub(super) async fn retry(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Operate>,
    PathId(id): PathId<JobId>,
) -> Result<axum::Json<Acted>, Problem> {
    let state = control::retry(&api.pool, &api.hints, &caller, id).await?;
    Ok(axum::Json(Acted { id, state }))
}
