//! Pages of other origins: none may call this API unless the operator names them.

use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, Method, header};
use axum::middleware::{Next, from_fn};
use tower::ServiceExt as _;
use tower_http::cors::{Any, CorsLayer};

use super::settings::Cors;

/// Lets the named origins in. Requests without an `Origin` never meet the layer, which would answer
/// every OPTIONS as if a browser had asked.
pub(super) fn open(router: Router, cors: &Cors) -> Router {
    let layer = match cors {
        Cors::Off => return router,
        Cors::Origins(origins) => layer().allow_origin(origins.clone()),
        Cors::Any => layer().allow_origin(Any),
    };
    let crossed = router.clone().layer(layer);
    router.layer(from_fn(move |request: Request, next: Next| {
        let crossed = crossed.clone();
        async move {
            if !request.headers().contains_key(header::ORIGIN) {
                return next.run(request).await;
            }
            match crossed.oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        }
    }))
}

fn layer() -> CorsLayer {
    let sent = [
        header::AUTHORIZATION,
        header::CONTENT_TYPE,
        header::ACCEPT,
        header::IF_MATCH,
        HeaderName::from_static("idempotency-key"),
        HeaderName::from_static("last-event-id"),
        HeaderName::from_static("x-request-id"),
    ];
    let read = [
        header::ETAG,
        header::LINK,
        header::LOCATION,
        header::RETRY_AFTER,
        header::WWW_AUTHENTICATE,
        HeaderName::from_static("x-request-id"),
        HeaderName::from_static("ratelimit"),
        HeaderName::from_static("ratelimit-policy"),
        HeaderName::from_static("idempotency-replayed"),
    ];
    let methods = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
    ];
    CorsLayer::new()
        .allow_methods(methods)
        .allow_headers(sent)
        .expose_headers(read)
        .max_age(Duration::from_secs(600))
}
