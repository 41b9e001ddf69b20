//! Callbacks that go out: listed, shown with their tries, sent again.

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::auth::{Admin, Allowed, Read};
use super::extract::PathId;
use super::jobs::within;
use super::pagination::{Asked, Listing, Pages};
use super::problem::{Kind, Problem};
use crate::app::deliver::{self, Shown};
use crate::domain::callback::DeliveryState;
use crate::domain::id::{DeliveryId, JobId};
use crate::store::delivery;

/// A callback.
#[derive(Serialize, ToSchema)]
pub(super) struct Delivery {
    /// Its id, which is sent as `webhook-id`.
    id: DeliveryId,
    /// Alias of the project of its job.
    #[schema(example = "demo")]
    project_id: String,
    job_id: JobId,
    /// Where it goes.
    #[schema(example = "https://example.com/jobs/done")]
    url: String,
    state: DeliveryState,
    /// How often it was tried.
    #[schema(minimum = 0)]
    attempts: i32,
    /// When it is tried next, while it is pending.
    due_at: Option<DateTime<Utc>>,
    /// When its job ended.
    created_at: DateTime<Utc>,
    /// When it arrived or was given up.
    finished_at: Option<DateTime<Utc>>,
    /// The status the last try was answered with.
    last_status: Option<i16>,
    /// Why the last try did not arrive.
    last_reason: Option<String>,
}

impl From<delivery::Delivery> for Delivery {
    fn from(delivery: delivery::Delivery) -> Self {
        Self {
            id: delivery.id,
            project_id: delivery.project_alias,
            job_id: delivery.job,
            url: delivery.url,
            state: delivery.state,
            attempts: delivery.attempts,
            due_at: delivery.due_at,
            created_at: delivery.created_at,
            finished_at: delivery.finished_at,
            last_status: delivery.last_status,
            last_reason: delivery.last_reason,
        }
    }
}

/// One try of a callback.
#[derive(Serialize, ToSchema)]
pub(super) struct DeliveryAttempt {
    #[schema(minimum = 1)]
    number: i32,
    started_at: DateTime<Utc>,
    /// Absent while it is on its way, and for ever when its process was killed.
    ended_at: Option<DateTime<Utc>>,
    /// The address that was called.
    #[schema(example = "192.0.2.1:443")]
    address: Option<String>,
    /// The status that was answered.
    status: Option<i16>,
    /// Why it did not arrive.
    reason: Option<String>,
    /// How the body of an answer other than 2xx begins.
    answer: Option<String>,
}

/// A callback with its tries.
#[derive(Serialize, ToSchema)]
pub(super) struct DeliveryWithAttempts {
    delivery: Delivery,
    /// The first one first.
    attempts: Vec<DeliveryAttempt>,
}

impl From<Shown> for DeliveryWithAttempts {
    fn from(shown: Shown) -> Self {
        let attempt = |attempt: delivery::Attempt| DeliveryAttempt {
            number: attempt.number,
            started_at: attempt.started_at,
            ended_at: attempt.ended_at,
            address: attempt.address,
            status: attempt.status,
            reason: attempt.reason,
            answer: attempt.answer,
        };
        Self {
            delivery: shown.delivery.into(),
            attempts: shown.attempts.into_iter().map(attempt).collect(),
        }
    }
}

/// Which callbacks a list shows.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Only those of the project with this alias.
    #[param(example = "demo", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    project: Option<String>,
    /// Only those of this job.
    #[param(value_type = Option<String>, format = Uuid)]
    job: Option<JobId>,
    /// Only those in this state.
    #[param(inline)]
    state: Option<DeliveryState>,
}

/// List callbacks
///
/// The callbacks of the token's projects, the newest first, a page at a time.
#[utoipa::path(
    get,
    path = "/api/v1/deliveries",
    operation_id = "listDeliveries",
    tag = "hooks",
    params(Which, Pages),
    responses((status = 200, description = "A page of callbacks", body = Listing<Delivery>,
               headers(("Link" = String, description = "`rel=\"next\"`: the next page, when there is one")))),
    security(("bearer" = ["read"])),
)]
pub(super) async fn list(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Read>,
    asked: Asked<Which>,
) -> Result<Response, Problem> {
    let query = &asked.filter;
    let projects = within(&api, &caller, query.project.as_deref()).await?;
    let filter = delivery::Filter {
        projects: projects.as_deref(),
        job: query.job,
        state: query.state,
        id: None,
    };
    let page = delivery::page(&api.pool, filter, asked.after, asked.limit).await?;
    Ok(asked.answer::<_, Delivery>(page, &api.settings))
}

/// Show a callback
///
/// Where it is on its way, and what came of every try.
#[utoipa::path(
    get,
    path = "/api/v1/deliveries/{id}",
    operation_id = "getDelivery",
    tag = "hooks",
    params(("id" = DeliveryId, Path, description = "The callback")),
    responses((status = 200, description = "The callback", body = DeliveryWithAttempts)),
    security(("bearer" = ["read"])),
)]
pub(super) async fn show(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Read>,
    PathId(id): PathId<DeliveryId>,
) -> Result<axum::Json<DeliveryWithAttempts>, Problem> {
    let shown = deliver::show(&api.pool, &caller, id).await?;
    shown
        .map(|shown| axum::Json(shown.into()))
        .ok_or_else(|| unknown(id))
}

/// Send a callback again
///
/// Makes it due now, for another day of tries, whatever became of it before. One that is being tried at
/// this moment stays as it is.
#[utoipa::path(
    post,
    path = "/api/v1/deliveries/{id}/redeliver",
    operation_id = "redeliver",
    tag = "hooks",
    params(("id" = DeliveryId, Path, description = "The callback")),
    responses((status = 200, description = "The callback is on its way again", body = DeliveryWithAttempts)),
    security(("bearer" = ["admin"])),
)]
pub(super) async fn redeliver(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Admin>,
    PathId(id): PathId<DeliveryId>,
) -> Result<axum::Json<DeliveryWithAttempts>, Problem> {
    let shown = deliver::send_again(&api.pool, &caller, id).await?;
    shown
        .map(|shown| axum::Json(shown.into()))
        .ok_or_else(|| unknown(id))
}

fn unknown(id: DeliveryId) -> Problem {
    Problem::new(
        Kind::NotFound,
        format!("there is no callback {id} that this token can see"),
    )
}
