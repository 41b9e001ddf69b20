//! Schedules: made, listed, shown, changed, deleted.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::Api;
use super::auth::{Allowed, Operate, Read};
use super::etag::{IfMatch, Tagged, changed};
use super::extract::{Json, PathId};
use super::jobs::within;
use super::pagination::{Asked, Listing, Pages};
use super::problem::{Kind, Problem};
use crate::app::authenticate::Caller;
use crate::app::schedules::view::Shown;
use crate::app::schedules::{self, Error};
use crate::domain::clock;
use crate::domain::id::ScheduleId;
use crate::domain::page::Page;
use crate::domain::schedule::Definition;
use crate::store;

pub(super) mod history;
pub(super) mod steer;

/// How many runs to come are shown with a schedule.
const NEXT_RUNS: usize = 5;

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let sentence = error.to_string();
        match error {
            Error::Invalid(errors) => Self::body(errors),
            Error::Project(_) => Self::new(Kind::ProjectForbidden, sentence),
            Error::Unknown(_) => Self::new(Kind::NotFound, sentence),
            Error::NameTaken(_) => Self::new(Kind::AlreadyExists, sentence),
            Error::Stale(_) => changed(),
            Error::Unreadable(_) => Self::new(Kind::WrongState, sentence),
            Error::Store(error) => error.into(),
        }
    }
}

/// The schedule with its version and its next runs.
fn shown(row: store::schedule::Schedule) -> Tagged<Shown> {
    Tagged {
        version: row.updated_at,
        body: Shown::with_runs(row, clock::now(), NEXT_RUNS),
    }
}

/// The version that may be acted on: the one whose tag the caller sent, or any.
async fn expected(
    api: &Api,
    caller: &Caller,
    id: ScheduleId,
    seen: &IfMatch,
) -> Result<Option<[i32; 1]>, Problem> {
    if !seen.was_sent() {
        return Ok(None);
    }
    let row = schedules::find(&api.pool, caller, id).await?;
    seen.admits(row.updated_at)?;
    Ok(Some([row.version]))
}

/// Make a schedule
///
/// Its first run is the next instant its expression names; an interval's, one interval from now.
#[utoipa::path(
    post,
    path = "/api/v1/schedules",
    operation_id = "createSchedule",
    extensions(("x-problems" = json!(["project_forbidden", "already_exists"]))),
    tag = "schedules",
    request_body(content = Definition, description = "What is to be run, and when", examples(
        ("nightly" = (summary = "Every working night in Berlin; a run that was missed is made up for once", value = json!({"name": "nightly-report", "expression": "30 2 * * MON-FRI", "zone": "Europe/Berlin", "missed": "once", "failure_budget": 5, "job": {"goal": "Nightly report", "project_id": "demo", "steps": [{"step_id": "report", "argv": ["./report.sh"]}]}}))),
        ("often" = (summary = "Every 15 minutes, spread over half a minute, never two at once", value = json!({"name": "poll", "expression": "every 15m", "jitter_sec": 30, "overlap": "skip", "job": {"goal": "Poll", "project_id": "demo", "steps": [{"step_id": "poll", "argv": ["true"]}]}}))),
    )),
    responses((status = 201, description = "The schedule is in the table", body = Shown, headers(
        ("Location" = String, description = "Where the schedule is"),
        ("ETag" = String, description = "Its version, for `If-Match`"),
    ))),
    security(("bearer" = ["operate"])),
)]
pub(super) async fn create(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Operate>,
    Json(body): Json,
) -> Result<Response, Problem> {
    let definition = Definition::read(&body).map_err(Problem::body)?;
    let row = schedules::create(&api.pool, &caller, &definition, None).await?;
    let place = api.settings.link(&format!("/api/v1/schedules/{}", row.id));
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], shown(row)).into_response())
}

/// Which schedules a list shows.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Only schedules of the project with this alias.
    #[param(example = "demo", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    project: Option<String>,
    /// Only those that are paused, or only those that are not.
    paused: Option<bool>,
}

