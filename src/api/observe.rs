//! What is seen of a request: its id, its span, its line in the log, its time in the metrics.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, Method};
use axum::response::Response;
use tracing::{Instrument as _, Span, field};
use uuid::Uuid;

use super::problem;
use crate::domain::trace::TraceParent;
use crate::telemetry::trace;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id a caller may give its request.
const LONGEST: usize = 128;

/// Names, times, logs and counts a request. The query and the headers are not looked at: a token
/// in either reaches no log.
pub(super) async fn observe<Answer>(mut request: Request, next: impl FnOnce(Request) -> Answer) -> Response
where
    Answer: Future<Output = Response>,
{
    let begun = Instant::now();
    let id = request_id(&request);
    // The pattern, not the path: bounded, and it holds no identifier.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());
    let method = known(request.method());
    if let Ok(value) = HeaderValue::from_str(&id) {
        request.headers_mut().insert(REQUEST_ID, value);
    }
    let span = match is_probe(&route) {
        true => tracing::debug_span!("probe", request_id = %id, http.method = method, http.route = route),
        false => tracing::info_span!(
            "request",
            otel.name = format!("{method} {route}"),
            otel.kind = "server",
            otel.status_code = field::Empty,
            request_id = %id,
            http.method = method,
            http.route = route,
            http.response.status_code = field::Empty,
            caller = field::Empty,
            trace_id = field::Empty,
        ),
    };
    if let Some(place) = trace::within(&span, parent(&request)) {
        request.extensions_mut().insert(place);
    }
    async {
        let mut response = problem::write(next(request).await, &id);
        if let Ok(value) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        let status = response.status().as_u16();
        let span = Span::current();
        span.record("http.response.status_code", status);
        if status >= 500 {
            span.record("otel.status_code", "ERROR");
        }
        record(method, route, status, begun);
        response
    }
    .instrument(span)
    .await
}

fn record(method: &'static str, route: String, status: u16, begun: Instant) {
    let elapsed = begun.elapsed();
    let is_probe = is_probe(&route);
    metrics::histogram!(
        "orchestrator_http_request_duration_seconds",
        "method" => method, "route" => route, "status" => status.to_string(),
    )
    .record(elapsed);
    let duration_ms = elapsed.as_secs_f64() * 1000.0;
    if is_probe && status < 400 {
        tracing::debug!(http.status = status, duration_ms, "answered");
    } else {
        tracing::info!(http.status = status, duration_ms, "answered");
    }
}

/// Probes and scrapes come every few seconds, say nothing while they are well, and are in nobody's trace.
fn is_probe(route: &str) -> bool {
    route.starts_with("/health") || route == "/metrics"
}

/// The trace the caller asks in. A header that is none, or that is there twice, is as good as none: a trace is no
/// reason to refuse a request.
fn parent(request: &Request) -> Option<TraceParent> {
    let mut values = request.headers().get_all(TraceParent::HEADER).iter();
    let (value, again) = (values.next()?, values.next());
    value.to_str().ok().filter(|_| again.is_none())?.parse().ok()
}

/// The caller's own id when it is short and plain, or a new one.
fn request_id(request: &Request) -> String {
    request
        .headers()
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|id| is_sane(id))
        .map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

fn is_sane(id: &str) -> bool {
    (1..=LONGEST).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(&byte))
}

/// Methods are the caller's free text; only known ones become labels.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_that_could_forge_a_log_line_is_not_taken() {
        assert!(is_sane("01934f5a-7e1c"));
        for bad in ["", "a b", "a\"b", "é", &"x".repeat(129)] {
            assert!(!is_sane(bad), "{bad:?}");
        }
    }
}
