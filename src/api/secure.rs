//! Headers that keep browsers from doing more with an answer than reading it.

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;

/// Nothing loads, nothing frames: right for JSON and text.
const STRICT: &str = "default-src 'none'; frame-ancestors 'none'";

/// Adds what every answer carries, without replacing what a handler chose for itself.
pub(super) fn headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, STRICT),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CACHE_CONTROL, "no-store"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
