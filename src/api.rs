//! HTTP: the webhook, the admin API, health, metrics, and the document that describes them.
//!
//! Every route is listed once, in [`routes`]; the router and the OpenAPI document are made from that
//! list. One file a resource holds its shapes, its documentation and its handlers together.

mod actions;
mod attempts;
mod auth;
mod batch;
mod docs;
mod document;
mod events;
mod extract;
mod health;
mod jobs;
mod linger;
mod logs;
mod metrics;
mod observe;
mod pagination;
mod predecessor;
mod problem;
mod queues;
mod runners;
mod secure;
mod serve;
mod steps;
mod webhook;

use axum::Router;
use axum::middleware::{from_fn, map_response};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use url::Url;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::hint::Hints;
use crate::store::Pool;
use problem::{Kind, Problem};

pub use document::document;
pub use serve::serve;

/// What operators may set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Largest request body, in bytes.
    pub max_body_bytes: usize,
    /// Where callers reach this API, for the links in answers. `None`: links are paths.
    pub public_url: Option<Url>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_body_bytes: 1024 * 1024,
            public_url: None,
        }
    }
}

impl Settings {
    /// A link callers can follow to `path`, which begins with a slash.
    fn link(&self, path: &str) -> String {
        match &self.public_url {
            Some(url) => format!("{}{path}", url.as_str().trim_end_matches('/')),
            None => path.to_owned(),
        }
    }
}

/// What every handler has. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Api {
    /// Connections to PostgreSQL.
    pub pool: Pool,
    /// Where to say that work has come.
    pub hints: Hints,
    /// What operators may set.
    pub settings: Settings,
    /// What renders this process's metrics.
    pub metrics: PrometheusHandle,
    /// When this is cancelled, streams that follow a job end; [`serve`] cancels it.
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
        .routes(routes!(steps::list))
        .routes(routes!(attempts::list))
        .routes(routes!(events::list))
        .routes(routes!(logs::read))
        .routes(routes!(queues::list))
        .routes(routes!(queues::pause))
        .routes(routes!(queues::resume))
        .routes(routes!(runners::list))
        .routes(routes!(runners::drain))
        .routes(routes!(health::summary))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(metrics::scrape))
        .routes(routes!(docs::openapi))
}

/// The whole API as a service.
///
/// The layers, from the outside in: what is seen and counted, headers, a handler that panicked, a
/// body nobody read.
pub fn router(api: Api) -> Router {
    Router::from(routes())
        .merge(docs::pages())
        .fallback(nowhere)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(from_fn(linger::linger))
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(map_response(secure::headers))
        .layer(from_fn(observe::observe))
        .with_state(api)
}

async fn nowhere() -> Problem {
    Problem::new(
        Kind::NotFound,
        "there is nothing at this path; /docs lists what there is",
    )
}
