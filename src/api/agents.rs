//! Agents: how programs that are asked in words are called, asked and understood.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::Api;
use super::auth::{Allowed, Host, Read};
use super::etag::{IfMatch, Tagged, changed};
use super::extract::{Json, PathText};
use super::pagination::Listing;
use super::problem::{Kind, Problem};
use crate::app::agents;
use crate::domain::agent::{self, Definition};
use crate::domain::problem::{Violation, read_json};
use crate::store;

/// Who a step may name as its agent.
#[derive(Serialize, ToSchema)]
pub(super) struct Agent {
    /// What steps call it.
    #[schema(example = "claude")]
    name: String,
    /// Whether this program does its work itself.
    kind: agent::Kind,
    /// How it is called, asked and understood. A built-in agent has only a description.
    #[schema(value_type = Object)]
    definition: Value,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<store::agent::Agent> for Agent {
    fn from(agent: store::agent::Agent) -> Self {
        Self {
            name: agent.name,
            kind: agent.kind,
            definition: agent.definition,
            created_at: agent.created_at,
            updated_at: agent.updated_at,
        }
    }
}

fn tagged(agent: store::agent::Agent) -> Tagged<Agent> {
    Tagged {
        version: agent.updated_at,
        body: agent.into(),
    }
}

/// An agent to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAgent {
    /// What steps will call it.
    #[schema(example = "aider", pattern = "^[0-9A-Za-z][0-9A-Za-z_-]{0,63}$")]
    name: String,
    definition: Definition,
}

impl From<agents::Error> for Problem {
    fn from(error: agents::Error) -> Self {
        match error {
            agents::Error::Unknown(_) => Self::new(Kind::NotFound, error.to_string()),
            agents::Error::BuiltIn(_) | agents::Error::Exists(_) => {
                Self::new(Kind::Conflict, error.to_string())
            }
            agents::Error::Stale(_) => changed(),
            agents::Error::Name(_) => Self::body(vec![Violation::new("name", error.to_string())]),
            agents::Error::Store(error) => error.into(),
        }
    }
}

/// List agents
///
/// Every agent a step may name, by name.
#[utoipa::path(
    get,
    path = "/api/v1/agents",
    operation_id = "listAgents",
    tag = "agents",
    responses((status = 200, description = "Every agent", body = Listing<Agent>)),
    security(("bearer" = ["read"])),
)]
pub(super) async fn list(
    State(api): State<Api>,
    Allowed { .. }: Allowed<Read>,
) -> Result<axum::Json<Listing<Agent>>, Problem> {
    let agents = store::agent::all(&api.pool).await?;
    Ok(axum::Json(Listing::whole(
        agents.into_iter().map(Agent::from).collect(),
    )))
}

/// Show an agent
///
/// How it is called, asked and understood. The `ETag` is its version.
#[utoipa::path(
    get,
    path = "/api/v1/agents/{name}",
    operation_id = "showAgent",
    tag = "agents",
    params(("name" = String, Path, description = "The agent", pattern = "^[0-9A-Za-z][0-9A-Za-z_-]{0,63}$", example = "aider")),
    responses((status = 200, description = "The agent", body = Agent, headers(("ETag" = String, description = "Its version")))),
    security(("bearer" = ["read"])),
)]
pub(super) async fn show(
    State(api): State<Api>,
    Allowed { .. }: Allowed<Read>,
    PathText(name): PathText,
) -> Result<Tagged<Agent>, Problem> {
    Ok(tagged(agents::find(&api.pool, &name).await?))
}

/// Make an agent
///
/// A step of any project may name it from now on; nothing has to be restarted.
#[utoipa::path(
    post,
    path = "/api/v1/agents",
    operation_id = "makeAgent",
    tag = "agents",
    request_body(content = NewAgent, description = "The agent", example = json!({
        "name": "poet",
        "definition": {"argv": ["poet", "--json"], "prompt": "stdin", "output": {"format": "json", "text": {"at": ["/poem"]}}},
    })),
    responses((status = 201, description = "The agent is there", body = Agent, headers(("ETag" = String, description = "Its version")))),
    extensions(("x-problems" = json!(["conflict"]))),
    security(("bearer" = ["admin", "*"])),
)]
pub(super) async fn make(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Host>,
    Json(body): Json,
) -> Result<Response, Problem> {
    let NewAgent { name, definition } = read_json(&body)?;
    let definition = definition
        .checked()
        .map_err(|violations| Problem::body(below("definition.", violations)))?;
    let made = agents::make(&api.pool, &caller, &name, &definition).await?;
    Ok((StatusCode::CREATED, tagged(made)).into_response())
}

/// Change an agent
///
/// The body is its whole new definition. With `If-Match` it is changed only if nobody else changed it meanwhile.
#[utoipa::path(
    put,
    path = "/api/v1/agents/{name}",
    operation_id = "changeAgent",
    tag = "agents",
    params(("name" = String, Path, description = "The agent", pattern = "^[0-9A-Za-z][0-9A-Za-z_-]{0,63}$", example = "aider"), IfMatch),
    request_body(content = Definition, description = "Its definition", example = json!(
        {"argv": ["poet", "--json"], "prompt": "stdin", "output": {"format": "json", "text": {"at": ["/poem"]}}}
    )),
    responses((status = 200, description = "The agent is changed", body = Agent, headers(("ETag" = String, description = "Its version")))),
    extensions(("x-problems" = json!(["conflict", "precondition_failed"]))),
    security(("bearer" = ["admin", "*"])),
)]
pub(super) async fn change(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Host>,
    PathText(name): PathText,
    seen: IfMatch,
    Json(body): Json,
) -> Result<Tagged<Agent>, Problem> {
    let definition = Definition::read(&body).map_err(Problem::body)?;
    let found = agents::find(&api.pool, &name).await?;
    seen.admits(found.updated_at)?;
    let version = Some(found.updated_at);
    let now = agents::change(&api.pool, &caller, &name, &definition, version).await?;
    Ok(tagged(now))
}

/// Remove an agent
///
/// A job that names it fails when it comes to that step.
#[utoipa::path(
    delete,
    path = "/api/v1/agents/{name}",
    operation_id = "removeAgent",
    tag = "agents",
    params(("name" = String, Path, description = "The agent", pattern = "^[0-9A-Za-z][0-9A-Za-z_-]{0,63}$", example = "aider"), IfMatch),
    responses((status = 200, description = "The agent as it was", body = Agent)),
    extensions(("x-problems" = json!(["conflict", "precondition_failed"]))),
    security(("bearer" = ["admin", "*"])),
)]
pub(super) async fn remove(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Host>,
    PathText(name): PathText,
    seen: IfMatch,
) -> Result<axum::Json<Agent>, Problem> {
    let found = agents::find(&api.pool, &name).await?;
    seen.admits(found.updated_at)?;
    agents::remove(&api.pool, &caller, &name, Some(found.updated_at)).await?;
    Ok(axum::Json(found.into()))
}

fn below(place: &str, violations: Vec<Violation>) -> Vec<Violation> {
    let moved = violations.into_iter().map(|violation| Violation {
        path: format!("{place}{}", violation.path),
        ..violation
    });
    moved.collect()
}
