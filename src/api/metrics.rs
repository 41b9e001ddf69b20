//! Metrics for Prometheus.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{HeaderName, header};
use metrics::gauge;
use strum::VariantNames as _;
use tokio::sync::Mutex;

use super::Api;
use crate::domain::job::JobState;
use crate::store::{self, Pool, stats};

/// Longest time a scrape waits for the database.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long what the database said is said again: many scrapers ask it no more than one.
const FRESH: Duration = Duration::from_secs(2);

/// When the database was last asked; whoever comes meanwhile waits for the one that asks.
#[derive(Clone, Debug, Default)]
pub struct Looked(Arc<Mutex<Option<Instant>>>);

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
    let mut last = api.looked.0.lock().await;
    if last.is_none_or(|last| last.elapsed() >= FRESH) {
        let looked = tokio::time::timeout(PATIENCE, look(&api.pool)).await;
        let up = matches!(looked, Ok(Ok(())));
        if !up {
            unknown();
        }
        gauge!("orchestrator_database_up").set(f64::from(u8::from(up)));
        // That the database is away is not said again: it may be back.
        *last = up.then(Instant::now);
    }
    drop(last);
    let format = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (format, api.metrics.render())
}

async fn look(pool: &Pool) -> store::Result<()> {
    let counts = stats::open_jobs(pool).await?;
    let oldest = stats::oldest_available_sec(pool).await?;
    let system = stats::system(pool).await?;
    for state in open() {
        let count = counts.iter().find(|(counted, _)| *counted == state);
        // Exact up to 2^53 jobs.
        queue_jobs(state, count.map_or(0.0, |(_, count)| *count as f64));
    }
    gauge!("orchestrator_oldest_available_job_seconds").set(oldest.unwrap_or_default());
    gauge!("orchestrator_runners").set(system.runners as f64);
    gauge!("orchestrator_slots").set(system.slots as f64);
    gauge!("orchestrator_slots_busy").set(system.slots_busy as f64);
    gauge!("orchestrator_leases_expired").set(system.leases_expired as f64);
    gauge!("orchestrator_reports_behind_seconds").set(system.reports_behind_sec);
    gauge!("orchestrator_scheduler_lag_seconds").set(stats::scheduler_lag_sec(pool).await?);
    Ok(())
}

/// A number that was true once would look like one that is true now.
fn unknown() {
    open().for_each(|state| queue_jobs(state, f64::NAN));
    for name in [
        "orchestrator_oldest_available_job_seconds",
        "orchestrator_runners",
        "orchestrator_slots",
        "orchestrator_slots_busy",
        "orchestrator_leases_expired",
        "orchestrator_reports_behind_seconds",
        "orchestrator_scheduler_lag_seconds",
    ] {
        gauge!(name).set(f64::NAN);
    }
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
