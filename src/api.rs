//! HTTP: the webhook, the admin API, health, metrics, and the document that describes them.
//!
//! Every route is listed once, in [`routes`]; the router and the OpenAPI document are made from that
//! list. One file a resource holds its shapes, its documentation and its handlers together.

mod actions;
mod admission;
mod agents;
mod approval;
mod artifacts;
mod attempts;
mod auth;
mod batch;
mod callback_secrets;
mod client;
mod cors;
mod deliveries;
mod docs;
mod document;
mod etag;
mod events;
mod extract;
mod feed;
mod health;
mod hook_deliveries;
mod hooks;
mod idempotency;
mod jobs;
mod layers;
mod linger;
mod logs;
mod metrics;
mod observe;
mod pagination;
mod pass;
mod predecessor;
mod problem;
mod projects;
pub mod pulse;
mod query;
mod queues;
mod receive;
mod runners;
mod schedules;
mod secure;
mod serve;
mod settings;
mod stats;
mod steps;
mod tokens;
mod webhook;

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::authenticate::Tokens;
use crate::app::hint::Hints;
use crate::app::submit::Together;
use crate::domain::seal::Keyring;
use crate::objects::Objects;
use crate::store::Pool;
use problem::{Kind, Problem};

pub use document::document;
pub use metrics::Looked;
pub use serve::{GRACE, serve};
pub use settings::{Cors, Settings};

/// What every handler has. Cheap to clone, which is done several times a request.
#[derive(Clone, Debug)]
pub struct Api(Arc<Parts>);

impl Api {
    /// Of these parts.
    #[must_use]
    pub fn of(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl std::ops::Deref for Api {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// What an API is made of.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Connections to PostgreSQL.
    pub pool: Pool,
    /// Where to say that work has come.
    pub hints: Hints,
    /// Where to look up who is calling.
    pub tokens: Tokens,
    /// Where to leave a request for one job.
    pub together: Together,
    /// What operators may set.
    pub settings: Settings,
    /// Where artifacts are.
    pub objects: Objects,
    /// What opens the secrets of hooks and callbacks. `None`: this server keeps none.
    pub keys: Option<Keyring>,
    /// What renders this process's metrics.
    pub metrics: PrometheusHandle,
    /// When the database was last asked for the metrics.
    pub looked: Looked,
    /// When this is cancelled, streams that follow a job end.
    pub stop: CancellationToken,
}

/// Every route there is, each with its documentation.
fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(document::frame())
        .routes(routes!(webhook::receive))
        .routes(routes!(predecessor::show))
        .routes(routes!(jobs::submit, jobs::list))
        .routes(routes!(batch::submit))
        .routes(routes!(jobs::show))
        .routes(routes!(actions::cancel))
        .routes(routes!(actions::retry))
        .routes(routes!(approval::approve))
        .routes(routes!(approval::reject))
        .routes(routes!(approval::list))
        .routes(routes!(steps::list))
        .routes(routes!(attempts::list))
        .routes(routes!(events::list))
        .routes(routes!(logs::read))
        .routes(routes!(artifacts::list))
        .routes(routes!(artifacts::read))
        .routes(routes!(schedules::create, schedules::list))
        .routes(routes!(schedules::steer::preview))
        .routes(routes!(schedules::show, schedules::replace, schedules::delete))
        .routes(routes!(schedules::steer::pause))
        .routes(routes!(schedules::steer::resume))
        .routes(routes!(schedules::steer::trigger))
        .routes(routes!(schedules::history::list))
        .routes(routes!(agents::list, agents::make))
        .routes(routes!(agents::show, agents::change, agents::remove))
        .routes(routes!(projects::list, projects::create))
        .routes(routes!(projects::show, projects::change, projects::remove))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::show))
        .routes(routes!(tokens::rotate))
        .routes(routes!(tokens::revoke))
        .routes(routes!(feed::list))
        .routes(routes!(stats::show))
        .routes(routes!(queues::list))
        .routes(routes!(queues::pause))
        .routes(routes!(queues::resume))
        .routes(routes!(runners::list))
        .routes(routes!(runners::drain))
        .routes(routes!(receive::receive))
        .routes(routes!(hooks::create, hooks::list))
        .routes(routes!(hooks::show, hooks::change, hooks::delete))
        .routes(routes!(hooks::rotate))
        .routes(routes!(hook_deliveries::list))
        .routes(routes!(deliveries::list))
        .routes(routes!(deliveries::show))
        .routes(routes!(deliveries::redeliver))
        .routes(routes!(callback_secrets::list, callback_secrets::replace))
        .routes(routes!(health::summary))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(metrics::scrape))
        .routes(routes!(docs::openapi))
}

/// The whole API as a service.
pub fn router(api: Api) -> Router {
    let routes = Router::from(routes())
        .merge(docs::pages())
        // The same with the slashes of an artifact's path as they are, which no document can describe.
        .route(
            "/api/v1/jobs/{id}/artifacts/{first}/{*rest}",
            get(artifacts::read),
        )
        .fallback(nowhere)
        .method_not_allowed_fallback(problem::method_not_allowed);
    layers::around(routes, api)
}

async fn nowhere(method: Method, uri: Uri) -> Response {
    // Whoever asks what the whole server takes.
    if method == Method::OPTIONS && uri.path() == "*" {
        return StatusCode::NO_CONTENT.into_response();
    }
    Problem::new(
        Kind::NotFound,
        "there is nothing at this path; /docs lists what there is",
    )
    .into_response()
}
