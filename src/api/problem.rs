//! Everything that can be answered but success, as RFC 9457 `application/problem+json`.
//!
//! A handler answers with a [`Problem`]; [`write`] gives it its body once the request id is known,
//! so that no answer leaves without one. The catalogue of kinds is also what the document shows.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use axum::body::Body;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use serde::Serialize;
use strum::{EnumIter, EnumString, IntoStaticStr};
use utoipa::ToSchema;

use crate::domain::problem::Violation;
use crate::store;

/// The media type of every problem.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// What kind of problem: its code is stable, and so is its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, EnumIter, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Kind {
    Unauthenticated,
    InvalidSignature,
    MissingScope,
    ProjectForbidden,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    Conflict,
    WrongState,
    AlreadyExists,
    PreconditionFailed,
    BodyTooLarge,
    RangeNotSatisfiable,
    UnsupportedMediaType,
    InvalidBody,
    InvalidParameter,
    IdempotencyKeyReused,
    HookFailed,
    TooManyRequests,
    Internal,
    DatabaseUnavailable,
    Overloaded,
    HookPaused,
    NoSecretsKey,
    NotReady,
}

impl Kind {
    /// The stable word for it.
    pub(super) fn code(self) -> &'static str {
        self.into()
    }

    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Unauthenticated | Self::InvalidSignature => StatusCode::UNAUTHORIZED,
            Self::MissingScope | Self::ProjectForbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Conflict | Self::WrongState | Self::AlreadyExists => StatusCode::CONFLICT,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::RangeNotSatisfiable => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::InvalidBody | Self::InvalidParameter | Self::IdempotencyKeyReused | Self::HookFailed => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::DatabaseUnavailable
            | Self::Overloaded
            | Self::HookPaused
            | Self::NoSecretsKey
            | Self::NotReady => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Unauthenticated => "A valid token is needed",
            Self::InvalidSignature => "The signature is not good",
            Self::MissingScope => "The token lacks a scope",
            Self::ProjectForbidden => "The token does not reach the project",
            Self::NotFound => "Not found",
            Self::MethodNotAllowed => "This method is not allowed here",
            Self::RequestTimeout => "The request did not arrive in time",
            Self::Conflict => "Something else happened at the same time",
            Self::WrongState => "It is in a state in which this cannot be done",
            Self::AlreadyExists => "Something of this name is there already",
            Self::PreconditionFailed => "It was changed meanwhile",
            Self::BodyTooLarge => "The body is too large",
            Self::RangeNotSatisfiable => "The range is not there",
            Self::UnsupportedMediaType => "The body has the wrong media type",
            Self::InvalidBody => "The body is not valid",
            Self::InvalidParameter => "A parameter is not valid",
            Self::IdempotencyKeyReused => "The idempotency key belongs to another request",
            Self::HookFailed => "No job could be made of the event",
            Self::TooManyRequests => "Too many requests",
            Self::Internal => "Something went wrong here",
            Self::DatabaseUnavailable => "The database is not available",
            Self::Overloaded => "Too many requests are being answered",
            Self::HookPaused => "The hook is paused",
            Self::NoSecretsKey => "This server keeps no secrets",
            Self::NotReady => "The service is not ready",
        }
    }

    /// The kind's name; relative, so that it holds behind any proxy.
    pub(super) fn uri(self) -> String {
        format!("/problems/{}", self.code().replace('_', "-"))
    }
}

impl Problem {
    /// Whether it was found before anything was done, although it is the server's.
    pub(super) fn has_changed_nothing(&self) -> bool {
        matches!(self.kind, Kind::NoSecretsKey | Kind::Overloaded | Kind::NotReady)
    }
}

/// A problem on its way out.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    kind: Kind,
    detail: String,
    errors: Vec<Violation>,
    // Boxed, so that the error of every fallible function here stays small.
    header: Option<Box<(header::HeaderName, HeaderValue)>>,
}

