//! The OpenAPI document, and Swagger UI to explore it with. Nothing is loaded from elsewhere.

use std::sync::LazyLock;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::map_response;
use axum::response::Response;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::{Api, document};

/// Swagger UI styles elements by hand and draws small pictures from `data:`; everything else is its
/// own files, and it calls only this API.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    // The document is made of strings and maps with string keys: nothing in it can fail to become JSON.
    document().to_pretty_json().unwrap_or_default()
});

/// Read this document
///
/// The OpenAPI 3.1 document that describes this API.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "readDocument",
    tag = "health",
    responses((status = 200, description = "The document", body = Object)),
    security(()),
)]
pub(super) async fn openapi() -> ([(HeaderName, &'static str); 1], &'static str) {
    ([(header::CONTENT_TYPE, "application/json")], &DOCUMENT)
}

/// Swagger UI at `/docs`. It finds the document relative to itself, so a proxy may add a prefix.
pub(super) fn pages() -> Router<Api> {
    let config = Config::from("../openapi.json")
        .persist_authorization(true)
        .display_operation_id(true)
        .try_it_out_enabled(true)
        // The default sends the document to a validator on the Internet.
        .validator_url("none");
    Router::from(SwaggerUi::new("/docs").config(config)).layer(map_response(policy))
}

async fn policy(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}
