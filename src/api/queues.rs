//! Queues: what waits in them, paused and opened.

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::auth::{Allowed, Host, Read};
use super::extract::PathText;
use super::pagination::Listing;
use super::problem::{Kind, Problem};
use crate::app::control::pause_queue;
use crate::domain::name::is_name;
use crate::store;

/// A queue with work in it, or about which an operator said something.
#[derive(Serialize, ToSchema)]
pub(super) struct Queue {
    #[schema(example = "default")]
    name: String,
    /// Since when nothing of it is claimed.
    paused_at: Option<DateTime<Utc>>,
    /// Jobs a runner may claim now.
    #[schema(minimum = 0)]
    available: i64,
    /// Jobs that run.
    #[schema(minimum = 0)]
    running: i64,
    /// Jobs that wait for their time, for room, for other jobs or for somebody's approval.
    #[schema(minimum = 0)]
    waiting: i64,
}

/// List queues
///
/// Every queue with jobs that have not ended, and every one that is paused. Counts are of the
/// token's projects.
#[utoipa::path(
    get,
    path = "/api/v1/queues",
    operation_id = "listQueues",
    tag = "operations",
    responses((status = 200, description = "Every queue", body = Listing<Queue>)),
    security(("bearer" = ["read"])),
)]
pub(super) async fn list(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Read>,
) -> Result<axum::Json<Listing<Queue>>, Problem> {
    let queues = store::queue::all(&api.pool, caller.projects.as_deref()).await?;
    let queue = |queue: store::queue::Queue| Queue {
        name: queue.name,
        paused_at: queue.paused_at,
        available: queue.available,
        running: queue.running,
        waiting: queue.waiting,
    };
    Ok(axum::Json(Listing::whole(
        queues.into_iter().map(queue).collect(),
    )))
}

/// What was done to a queue.
#[derive(Serialize, ToSchema)]
pub(super) struct Paused {
    #[schema(example = "default")]
    name: String,
    /// Whether nothing of it is claimed now.
    paused: bool,
}

/// Pause a queue
///
/// Nothing of it is claimed from now on; what runs goes on, and jobs still come in.
#[utoipa::path(
    post,
    path = "/api/v1/queues/{name}/pause",
    operation_id = "pauseQueue",
    tag = "operations",
    params(("name" = String, Path, description = "The queue", example = "default")),
    responses((status = 200, description = "The queue is paused", body = Paused)),
    security(("bearer" = ["admin", "*"])),
)]
pub(super) async fn pause(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Host>,
    PathText(name): PathText,
) -> Result<axum::Json<Paused>, Problem> {
    named(&name)?;
    pause_queue(&api.pool, &api.hints, &caller, &name, true).await?;
    Ok(axum::Json(Paused { name, paused: true }))
}

/// Open a paused queue
///
/// Its jobs are claimed again.
#[utoipa::path(
    post,
    path = "/api/v1/queues/{name}/resume",
    operation_id = "resumeQueue",
    tag = "operations",
    params(("name" = String, Path, description = "The queue", example = "default")),
    responses((status = 200, description = "The queue is open", body = Paused)),
    security(("bearer" = ["admin", "*"])),
)]
pub(super) async fn resume(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Host>,
    PathText(name): PathText,
) -> Result<axum::Json<Paused>, Problem> {
    named(&name)?;
    pause_queue(&api.pool, &api.hints, &caller, &name, false).await?;
    Ok(axum::Json(Paused { name, paused: false }))
}

fn named(name: &str) -> Result<(), Problem> {
    match is_name(name) {
        true => Ok(()),
        false => Err(Problem::new(
            Kind::NotFound,
            "a queue's name is 1–128 letters, digits, `.`, `_` or `-`",
        )),
    }
}
