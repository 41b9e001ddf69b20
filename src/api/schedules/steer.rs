//! What can be done to a schedule: pause it, resume it, run it now; and what an expression would do.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::{expected, shown};
use crate::api::Api;
use crate::api::auth::{Allowed, Operate, Read};
use crate::api::etag::IfMatch;
use crate::api::extract::{IdempotencyKey, PathId};
use crate::api::problem::Problem;
use crate::api::query::Parameters;
use crate::app::schedules::steer;
use crate::app::schedules::trigger as app;
use crate::app::schedules::view::{Shown, ShownOccurrence};
use crate::domain::clock;
use crate::domain::id::ScheduleId;
use crate::domain::schedule::{Expression, LONGEST_PREVIEW, Preview, Zone, preview as look_ahead};

/// How a schedule is paused.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct Pausing {
    /// Why, for whoever looks at it.
    #[param(max_length = 500, example = "waiting for the new credentials")]
    reason: Option<String>,
}

/// Pause a schedule
///
/// Nothing of it is fired until it is resumed. What runs goes on; a run that waits for it is given up.
/// Pausing it again changes nothing.
#[utoipa::path(
    post,
    path = "/api/v1/schedules/{id}/pause",
    operation_id = "pauseSchedule",
    tag = "schedules",
    params(("id" = ScheduleId, Path, description = "The schedule"), Pausing, IfMatch),
    responses((status = 200, description = "The schedule is paused", body = Shown,
               headers(("ETag" = String, description = "Its version, for `If-Match`")))),
    security(("bearer" = ["operate"])),
)]
pub(in crate::api) async fn pause(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Operate>,
    PathId(id): PathId<ScheduleId>,
    Parameters(query): Parameters<Pausing>,
    seen: IfMatch,
) -> Result<Response, Problem> {
    let reason = query.reason.as_deref();
    if reason.is_some_and(|reason| reason.chars().count() > 500 || reason.contains('\0')) {
        return Err(Problem::parameter(
            "reason",
            "must be at most 500 characters, without NUL",
        ));
    }
    let versions = expected(&api, &caller, id, &seen).await?;
    let versions = versions.as_ref().map(<[_; 1]>::as_slice);
    let row = steer::pause(&api.pool, &caller, id, reason, versions).await?;
    Ok(shown(row).into_response())
}

/// How a schedule is resumed.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct Resuming {
    /// Whether what was due meanwhile is treated as missed, and run as the policy for that says.
    /// Otherwise it is recorded and not run.
    #[serde(default)]
    #[param(default = false)]
    catch_up: bool,
}

/// Resume a schedule
///
/// It goes on at its next instant, with no failures counted. Resuming one that is not paused changes nothing.
#[utoipa::path(
    post,
    path = "/api/v1/schedules/{id}/resume",
    operation_id = "resumeSchedule",
    extensions(("x-problems" = json!(["wrong_state"]))),
    tag = "schedules",
    params(("id" = ScheduleId, Path, description = "The schedule"), Resuming, IfMatch),
    responses((status = 200, description = "The schedule is not paused", body = Shown,
               headers(("ETag" = String, description = "Its version, for `If-Match`")))),
    security(("bearer" = ["operate"])),
)]
pub(in crate::api) async fn resume(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Operate>,
    PathId(id): PathId<ScheduleId>,
    Parameters(query): Parameters<Resuming>,
    seen: IfMatch,
) -> Result<Response, Problem> {
    let versions = expected(&api, &caller, id, &seen).await?;
    let versions = versions.as_ref().map(<[_; 1]>::as_slice);
    let row = steer::resume(&api.pool, &caller, id, query.catch_up, versions, None).await?;
    Ok(shown(row).into_response())
}

/// Run a schedule now
///
/// Also one that is paused; its own instants stay as they are. Its policy for overlaps decides as about
/// any other run: the answer says what was decided, why, and which job it made. Under an idempotency
/// key a repeat is answered with the first.
#[utoipa::path(
    post,
    path = "/api/v1/schedules/{id}/trigger",
    operation_id = "triggerSchedule",
    extensions(("x-problems" = json!(["wrong_state"]))),
    tag = "schedules",
    params(("id" = ScheduleId, Path, description = "The schedule"), IdempotencyKey),
    responses((status = 200, description = "What was decided", body = ShownOccurrence)),
    security(("bearer" = ["operate"])),
)]
pub(in crate::api) async fn trigger(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Operate>,
    PathId(id): PathId<ScheduleId>,
    IdempotencyKey(key): IdempotencyKey,
) -> Result<axum::Json<ShownOccurrence>, Problem> {
    let made = app::trigger(&api.pool, &api.hints, &caller, id, key.as_deref(), None).await?;
    Ok(axum::Json(made.into()))
}

/// An expression to look at.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct Glance {
    /// The expression.
    #[param(example = "30 2 * * MON-FRI", max_length = 1000)]
    expression: String,
    /// The time zone it is read in, by its IANA name.
    #[param(example = "Europe/Berlin", default = "UTC", max_length = 64)]
    zone: Option<String>,
    /// Runs after this time (RFC 3339) instead of now; an interval is counted from then.
    from: Option<DateTime<Utc>>,
    /// How many runs.
    #[param(minimum = 1, maximum = 1000, default = 5)]
    count: Option<u16>,
}

/// Preview an expression
///
/// What it means as a sentence, and its next runs as the clocks of the zone show them. Nothing is stored.
#[utoipa::path(
    get,
    path = "/api/v1/schedules/preview",
    operation_id = "previewSchedule",
    tag = "schedules",
    params(Glance),
    responses((status = 200, description = "The sentence and the runs", body = Preview, example = json!({
        "description": "At 02:30, Monday to Friday.",
        "runs": [{"at": "2026-03-27T02:30:00+01:00"}, {"at": "2026-03-30T02:30:00+02:00"}],
    }))),
    security(("bearer" = ["read"])),
)]
pub(in crate::api) async fn preview(
    _: Allowed<Read>,
    Parameters(query): Parameters<Glance>,
) -> Result<axum::Json<Preview>, Problem> {
    let expression = Expression::parse(&query.expression)
        .map_err(|error| Problem::parameter("expression", error.to_string()))?;
    let zone = Zone::parse(query.zone.as_deref().unwrap_or("UTC"))
        .map_err(|error| Problem::parameter("zone", error.to_string()))?;
    let count = usize::from(query.count.unwrap_or(5));
    if !(1..=LONGEST_PREVIEW).contains(&count) {
        return Err(Problem::parameter(
            "count",
            format!("is {count}; allowed are 1 to {LONGEST_PREVIEW}"),
        ));
    }
    let from = query.from.unwrap_or_else(clock::now);
    Ok(axum::Json(look_ahead(&expression, zone, from, count)))
}
