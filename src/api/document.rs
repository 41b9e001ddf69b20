//! The OpenAPI document: its frame, and the problems every operation can answer.

mod answers;
mod callback;
mod examples;
mod items;
mod parameters;

use std::collections::BTreeMap;

use utoipa::OpenApi as _;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::path::{HttpMethod, Operation};
use utoipa::openapi::schema::ArrayItems;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{OpenApi, PathItem, Ref, RefOr, Schema};

use super::problem;
use crate::domain::result::{JobResult, StepResult};
use answers::complete;

const NO_SCOPES: [&str; 0] = [];

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "orchestrator",
        description = "A workflow service: jobs come in by webhook, API or schedule, runners run them, and everything that happened can be read back.\n\nEvery error is `application/problem+json` (RFC 9457) with a stable `code` and a `request_id`. Send your own `X-Request-Id` to find a request again in the log. Lists are read a page at a time: follow the `Link` header or pass `next_cursor` as `cursor`.\n\nEvery POST takes an `Idempotency-Key`: a repeat within a day does nothing and is answered like the first. What can be changed has an `ETag`; send it as `If-Match` to change only what you have seen. `RateLimit` and `RateLimit-Policy` say what a token and a client have left.",
        contact(name = "The operator of this server"),
        license(name = "MIT", identifier = "MIT"),
    ),
    servers((url = "/", description = "This server")),
    tags(
        (name = "webhook", description = "The predecessor's entrance, kept as it was."),
        (name = "jobs", description = "Jobs: put in, listed, followed."),
        (name = "schedules", description = "Schedules: when jobs are made, and what was decided."),
        (name = "projects", description = "Aliases of source directories, and what holds for their jobs."),
        (name = "tokens", description = "Who may do what: made, rotated, revoked."),
        (name = "events", description = "What happened, listed and followed live."),
        (name = "operations", description = "Queues and runners: looked at, paused, drained."),
        (name = "agents", description = "Agents: programs that are asked in words, and how."),
        (name = "hooks", description = "Events that come in from other services, and callbacks that go out to them."),
        (name = "health", description = "For probes, scrapers and tools. No token is needed."),
    ),
    components(schemas(problem::Shape, callback::Callback, JobResult, StepResult)),
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
    if let Some(components) = &mut document.components {
        refer_to_rows(&mut components.schemas);
        components.schemas.values_mut().for_each(parameters::untype);
        items::complete(&mut components.schemas);
    }
    let schemas = examples::components(document.components.as_ref());
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            let scope = needed_scope(operation);
            complete(
                path,
                &method,
                operation,
                scope.as_ref().map(|(_, every_project)| *every_project),
            );
            if let Some(scope) = scope {
                say_scope(operation, scope);
            }
            examples::complete(operation, &schemas);
            parameters::complete(operation);
        }
    }
    document.webhooks = Some(callback::webhooks());
    document
}

/// The scope an operation names in its `security`, and whether it asks for every project (`*`).
fn needed_scope(operation: &Operation) -> Option<(String, bool)> {
    let needs = serde_json::to_value(operation.security.as_ref()?).ok()?;
    let needs = &needs[0]["bearer"];
    Some((needs[0].as_str()?.to_owned(), needs[1] == "*"))
}

/// Scopes of plain bearer tokens are new in 3.1 and many tools refuse them: they read it in the
/// description, and programs in `x-scope`. One extension only: utoipa writes several in any order.
fn say_scope(operation: &mut Operation, (scope, every_project): (String, bool)) {
    operation.security = Some(vec![SecurityRequirement::new("bearer", NO_SCOPES)]);
    let reach = if every_project { " and every project" } else { "" };
    let description = operation.description.get_or_insert_default();
    description.push_str(&format!("\n\nNeeds a token with the scope `{scope}`{reach}."));
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
