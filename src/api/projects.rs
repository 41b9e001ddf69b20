//! Projects: listed, made, shown, changed, removed.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::auth::{Allowed, Host, Read};
use super::etag::{IfMatch, Tagged, changed};
use super::extract::{Json, PathText};
use super::pagination::{Asked, Listing, Pages};
use super::problem::{Kind, Problem};
use crate::app::projects;
use crate::domain::policy::Policy;
use crate::domain::project::{NewProject, ProjectChange};
use crate::store;

/// An alias for a source directory, with what holds for its jobs.
#[derive(Serialize, ToSchema)]
pub(super) struct Project {
    /// What callers name it by.
    #[schema(example = "demo", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    alias: String,
    /// Where its source lies on the hosts that run its jobs.
    #[schema(example = "/srv/demo")]
    directory: String,
    /// What it is, for people.
    #[schema(example = "The shop's back end")]
    description: String,
    /// How many of its jobs may run at once; null is no limit.
    #[schema(minimum = 1, maximum = 32_767, example = 4)]
    max_running: Option<i16>,
    /// Most calls to agents of its jobs in a day (UTC); null is no limit beside the host's.
    #[schema(minimum = 0, example = 500)]
    max_daily_calls: Option<i32>,
    /// Most US dollars its jobs' agents may cost in a day (UTC); null is no limit beside the host's.
    #[schema(minimum = 0, example = 25.0)]
    max_daily_cost_usd: Option<f64>,
    /// `false`: an administrator lets its steps run without a sandbox.
    #[schema(example = true)]
    sandbox: bool,
    /// What its jobs may do, within what their host allows.
    policy: Policy,
    /// Where it comes from: `administrator`, `environment` (PROJECT_ALIASES) or `dev`.
    #[schema(example = "administrator")]
    origin: String,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// When it was last changed.
    updated_at: DateTime<Utc>,
}

impl From<store::project::Profile> for Project {
    fn from(project: store::project::Profile) -> Self {
        Self {
            alias: project.alias,
            directory: project.directory,
            description: project.description,
            max_running: project.max_running,
            max_daily_calls: project.max_daily_calls,
            max_daily_cost_usd: project.max_daily_cost_usd,
            sandbox: project.sandbox,
            // Only what was read as a policy is ever stored.
            policy: serde_json::from_value(project.policy).unwrap_or_default(),
            origin: project.origin,
            created_at: project.created_at,
            updated_at: project.updated_at,
        }
    }
}

impl From<projects::Error> for Problem {
    fn from(error: projects::Error) -> Self {
        use projects::Error;
        let kind = match &error {
            Error::Reach => Kind::ProjectForbidden,
            Error::Unknown(_) => Kind::NotFound,
            Error::Exists(_) => Kind::AlreadyExists,
            Error::Changed(_) => return changed(),
            Error::Environment(_) | Error::InUse(_) => Kind::WrongState,
            Error::Store(_) => Kind::Internal,
        };
        match error {
            Error::Store(error) => error.into(),
            error => Self::new(kind, error.to_string()),
        }
    }
}

fn tagged(project: store::project::Profile) -> Tagged<Project> {
    Tagged {
        version: project.updated_at,
        body: project.into(),
    }
}

/// List projects
///
/// The projects that the token reaches, the oldest first, a page at a time.
#[utoipa::path(
    get,
    path = "/api/v1/projects",
    operation_id = "listProjects",
    tag = "projects",
    params(Pages),
    responses((status = 200, description = "A page of projects", body = Listing<Project>,
               headers(("Link" = String, description = "`rel=\"next\"`: the next page, when there is one")))),
    security(("bearer" = ["read"])),
)]
pub(super) async fn list(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Read>,
    asked: Asked,
) -> Result<Response, Problem> {
    let page = store::project::page(&api.pool, caller.projects.as_deref(), asked.after, asked.limit).await?;
    Ok(asked.answer::<_, Project>(page, &api.settings))
}