/// List schedules
///
/// The schedules of the token's projects, newest first, a page at a time.
#[utoipa::path(
    get,
    path = "/api/v1/schedules",
    operation_id = "listSchedules",
    tag = "schedules",
    params(Filter, Pages),
    responses((status = 200, description = "A page of schedules", body = Listing<Shown>,
               headers(("Link" = String, description = "`rel=\"next\"`: the next page, when there is one")))),
    security(("bearer" = ["read"])),
)]
pub(super) async fn list(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Read>,
    asked: Asked<Filter>,
) -> Result<Response, Problem> {
    let query = &asked.filter;
    let projects = within(&api, &caller, query.project.as_deref()).await?;
    let filter = store::schedule::Filter {
        projects: projects.as_deref(),
        paused: query.paused,
    };
    let page = store::schedule::page(&api.pool, filter, asked.after, asked.limit).await?;
    let mut items = store::schedule::read(&api.pool, &page.items, caller.projects.as_deref()).await?;
    items.reverse();
    let page = Page {
        items,
        next: page.next,
    };
    Ok(asked.answer::<_, Shown>(page, &api.settings))
}

/// Show a schedule
///
/// What it is, where it stands, and its next runs.
#[utoipa::path(
    get,
    path = "/api/v1/schedules/{id}",
    operation_id = "getSchedule",
    tag = "schedules",
    params(("id" = ScheduleId, Path, description = "The schedule")),
    responses((status = 200, description = "The schedule", body = Shown,
               headers(("ETag" = String, description = "Its version, for `If-Match`")))),
    security(("bearer" = ["read"])),
)]
pub(super) async fn show(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Read>,
    PathId(id): PathId<ScheduleId>,
) -> Result<Response, Problem> {
    let row = schedules::find(&api.pool, &caller, id).await?;
    Ok(shown(row).into_response())
}

/// Change a schedule
///
/// Gives it another definition, whole: fields that are left out get their defaults. What is due under
/// the old one is fired first, and an instant that was decided is not decided again. Its project stays.
#[utoipa::path(
    put,
    path = "/api/v1/schedules/{id}",
    operation_id = "replaceSchedule",
    extensions(("x-problems" = json!(["already_exists"]))),
    tag = "schedules",
    params(("id" = ScheduleId, Path, description = "The schedule"), IfMatch),
    request_body(content = Definition, description = "What it is from now on", example = json!({"name": "nightly-report", "expression": "45 3 * * MON-FRI", "zone": "Europe/Berlin", "job": {"goal": "Nightly report", "project_id": "demo", "steps": [{"step_id": "report", "argv": ["./report.sh"]}]}})),
    responses((status = 200, description = "The schedule as it is now", body = Shown,
               headers(("ETag" = String, description = "Its version, for `If-Match`")))),
    security(("bearer" = ["operate"])),
)]
pub(super) async fn replace(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Operate>,
    PathId(id): PathId<ScheduleId>,
    seen: IfMatch,
    Json(body): Json,
) -> Result<Response, Problem> {
    let definition = Definition::read(&body).map_err(Problem::body)?;
    let versions = expected(&api, &caller, id, &seen).await?;
    let versions = versions.as_ref().map(<[_; 1]>::as_slice);
    let row = schedules::change(&api.pool, &api.hints, &caller, id, &definition, versions, None).await?;
    Ok(shown(row).into_response())
}

/// Delete a schedule
///
/// It and its history are gone; the jobs it made stay. Answers with what it was.
#[utoipa::path(
    delete,
    path = "/api/v1/schedules/{id}",
    operation_id = "deleteSchedule",
    tag = "schedules",
    params(("id" = ScheduleId, Path, description = "The schedule"), IfMatch),
    responses((status = 200, description = "The schedule as it was", body = Shown)),
    security(("bearer" = ["operate"])),
)]
pub(super) async fn delete(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Operate>,
    PathId(id): PathId<ScheduleId>,
    seen: IfMatch,
) -> Result<axum::Json<Shown>, Problem> {
    let versions = expected(&api, &caller, id, &seen).await?;
    let versions = versions.as_ref().map(<[_; 1]>::as_slice);
    let row = schedules::delete(&api.pool, &caller, id, versions).await?;
    Ok(axum::Json(row.into()))
}
