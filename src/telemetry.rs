//! Logs on standard error, metrics for Prometheus.

pub mod names;
pub mod serve;

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
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
    names::describe();
    Ok(handle)
}

/// Serves the metrics of this process at `address`, if it has one; without one nothing is collected.
///
/// # Errors
///
/// When the address cannot be had, with what to do.
pub async fn expose(address: Option<SocketAddr>) -> anyhow::Result<()> {
    let Some(address) = address else { return Ok(()) };
    let handle = metrics()?;
    tokio::spawn(keep_up(handle.clone()));
    serve::serve(address, handle).await.with_context(|| {
        format!("METRICS_BIND: cannot listen on {address}; give each process an address of its own (port 0 takes a free one)")
    })
}

/// Folds what was measured into the histograms, so that a process nobody asks does not gather it
/// without end. Runs as long as the process.
pub async fn keep_up(metrics: PrometheusHandle) {
    loop {
        tokio::time::sleep(KEEP_UP).await;
        metrics.run_upkeep();
    }
}
