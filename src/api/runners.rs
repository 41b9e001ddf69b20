//! Runner sessions: looked at, drained.

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::auth::{Allowed, Host, Read};
use super::extract::PathId;
use super::pagination::Listing;
use super::problem::Problem;
use crate::app::control;
use crate::domain::id::RunnerId;
use crate::store;

/// A session of a runner process that has not ended.
#[derive(Serialize, ToSchema)]
pub(super) struct Runner {
    id: RunnerId,
    /// What the operator calls the process.
    #[schema(example = "1")]
    instance: String,
    #[schema(example = "build-host-1")]
    host: String,
    /// Its process id there.
    pid: i32,
    /// The program's version.
    #[schema(example = "0.1.0")]
    version: String,
    /// Jobs it runs at once.
    #[schema(minimum = 1)]
    slots: i32,
    /// Jobs it runs now, of the projects that the token reaches.
    #[schema(minimum = 0)]
    running: i64,
    /// The queues it serves.
    #[schema(example = json!(["default"]))]
    queues: Vec<String>,
    /// What its host has.
    #[schema(example = json!(["gpu"]))]
    labels: Vec<String>,
    started_at: DateTime<Utc>,
    /// When others may take over what it runs, unless it renews before.
    lease_expires_at: DateTime<Utc>,
    /// Since when it takes nothing more.
    drain_asked_at: Option<DateTime<Utc>>,
}

impl From<store::runner::Live> for Runner {
    fn from(live: store::runner::Live) -> Self {
        Self {
            id: live.id,
            instance: live.instance,
            host: live.host,
            pid: live.pid,
            version: live.version,
            slots: live.slots,
            running: live.running,
            queues: live.queues,
            labels: live.labels,
            started_at: live.started_at,
            lease_expires_at: live.lease_expires_at,
            drain_asked_at: live.drain_asked_at,
        }
    }
}

/// List runners
///
/// Every session that has not ended, the oldest first. One whose lease has passed has vanished.
#[utoipa::path(
    get,
    path = "/api/v1/runners",
    operation_id = "listRunners",
    tag = "operations",
    responses((status = 200, description = "Every session", body = Listing<Runner>)),
    security(("bearer" = ["read"])),
)]
pub(super) async fn list(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Read>,
) -> Result<axum::Json<Listing<Runner>>, Problem> {
    let live = store::runner::live(&api.pool, caller.projects.as_deref()).await?;
    Ok(axum::Json(Listing::whole(
        live.into_iter().map(Runner::from).collect(),
    )))
}

/// A session that was asked to drain.
#[derive(Serialize, ToSchema)]
pub(super) struct Drained {
    id: RunnerId,
    /// Always true: it takes nothing more.
    draining: bool,
}

/// Drain a runner
///
/// The session claims nothing more and ends when its steps have; a service manager may then start a
/// new one.
#[utoipa::path(
    post,
    path = "/api/v1/runners/{id}/drain",
    operation_id = "drainRunner",
    tag = "operations",
    params(("id" = RunnerId, Path, description = "The session")),
    responses((status = 200, description = "The session drains", body = Drained)),
    security(("bearer" = ["admin", "*"])),
)]
pub(super) async fn drain(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Host>,
    PathId(id): PathId<RunnerId>,
) -> Result<axum::Json<Drained>, Problem> {
    control::drain(&api.pool, &caller, id).await?;
    Ok(axum::Json(Drained { id, draining: true }))
}
