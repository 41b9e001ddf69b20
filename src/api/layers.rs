//! What a request passes on its way to a handler, and its answer on the way back.
//!
//! From the outside in: what is seen and counted, headers, pages of other origins, compression, whether the request is
//! taken in, a handler that panicked, a body nobody read, a request that was answered before.
//!
//! Most of these are functions that call the next one and share a layer: Axum copies all that is below a layer for each
//! request that passes it, so a layer for each costs more than what they do.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use tower_http::compression::CompressionLayer;

use super::admission::{Admission, Streams};
use super::{Api, admission, cors, idempotency, linger, observe, problem, secure};
use crate::app::feed::Feed;

/// Puts them around the routes.
pub(super) fn around(routes: Router<Api>, api: Api) -> Router {
    let settings = api.settings.clone();
    let inside = Inside {
        admission: Admission::new(&settings),
        feed: Feed::new(api.pool.clone()),
        streams: Streams::new(&settings),
        api: api.clone(),
    };
    let router = routes
        .layer(from_fn_with_state(Arc::new(inside), inner))
        // Leaves streams of events as they are.
        .layer(CompressionLayer::new())
        .with_state(api);
    cors::open(router, &settings.cors).layer(from_fn(outer))
}

/// What the inner layer has, and hands on.
struct Inside {
    admission: Admission,
    feed: Feed,
    streams: Streams,
    api: Api,
}

async fn outer(request: Request, next: Next) -> Response {
    let next = |request| async move { secure::headers(next.run(request).await) };
    observe::observe(request, next).await
}

async fn inner(State(inside): State<Arc<Inside>>, request: Request, next: Next) -> Response {
    let next = |mut request: Request| {
        let extensions = request.extensions_mut();
        extensions.insert(inside.feed.clone());
        extensions.insert(inside.streams.clone());
        let once = |request| idempotency::once(inside.api.clone(), request, next);
        problem::contained(linger::linger(request, once))
    };
    admission::admit(&inside.admission, request, next).await
}
