//! What happened to a job, from the audit log.

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::Api;
use super::auth::{Allowed, Read};
use super::extract::{PathId, no_such_job};
use super::pagination::{Asked, Listing, Pages};
use super::problem::Problem;
use crate::domain::id::JobId;
use crate::store;

/// Something that happened.
#[derive(Serialize, ToSchema)]
pub(super) struct Event {
    /// Its place in the log; later is higher.
    #[schema(minimum = 1, example = 42)]
    id: i64,
    /// When it happened, by the database's clock.
    at: DateTime<Utc>,
    /// The attempt it happened in, if in one.
    attempt: Option<i32>,
    /// What happened.
    #[schema(example = "job.submitted")]
    kind: String,
    /// Who did it.
    #[schema(example = "token:ci")]
    actor: String,
    /// Anything more.
    #[schema(value_type = Option<Object>)]
    detail: Option<Value>,
}

impl Event {
    pub(super) fn id(&self) -> i64 {
        self.id
    }

    pub(super) fn kind(&self) -> &str {
        &self.kind
    }
}

impl From<store::event::Event> for Event {
    fn from(event: store::event::Event) -> Self {
        Self {
            id: event.id,
            at: event.at,
            attempt: event.attempt,
            kind: event.kind,
            actor: event.actor,
            detail: event.detail,
        }
    }
}

/// List a job's events
///
/// What happened to the job and who did it, the first event first, a page at a time.
#[utoipa::path(
    get,
    path = "/api/v1/jobs/{id}/events",
    operation_id = "listJobEvents",
    tag = "jobs",
    params(("id" = JobId, Path, description = "The job"), Pages),
    responses((status = 200, description = "A page of events", body = Listing<Event>,
               headers(("Link" = String, description = "`rel=\"next\"`: the next page, when there is one")))),
    security(("bearer" = ["read"])),
)]
pub(super) async fn list(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Read>,
    PathId(id): PathId<JobId>,
    asked: Asked,
) -> Result<Response, Problem> {
    let standing = store::job::standing(&api.pool, id, caller.projects.as_deref()).await?;
    standing.ok_or_else(|| no_such_job(id))?;
    let page = store::event::of_job(&api.pool, id, asked.after, asked.limit).await?;
    Ok(asked.answer::<_, Event>(page, &api.settings))
}
