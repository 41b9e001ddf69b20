//! Logs on standard error, metrics for Prometheus.

use std::io::IsTerminal as _;
use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

/// Bounds of every duration histogram, in seconds: from a claim to a long step.
const SECONDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0, 3600.0,
];

/// Time between two foldings of measurements into histograms.
const KEEP_UP: Duration = Duration::from_secs(5);

/// Starts logging. `level` is a `tracing` filter such as `info` or `orchestrator=debug,sqlx=warn`.
///
/// Standard output is never written to: it belongs to the command's result.
pub fn start(level: &str, json: bool) {
    let builder = tracing_subscriber::fmt()
        // Applied migrations are said once, by the command that applied them.
        .with_env_filter(EnvFilter::new(format!("refinery_core=warn,{level}")))
        .with_writer(std::io::stderr)
        .with_target(false);
    // A second start in one process (tests) keeps the first.
    let _ = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_ansi(std::io::stderr().is_terminal()).try_init()
    };
}

/// Starts collecting metrics for the whole process and answers with what renders them.
///
/// # Errors
///
/// When a recorder is already installed.
pub fn metrics() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)?
        .install_recorder()?;
    describe();
    Ok(handle)
}

/// Folds what was measured into the histograms, so that a process nobody asks does not gather it
/// without end. Runs as long as the process.
pub async fn keep_up(metrics: PrometheusHandle) {
    loop {
        tokio::time::sleep(KEEP_UP).await;
        metrics.run_upkeep();
    }
}

fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_gauge!("orchestrator_queue_jobs", "Jobs that have not ended, by state");
    describe_gauge!(
        "orchestrator_oldest_available_job_seconds",
        Unit::Seconds,
        "Wait of the oldest available job"
    );
    describe_counter!(
        "orchestrator_jobs_total",
        "Attempts this process settled, by the state of the job after it"
    );
    describe_counter!("orchestrator_steps_total", "Steps this process ended, by status");
    describe_counter!(
        "orchestrator_attempts_lost_total",
        "Attempts taken from runners that vanished"
    );
    describe_counter!(
        "orchestrator_schedules_fired_total",
        "Occurrences of schedules decided, by decision"
    );
    describe_histogram!("orchestrator_claim_seconds", Unit::Seconds, "Time of a claim");
    describe_histogram!(
        "orchestrator_settle_seconds",
        Unit::Seconds,
        "Time of a settle, for a whole batch"
    );
    describe_histogram!("orchestrator_step_seconds", Unit::Seconds, "Run time of a step");
    describe_gauge!(
        "orchestrator_database_up",
        "Whether the database answered when the metrics were asked for"
    );
    describe_histogram!(
        "orchestrator_http_request_duration_seconds",
        Unit::Seconds,
        "Time from a request's headers to its answer's"
    );
}