impl Problem {
    pub(super) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            header: None,
        }
    }

    /// What is wrong with the body.
    pub(super) fn body(errors: Vec<Violation>) -> Self {
        Self::listing(Kind::InvalidBody, errors)
    }

    /// What is wrong with one parameter of the query or one header.
    pub(super) fn parameter(name: &str, message: impl Into<String>) -> Self {
        Self::listing(Kind::InvalidParameter, vec![Violation::new(name, message)])
    }

    /// What is wrong, a sentence each.
    pub(super) fn listing(kind: Kind, errors: Vec<Violation>) -> Self {
        let detail = match errors.as_slice() {
            [only] => only.to_string(),
            several => format!("{} things are wrong; see `errors`", several.len()),
        };
        Self {
            errors,
            ..Self::new(kind, detail)
        }
    }

    pub(super) fn with_header(mut self, name: header::HeaderName, value: &str) -> Self {
        self.header = HeaderValue::from_str(value)
            .ok()
            .map(|value| Box::new((name, value)));
        self
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.detail)
    }
}

impl From<Violation> for Problem {
    fn from(violation: Violation) -> Self {
        Self::body(vec![violation])
    }
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        Self::from(&error)
    }
}

impl From<&store::Error> for Problem {
    fn from(error: &store::Error) -> Self {
        if error.is_unavailable() {
            tracing::warn!(error = %error, "the database did not answer a request");
            return Self::new(
                Kind::DatabaseUnavailable,
                "nothing was changed that was not answered for; send the request again shortly",
            )
            .with_header(header::RETRY_AFTER, "2");
        }
        tracing::error!(error = %error, "the database refused a statement");
        Self::internal()
    }
}

impl Problem {
    /// The cause is in the log, under the request id, and not in the answer.
    pub(super) fn internal() -> Self {
        Self::new(
            Kind::Internal,
            "the cause is in the server's log under this request id; report it to the operator",
        )
    }
}