/// Make a project
///
/// Jobs and schedules can name it at once. Only a token that reaches every project may: where a
/// project's source lies decides what its jobs can read.
#[utoipa::path(
    post,
    path = "/api/v1/projects",
    operation_id = "createProject",
    tag = "projects",
    request_body(content = NewProject, description = "The project", examples(
        ("plain" = (summary = "A directory and its name", value = json!({"alias": "demo", "directory": "/srv/demo"}))),
        ("limited" = (summary = "With limits for its jobs", value = json!({"alias": "shop", "directory": "/srv/shop", "description": "The shop's back end", "max_running": 4, "policy": {"network": "deny", "limits": {"memory_mb": 2048, "pids": 200}}}))),
    )),
    responses((status = 201, description = "The project is there", body = Project, headers(
        ("Location" = String, description = "Where the project is"),
        ("ETag" = String, description = "Its version, for `If-Match`"),
    ))),
    security(("bearer" = ["admin", "*"])),
    extensions(("x-problems" = json!(["already_exists"]))),
)]
pub(super) async fn create(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Host>,
    Json(body): Json,
) -> Result<Response, Problem> {
    let new = NewProject::read(&body).map_err(Problem::body)?;
    let made = projects::create(&api.pool, &caller, &new).await?;
    let location = api.settings.link(&format!("/api/v1/projects/{}", made.alias));
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], tagged(made)).into_response())
}

/// Show a project
///
/// The project and what holds for its jobs.
#[utoipa::path(
    get,
    path = "/api/v1/projects/{alias}",
    operation_id = "getProject",
    tag = "projects",
    params(("alias" = String, Path, description = "The project's alias", example = "demo")),
    responses((status = 200, description = "The project", body = Project,
               headers(("ETag" = String, description = "Its version, for `If-Match`")))),
    security(("bearer" = ["read"])),
)]
pub(super) async fn show(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Read>,
    PathText(alias): PathText,
) -> Result<Response, Problem> {
    let found = store::project::find(&api.pool, &alias, caller.projects.as_deref()).await?;
    let found = found.ok_or(projects::Error::Unknown(alias))?;
    Ok(tagged(found).into_response())
}

/// Change a project
///
/// What the body does not name stays as it is. A directory that comes from PROJECT_ALIASES is changed
/// there.
#[utoipa::path(
    patch,
    path = "/api/v1/projects/{alias}",
    operation_id = "changeProject",
    tag = "projects",
    params(("alias" = String, Path, description = "The project's alias", example = "demo"), IfMatch),
    request_body(content = ProjectChange, description = "What is to be changed", examples(
        ("limit" = (summary = "At most two jobs at once", value = json!({"max_running": 2}))),
        ("policy" = (summary = "No network and little memory", value = json!({"policy": {"network": "deny", "limits": {"memory_mb": 512}}}))),
    )),
    responses((status = 200, description = "The project as it is now", body = Project,
               headers(("ETag" = String, description = "Its new version, for `If-Match`")))),
    security(("bearer" = ["admin", "*"])),
    extensions(("x-problems" = json!(["wrong_state", "precondition_failed"]))),
)]
pub(super) async fn change(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Host>,
    PathText(alias): PathText,
    seen: IfMatch,
    Json(body): Json,
) -> Result<Response, Problem> {
    let change = ProjectChange::read(&body).map_err(Problem::body)?;
    let admits = |version| seen.admits(version);
    let after = projects::change(&api.pool, &caller, &alias, &change, admits).await?;
    Ok(tagged(after).into_response())
}

/// Remove a project
///
/// Only one that nothing belongs to: a project with jobs or schedules stays.
#[utoipa::path(
    delete,
    path = "/api/v1/projects/{alias}",
    operation_id = "removeProject",
    tag = "projects",
    params(("alias" = String, Path, description = "The project's alias", example = "demo"), IfMatch),
    responses((status = 204, description = "The project is gone")),
    security(("bearer" = ["admin", "*"])),
    extensions(("x-problems" = json!(["wrong_state", "precondition_failed"]))),
)]
pub(super) async fn remove(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Host>,
    PathText(alias): PathText,
    seen: IfMatch,
) -> Result<StatusCode, Problem> {
    projects::remove(&api.pool, &caller, &alias, |version| seen.admits(version)).await?;
    Ok(StatusCode::NO_CONTENT)
}
