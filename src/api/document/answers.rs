//! What every operation can answer beside success, and the headers every one of its kind takes.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::Value;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::path::{HttpMethod, Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Required};

use super::super::idempotency;
use super::super::problem::{self, Kind, MEDIA_TYPE};

/// Where an operation names the problems that only it has, by their codes; not part of the document.
const OWN: &str = "x-problems";

/// Adds the problems that follow from what an operation takes: the extractors that refuse are the
/// ones its parts stand for, so no handler repeats them and none forgets them. `reach` is whether it
/// asks for every project, of one that needs a token.
pub(super) fn complete(path: &str, method: &HttpMethod, operation: &mut Operation, reach: Option<bool>) {
    let secured = reach.is_some();
    let mut kinds = own(operation);
    kinds.push(Kind::Internal);
    let is_open = operation.tags.iter().flatten().any(|tag| tag == "health");
    if !is_open {
        kinds.extend([Kind::TooManyRequests, Kind::Overloaded, Kind::DatabaseUnavailable]);
    }
    if secured {
        kinds.extend([Kind::Unauthenticated, Kind::MissingScope]);
    }
    if reach == Some(true) {
        kinds.push(Kind::ProjectForbidden);
    }
    if operation.request_body.is_some() {
        kinds.extend([
            Kind::RequestTimeout,
            Kind::BodyTooLarge,
            Kind::UnsupportedMediaType,
            Kind::InvalidBody,
        ]);
    }
    if *method == HttpMethod::Post && secured {
        kinds.extend([
            Kind::RequestTimeout,
            Kind::BodyTooLarge,
            Kind::Conflict,
            Kind::IdempotencyKeyReused,
        ]);
        if idempotency::is_kept(path) && !takes_key(operation) {
            operation.parameters.get_or_insert_default().push(key().into());
        }
    }
    for parameter in operation.parameters.iter().flatten() {
        if let RefOr::T(parameter) = parameter {
            kinds.push(match parameter.parameter_in {
                ParameterIn::Path => Kind::NotFound,
                _ => Kind::InvalidParameter,
            });
            if parameter.name == "If-Match" {
                kinds.push(Kind::PreconditionFailed);
            }
        }
    }
    let answers = &mut operation.responses.responses;
    answers.insert("400".to_owned(), RefOr::T(no_request()));
    for (status, kinds) in by_status(kinds) {
        answers
            .entry(status.as_str().to_owned())
            .or_insert_with(|| RefOr::T(answer(status, &kinds)));
    }
}

/// Whether the operation says itself what the key does.
fn takes_key(operation: &Operation) -> bool {
    operation
        .parameters
        .iter()
        .flatten()
        .any(|parameter| matches!(parameter, RefOr::T(parameter) if parameter.name == "Idempotency-Key"))
}

fn own(operation: &mut Operation) -> Vec<Kind> {
    let named = operation
        .extensions
        .as_mut()
        .and_then(|extensions| extensions.remove(OWN));
    let codes = named.as_ref().and_then(Value::as_array).into_iter().flatten();
    codes.filter_map(|code| code.as_str()?.parse().ok()).collect()
}

/// The key that every POST takes.
fn key() -> Parameter {
    let text = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(255));
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "A repeat under the same key within a day does nothing and is answered like the first.",
        ))
        .schema(Some(text))
        .example(Some("try-4711".into()))
        .build()
}

/// What is no HTTP at all is refused before any route is looked for.
fn no_request() -> Response {
    Response::new("The bytes are no HTTP request. The answer has no body, and the connection is closed.")
}

fn by_status(mut kinds: Vec<Kind>) -> BTreeMap<StatusCode, Vec<Kind>> {
    kinds.sort();
    kinds.dedup();
    let mut grouped = BTreeMap::<_, Vec<_>>::new();
    for kind in kinds {
        grouped.entry(kind.status()).or_default().push(kind);
    }
    grouped
}

fn answer(status: StatusCode, kinds: &[Kind]) -> Response {
    let titles: Vec<_> = kinds.iter().map(|kind| kind.title()).collect();
    let examples = kinds.iter().map(|kind| {
        let example = ExampleBuilder::new()
            .summary(kind.title())
            .value(Some(problem::Shape::example(*kind)));
        (kind.code(), example)
    });
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .examples_from_iter(examples)
        .build();
    let answer = ResponseBuilder::new()
        .description(titles.join(". "))
        .content(MEDIA_TYPE, content);
    headers(status)
        .fold(answer, |answer, (name, header)| answer.header(name, header))
        .build()
}

fn headers(status: StatusCode) -> impl Iterator<Item = (&'static str, utoipa::openapi::Header)> {
    use utoipa::openapi::{HeaderBuilder, ObjectBuilder, schema::Type};
    let header = match status {
        StatusCode::UNAUTHORIZED => Some(("WWW-Authenticate", "What kind of token is needed")),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            Some(("Retry-After", "Seconds after which to try again"))
        }
        _ => None,
    };
    header.into_iter().map(|(name, description)| {
        let text = ObjectBuilder::new().schema_type(Type::String);
        let header = HeaderBuilder::new()
            .schema(Some(text))
            .description(Some(description))
            .build();
        (name, header)
    })
}