impl IntoResponse for Problem {
    /// An answer without a body yet; [`write`] adds it.
    fn into_response(self) -> Response {
        let mut response = self.kind.status().into_response();
        if let Some((name, value)) = self.header.as_deref() {
            response.headers_mut().insert(name, value.clone());
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// What went wrong (RFC 9457). `code` is stable and meant for programs, `detail` for people.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct Shape {
    /// Names the kind of problem; it is a name, and nothing is there to be opened.
    #[serde(rename = "type")]
    #[schema(format = "uri-reference", example = "/problems/invalid-body")]
    kind: String,
    /// The kind of problem, for a person.
    #[schema(example = "The body is not valid")]
    title: &'static str,
    /// The HTTP status again.
    #[schema(minimum = 400, maximum = 599, example = 422)]
    status: u16,
    /// The kind of problem, for a program.
    #[schema(example = "invalid_body")]
    code: &'static str,
    /// What is wrong this time, and what to do.
    #[schema(example = "steps[0].argv: must not be empty")]
    detail: String,
    /// Each thing that is wrong with the request, with the path of its field or parameter.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Violation>,
    /// Identifies the request in the server's log.
    #[schema(example = "01934f5a-7e1c-7c3a-9b1e-5f8d2a6c4e10")]
    request_id: String,
}

impl Shape {
    fn of(problem: Problem, request_id: &str) -> Self {
        Self {
            kind: problem.kind.uri(),
            title: problem.kind.title(),
            status: problem.kind.status().as_u16(),
            code: problem.kind.code(),
            detail: problem.detail,
            errors: problem.errors,
            request_id: request_id.to_owned(),
        }
    }

    /// How the kind looks in the document.
    pub(super) fn example(kind: Kind) -> serde_json::Value {
        let problem = match kind {
            Kind::InvalidBody => Problem::body(vec![Violation::new("steps[0].argv", "must not be empty")]),
            Kind::InvalidParameter => Problem::parameter("limit", "is 0; allowed are 1 to 500"),
            other => Problem::new(other, other.title()),
        };
        serde_json::to_value(Self::of(problem, "01934f5a-7e1c-7c3a-9b1e-5f8d2a6c4e10")).unwrap_or_default()
    }
}

/// Gives a problem its body; leaves every other answer as it is.
pub(super) fn write(mut response: Response, request_id: &str) -> Response {
    let Some(problem) = response.extensions_mut().remove::<Problem>() else {
        return response;
    };
    // Strings and numbers: nothing here can fail to become JSON.
    let json = serde_json::to_vec(&Shape::of(problem, request_id)).unwrap_or_default();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    headers.remove(header::CONTENT_LENGTH);
    *response.body_mut() = Body::from(json);
    response
}

/// The path exists, the method does not. Axum adds `Allow`, which is all that `OPTIONS` asks for.
pub(super) async fn method_not_allowed(method: Method) -> Response {
    if method == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    Problem::new(
        Kind::MethodNotAllowed,
        format!("{method} is not allowed here; the Allow header names what is"),
    )
    .into_response()
}

/// A handler's answer; where it panics, the request is answered all the same.
pub(super) async fn contained(handled: impl Future<Output = Response>) -> Response {
    let came = AssertUnwindSafe(handled).catch_unwind().await;
    came.unwrap_or_else(|panic| panicked(&*panic))
}

fn panicked(panic: &(dyn Any + Send)) -> Response {
    let said = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    tracing::error!(panic = said, "a handler panicked");
    Problem::internal().into_response()
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::middleware::{Next, from_fn};
    use axum::routing::get;
    use serde_json::Value;
    use strum::IntoEnumIterator as _;
    use tower::ServiceExt as _;

    use super::*;
    use crate::api::observe::observe;

    #[tokio::test]
    async fn a_panic_is_a_500_that_says_nothing_of_the_cause() {
        let router: Router = Router::new()
            .route("/", get(async || -> () { panic!("a secret") }))
            .layer(from_fn(async |request, next: Next| {
                observe(request, |request| contained(next.run(request))).await
            }));
        let request = axum::extract::Request::new(Body::empty());
        let answer = router.oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(answer.headers()[header::CONTENT_TYPE], MEDIA_TYPE);
        let body = axum::body::to_bytes(answer.into_body(), 10_000).await.unwrap();
        let problem: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem["code"], "internal");
        assert!(problem["request_id"].is_string());
        assert!(!String::from_utf8_lossy(&body).contains("a secret"));
    }

    #[test]
    fn codes_and_addresses_of_problems_are_what_programs_match() {
        let all: Vec<_> = Kind::iter()
            .map(|kind| format!("{} {} {}", kind.status().as_u16(), kind.code(), kind.uri()))
            .collect();
        insta::assert_snapshot!(all.join("\n"), @r"
        401 unauthenticated /problems/unauthenticated
        401 invalid_signature /problems/invalid-signature
        403 missing_scope /problems/missing-scope
        403 project_forbidden /problems/project-forbidden
        404 not_found /problems/not-found
        405 method_not_allowed /problems/method-not-allowed
        408 request_timeout /problems/request-timeout
        409 conflict /problems/conflict
        409 wrong_state /problems/wrong-state
        409 already_exists /problems/already-exists
        412 precondition_failed /problems/precondition-failed
        413 body_too_large /problems/body-too-large
        416 range_not_satisfiable /problems/range-not-satisfiable
        415 unsupported_media_type /problems/unsupported-media-type
        422 invalid_body /problems/invalid-body
        422 invalid_parameter /problems/invalid-parameter
        422 idempotency_key_reused /problems/idempotency-key-reused
        422 hook_failed /problems/hook-failed
        429 too_many_requests /problems/too-many-requests
        500 internal /problems/internal
        503 database_unavailable /problems/database-unavailable
        503 overloaded /problems/overloaded
        503 hook_paused /problems/hook-paused
        503 no_secrets_key /problems/no-secrets-key
        503 not_ready /problems/not-ready
        ");
    }
}
