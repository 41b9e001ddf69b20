//! Whether the service lives, and whether it can do its work.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::problem::{Kind, Problem};
use crate::store::migrate::{Fit, fit};

/// Longest time the database may take to answer before the service counts as not ready.
const PATIENCE: Duration = Duration::from_secs(2);

/// A good answer.
#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    /// Always `ok`; anything else is a problem.
    #[schema(example = "ok", pattern = "^ok$")]
    status: &'static str,
    /// The program's version.
    #[schema(example = "0.1.0")]
    version: &'static str,
}

const OK: Health = Health {
    status: "ok",
    version: env!("CARGO_PKG_VERSION"),
};

/// Check the service
///
/// The same as `/health/ready`, under the predecessor's path.
#[utoipa::path(
    get,
    path = "/health",
    operation_id = "checkHealth",
    tag = "health",
    responses((status = 200, description = "The service can do its work", body = Health)),
    security(()),
    extensions(("x-problems" = json!(["not_ready"]))),
)]
pub(super) async fn summary(api: State<Api>) -> Result<Json<Health>, Problem> {
    ready(api).await
}

/// Check that the process lives
///
/// Answers as long as the process answers at all; it says nothing of the database. Restart the
/// process when it does not answer.
#[utoipa::path(
    get,
    path = "/health/live",
    operation_id = "checkLiveness",
    tag = "health",
    responses((status = 200, description = "The process lives", body = Health)),
    security(()),
)]
pub(super) async fn live() -> Json<Health> {
    Json(OK)
}

/// Check that the service can do its work
///
/// Red while the database is away or its schema is not this program's, with the reason. Send no
/// requests meanwhile; it becomes green by itself.
#[utoipa::path(
    get,
    path = "/health/ready",
    operation_id = "checkReadiness",
    tag = "health",
    responses((status = 200, description = "The service can do its work", body = Health)),
    security(()),
    extensions(("x-problems" = json!(["not_ready"]))),
)]
pub(super) async fn ready(State(api): State<Api>) -> Result<Json<Health>, Problem> {
    if api.stop.is_cancelled() {
        return Err(red("the service is stopping"));
    }
    match tokio::time::timeout(PATIENCE, fit(&api.pool)).await {
        Ok(Ok(Fit::Current)) => Ok(Json(OK)),
        Ok(Ok(misfit)) => Err(red(&misfit.to_string())),
        Ok(Err(error)) => {
            // The cause may name hosts and users, which are nobody's business here.
            tracing::warn!(error = %error, "not ready");
            Err(red(
                "the database does not answer as it should; the log has the cause",
            ))
        }
        Err(_) => Err(red("the database did not answer within 2 s")),
    }
}

fn red(reason: &str) -> Problem {
    Problem::new(Kind::NotReady, reason).with_header(header::RETRY_AFTER, "2")
}
