//! Figures to see at a glance how it goes.

use axum::extract::State;
use chrono::NaiveDate;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::auth::{Allowed, Read};
use super::problem::Problem;
use crate::domain::job::JobState;
use crate::store::stats;

/// How many days are shown.
const DAYS: u16 = 14;

/// How it goes.
#[derive(Serialize, ToSchema)]
pub(super) struct Stats {
    /// Jobs that have not ended, counted now.
    open: OpenJobs,
    /// How long the oldest job that could begin has waited, in seconds; null when none waits.
    #[schema(minimum = 0, example = 0.8)]
    oldest_available_sec: Option<f64>,
    /// The last days (UTC) on which anything came in or ended, the latest first, at most 14. The scheduler
    /// adds them up within seconds.
    days: Vec<StatsDay>,
}

/// Jobs that have not ended, by state.
#[derive(Default, Serialize, ToSchema)]
pub(super) struct OpenJobs {
    /// Wait for other jobs.
    #[schema(minimum = 0)]
    blocked: i64,
    /// Wait for their time, or for room.
    #[schema(minimum = 0, example = 12)]
    scheduled: i64,
    /// Wait for a runner.
    #[schema(minimum = 0, example = 3)]
    available: i64,
    /// Run.
    #[schema(minimum = 0, example = 2)]
    running: i64,
    /// Wait for somebody's word.
    #[schema(minimum = 0)]
    awaiting_approval: i64,
}

/// What came in and ended on a day.
#[derive(Serialize, ToSchema)]
pub(super) struct StatsDay {
    #[schema(example = "2030-01-01")]
    day: NaiveDate,
    /// Jobs that came in.
    #[schema(minimum = 0, example = 140)]
    submitted: i64,
    /// Jobs that ended well.
    #[schema(minimum = 0, example = 131)]
    succeeded: i64,
    /// Jobs that failed.
    #[schema(minimum = 0, example = 4)]
    failed: i64,
    /// Jobs that were cancelled.
    #[schema(minimum = 0, example = 1)]
    cancelled: i64,
}

impl From<stats::Day> for StatsDay {
    fn from(day: stats::Day) -> Self {
        Self {
            day: day.day,
            submitted: day.submitted,
            succeeded: day.succeeded,
            failed: day.failed,
            cancelled: day.cancelled,
        }
    }
}

impl OpenJobs {
    fn of(counts: Vec<(JobState, i64)>) -> Self {
        let mut open = Self::default();
        for (state, count) in counts {
            match state {
                JobState::Blocked => open.blocked = count,
                JobState::Scheduled => open.scheduled = count,
                JobState::Available => open.available = count,
                JobState::Running => open.running = count,
                JobState::AwaitingApproval => open.awaiting_approval = count,
                JobState::Succeeded | JobState::Failed | JobState::Cancelled => {}
            }
        }
        open
    }
}

/// Show figures
///
/// How many jobs of the token's projects are open, how long the oldest waits, and what came in and ended
/// by day. The schema `report` answers everything else.
#[utoipa::path(
    get,
    path = "/api/v1/stats",
    operation_id = "showStats",
    tag = "operations",
    responses((status = 200, description = "The figures", body = Stats)),
    security(("bearer" = ["read"])),
)]
pub(super) async fn show(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Read>,
) -> Result<axum::Json<Stats>, Problem> {
    let projects = caller.projects.as_deref();
    let (counts, oldest_available_sec) = stats::open_jobs_of(&api.pool, projects).await?;
    let days = stats::days(&api.pool, projects, DAYS).await?;
    Ok(axum::Json(Stats {
        open: OpenJobs::of(counts),
        oldest_available_sec,
        days: days.into_iter().map(StatsDay::from).collect(),
    }))
}
