//! The OpenAPI document: its frame, and the problems every operation can answer.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use utoipa::OpenApi as _;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::path::{HttpMethod, Operation, ParameterIn};
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::ArrayItems;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, PathItem, Ref, RefOr, Schema};

use super::problem::{self, Kind, MEDIA_TYPE};

const NO_SCOPES: [&str; 0] = [];

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "orchestrator",
        description = "A workflow service: jobs come in by webhook, API or schedule, runners run them, and everything that happened can be read back.\n\nEvery error is `application/problem+json` (RFC 9457) with a stable `code` and a `request_id`. Send your own `X-Request-Id` to find a request again in the log. Lists are read a page at a time: follow the `Link` header or pass `next_cursor` as `cursor`.",
        contact(name = "The operator of this server"),
        license(name = "MIT", identifier = "MIT"),
    ),
    servers((url = "/", description = "This server")),
    tags(
        (name = "webhook", description = "The predecessor's entrance, kept as it was."),
        (name = "jobs", description = "Jobs: put in, listed, followed."),
        (name = "operations", description = "Queues and runners: looked at, paused, drained."),
        (name = "health", description = "For probes, scrapers and tools. No token is needed."),
    ),
    components(schemas(problem::Shape)),
)]
struct Frame;

/// What the document holds before any route is added.
pub(super) fn frame() -> OpenApi {
    let mut frame = Frame::openapi();
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "A token with the scopes an operation asks for: `submit`, `read`, `operate`, or `admin`, which covers all.",
        ))
        .build();
    frame
        .components
        .get_or_insert_default()
        .add_security_scheme("bearer", SecurityScheme::Http(bearer));
    frame
}

/// The document of every route this program serves.
#[must_use]
pub fn document() -> OpenApi {
    let mut document = super::routes().into_openapi();
    for item in document.paths.paths.values_mut() {
        for (method, operation) in operations(item) {
            let scope = needed_scope(operation);
            complete(&method, operation, scope.is_some());
            if let Some(scope) = scope {
                say_scope(operation, &scope);
            }
        }
    }
    if let Some(components) = &mut document.components {
        refer_to_rows(&mut components.schemas);
    }
    document
}

/// The scope an operation names in its `security`.
fn needed_scope(operation: &Operation) -> Option<String> {
    let needs = serde_json::to_value(operation.security.as_ref()?).ok()?;
    needs[0]["bearer"][0].as_str().map(str::to_owned)
}

/// Scopes of plain bearer tokens are new in 3.1 and many tools refuse them: they read it in the
/// description, and programs in `x-scope`.
fn say_scope(operation: &mut Operation, scope: &str) {
    operation.security = Some(vec![SecurityRequirement::new("bearer", NO_SCOPES)]);
    let description = operation.description.get_or_insert_default();
    description.push_str(&format!("\n\nNeeds a token with the scope `{scope}`."));
    let extension = ExtensionsBuilder::new().add("x-scope", scope).build();
    operation.extensions.get_or_insert_default().merge(extension);
}

/// utoipa writes the rows of a page out in place; clients are to get them as the type they are.
fn refer_to_rows(schemas: &mut BTreeMap<String, RefOr<Schema>>) {
    for (name, schema) in schemas {
        let Some(row) = name.strip_prefix("Listing_") else {
            continue;
        };
        if let RefOr::T(Schema::Object(page)) = schema
            && let Some(RefOr::T(Schema::Array(items))) = page.properties.get_mut("items")
        {
            items.items = ArrayItems::from(Ref::from_schema_name(row));
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (HttpMethod, &mut Operation)> {
    [
        (HttpMethod::Get, &mut item.get),
        (HttpMethod::Post, &mut item.post),
        (HttpMethod::Put, &mut item.put),
        (HttpMethod::Patch, &mut item.patch),
        (HttpMethod::Delete, &mut item.delete),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// Adds the problems that follow from what an operation takes: the extractors that refuse are the
/// ones its parts stand for, so no handler repeats them and none forgets them.
fn complete(method: &HttpMethod, operation: &mut Operation, secured: bool) {
    let mut kinds = vec![Kind::Internal];
    if secured {
        kinds.extend([
            Kind::Unauthenticated,
            Kind::MissingScope,
            Kind::DatabaseUnavailable,
        ]);
    }
    if operation.request_body.is_some() {
        kinds.extend([
            Kind::RequestTimeout,
            Kind::BodyTooLarge,
            Kind::UnsupportedMediaType,
            Kind::InvalidBody,
        ]);
    }
    if *method == HttpMethod::Post && operation.request_body.is_some() {
        kinds.extend([Kind::ProjectForbidden, Kind::Conflict, Kind::IdempotencyKeyReused]);
    }
    if operation
        .operation_id
        .as_deref()
        .is_some_and(|id| matches!(id, "cancelJob" | "retryJob"))
    {
        kinds.push(Kind::WrongState);
    }
    for parameter in operation.parameters.iter().flatten() {
        if let RefOr::T(parameter) = parameter {
            kinds.push(match parameter.parameter_in {
                ParameterIn::Path => Kind::NotFound,
                _ => Kind::InvalidParameter,
            });
        }
    }
    if operation
        .operation_id
        .as_deref()
        .is_some_and(|id| matches!(id, "checkHealth" | "checkReadiness"))
    {
        kinds.push(Kind::NotReady);
    }
    let answers = &mut operation.responses.responses;
    answers.insert("400".to_owned(), RefOr::T(no_request()));
    for (status, kinds) in by_status(kinds) {
        answers
            .entry(status.as_str().to_owned())
            .or_insert_with(|| RefOr::T(answer(status, &kinds)));
    }
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
        StatusCode::SERVICE_UNAVAILABLE => Some(("Retry-After", "Seconds after which to try again")),
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
