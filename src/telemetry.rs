//! Logs on standard error, metrics for Prometheus, traces for whoever collects them.

pub mod names;
pub mod serve;
pub mod trace;

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing::{Level, Metadata};
use tracing_subscriber::filter::dynamic_filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use trace::Collector;

/// Bounds of every duration histogram, in seconds: from a claim to a long step.
const SECONDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0, 3600.0,
];

/// Time between two foldings of measurements into histograms.
const KEEP_UP: Duration = Duration::from_secs(5);

/// Starts logging, and exporting spans to `collector` if there is one, on the runtime this is called in. `level` is a `tracing`
/// filter such as `info` or `orchestrator=debug,sqlx=warn`; what is exported does not depend on it.
///
/// Standard output is never written to: it belongs to the command's result.
///
/// # Errors
///
/// When nothing can be exported from here.
pub fn start(level: &str, json: bool, collector: Option<&Collector>) -> anyhow::Result<()> {
    // Applied migrations are said once, by the command that applied them.
    let filter = EnvFilter::new(format!("refinery_core=warn,{level}"));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false);
    let lines = if json {
        lines.json().flatten_event(true).boxed()
    } else {
        lines.with_ansi(std::io::stderr().is_terminal()).boxed()
    };
    let Some(collector) = collector else {
        // A second start in one process (tests) keeps the first.
        let _ = tracing_subscriber::registry().with(lines).with(filter).try_init();
        return Ok(());
    };
    let spans = tracing_opentelemetry::layer()
        .with_tracer(trace::start(collector)?)
        // What only this program's threads and files say is nothing to who looks at a trace.
        .with_threads(false)
        .with_location(false)
        .with_tracked_inactivity(false)
        .with_filter(dynamic_filter_fn(|metadata, _| is_exported(metadata)));
    let lines = lines.with_filter(filter);
    let _ = tracing_subscriber::registry().with(lines).with(spans).try_init();
    Ok(())
}

/// What whoever looks at a trace wants to see, whatever is logged.
///
/// Asked anew each time: who only asks whether something would be logged, as the driver does for each statement, leaves
/// the answer behind, and it would be taken for that of the next span whose filters gave theirs once for all.
fn is_exported(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO && metadata.target().starts_with("orchestrator")
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
