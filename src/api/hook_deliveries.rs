//! What came in at a hook.

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::auth::{Allowed, Read};
use super::extract::PathText;
use super::pagination::{Asked, Listing, Pages};
use super::problem::Problem;
use crate::app::hooks;
use crate::domain::hook::event::Outcome;
use crate::domain::id::{HookDeliveryId, JobId};
use crate::store::hook_delivery;

/// An event that came in.
#[derive(Serialize, ToSchema)]
pub(super) struct HookDelivery {
    id: HookDeliveryId,
    received_at: DateTime<Utc>,
    /// The sender's id of it, by which a repeat is recognised.
    #[schema(example = "72d3162e-cc78-11e3-81ab-4c9367dc0958")]
    sender_id: Option<String>,
    /// What the sender calls it.
    #[schema(example = "push")]
    event: Option<String>,
    /// How large it was.
    #[schema(minimum = 0)]
    body_bytes: i32,
    outcome: Outcome,
    /// Why it made no job.
    reason: Option<String>,
    /// Its job.
    job_id: Option<JobId>,
}

impl From<hook_delivery::HookDelivery> for HookDelivery {
    fn from(delivery: hook_delivery::HookDelivery) -> Self {
        Self {
            id: delivery.id,
            received_at: delivery.received_at,
            sender_id: delivery.sender_id,
            event: delivery.event,
            body_bytes: delivery.body_bytes,
            outcome: delivery.outcome,
            reason: delivery.reason,
            job_id: delivery.job,
        }
    }
}

/// List what came in at a hook
///
/// Every event with what was made of it, the newest first, a page at a time. Of requests with a bad
/// signature at most 60 a minute are kept.
#[utoipa::path(
    get,
    path = "/api/v1/hooks/{name}/deliveries",
    operation_id = "listHookDeliveries",
    tag = "hooks",
    params(("name" = String, Path, description = "The hook", example = "deploy"), Pages),
    responses((status = 200, description = "A page of events", body = Listing<HookDelivery>,
               headers(("Link" = String, description = "`rel=\"next\"`: the next page, when there is one")))),
    security(("bearer" = ["read"])),
)]
pub(super) async fn list(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Read>,
    PathText(name): PathText,
    asked: Asked,
) -> Result<Response, Problem> {
    let hook = hooks::find(&api.pool, &caller, &name).await?;
    let page = hook_delivery::page(&api.pool, hook.id, asked.after, asked.limit).await?;
    Ok(asked.answer::<_, HookDelivery>(page, &api.settings))
}
