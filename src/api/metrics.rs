//! Metrics for Prometheus.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderName, header};
use metrics::gauge;
use strum::VariantNames as _;

use super::Api;
use crate::domain::job::JobState;
use crate::store::{self, Pool, stats};

/// Longest time a scrape waits for the database.
const PATIENCE: Duration = Duration::from_secs(2);

/// Read the metrics
///
/// This process's metrics in Prometheus' text format, and how the queue stands at this moment.
/// While the database is away, `orchestrator_database_up` is 0 and the queue's numbers are `NaN`.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "readMetrics",
    tag = "health",
    responses((status = 200, description = "The metrics", body = String, content_type = "text/plain",
               example = "orchestrator_queue_jobs{state=\"available\"} 3\n")),
    security(()),
)]
pub(super) async fn scrape(State(api): State<Api>) -> ([(HeaderName, &'static str); 1], String) {
    let looked = tokio::time::timeout(PATIENCE, look(&api.pool)).await;
    let up = matches!(looked, Ok(Ok(())));
    if !up {
        unknown();
    }
    gauge!("orchestrator_database_up").set(f64::from(u8::from(up)));
    let format = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (format, api.metrics.render())
}

async fn look(pool: &Pool) -> store::Result<()> {
    let counts = stats::open_jobs(pool).await?;
    let oldest = stats::oldest_available_sec(pool).await?;
    for state in open() {
        let count = counts.iter().find(|(counted, _)| *counted == state);
        // Exact up to 2^53 jobs.
        queue_jobs(state, count.map_or(0.0, |(_, count)| *count as f64));
    }
    gauge!("orchestrator_oldest_available_job_seconds").set(oldest.unwrap_or_default());
    Ok(())
}

/// A number that was true once would look like one that is true now.
fn unknown() {
    open().for_each(|state| queue_jobs(state, f64::NAN));
    gauge!("orchestrator_oldest_available_job_seconds").set(f64::NAN);
}

fn queue_jobs(state: JobState, count: f64) {
    gauge!("orchestrator_queue_jobs", "state" => state.as_str()).set(count);
}

fn open() -> impl Iterator<Item = JobState> {
    let states = JobState::VARIANTS
        .iter()
        .filter_map(|name| name.parse::<JobState>().ok());
    states.filter(|state| !state.is_terminal())
}
