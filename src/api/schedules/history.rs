//! What was decided about a schedule's instants.

use axum::extract::State;
use axum::response::Response;
use chrono::DateTime;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::Api;
use crate::api::auth::{Allowed, Read};
use crate::api::extract::PathId;
use crate::api::pagination::{Asked, Listing, Pages};
use crate::api::problem::Problem;
use crate::app::schedules;
use crate::app::schedules::view::ShownOccurrence;
use crate::domain::id::ScheduleId;
use crate::domain::page::{Cursor, Page};
use crate::store::schedule::occurrence;

/// Which occurrences a list shows.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct Filter {
    /// Only those with this decision.
    #[param(inline)]
    decision: Option<Decided>,
}

/// What was decided.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub(in crate::api) enum Decided {
    Fired,
    Waiting,
    Skipped,
}

/// List a schedule's occurrences
///
/// What was due, what was decided, why, and which job it made; the latest first, a page at a time.
#[utoipa::path(
    get,
    path = "/api/v1/schedules/{id}/occurrences",
    operation_id = "listOccurrences",
    tag = "schedules",
    params(("id" = ScheduleId, Path, description = "The schedule"), Filter, Pages),
    responses((status = 200, description = "A page of occurrences", body = Listing<ShownOccurrence>,
               headers(("Link" = String, description = "`rel=\"next\"`: the next page, when there is one")))),
    security(("bearer" = ["read"])),
)]
pub(in crate::api) async fn list(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Read>,
    PathId(id): PathId<ScheduleId>,
    asked: Asked<Filter>,
) -> Result<Response, Problem> {
    schedules::find(&api.pool, &caller, id).await?;
    let filter = occurrence::Filter {
        decision: asked.filter.decision.map(Into::into),
        before: asked.after.and_then(instant),
    };
    let rows = occurrence::history(&api.pool, id, filter, asked.limit + 1).await?;
    let page = Page::cut(rows, usize::from(asked.limit), |row| place(row.due_at));
    Ok(asked.answer::<_, ShownOccurrence>(page, &api.settings))
}

/// Cursors hold a UUID; an instant is its microseconds in the low half of one.
fn place(due_at: DateTime<chrono::Utc>) -> Uuid {
    Uuid::from_u128(u128::from(due_at.timestamp_micros().unsigned_abs()))
}

fn instant(cursor: Cursor) -> Option<DateTime<chrono::Utc>> {
    let micros = i64::try_from(cursor.0.as_u128()).ok()?;
    DateTime::from_timestamp_micros(micros)
}
