//! Metrics: one list, and everything that names a metric names one of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use nix::sys::signal::Signal::SIGTERM;
use orchestrator::telemetry::names::{Kind, METRICS};
use serde_json::{Value, json};

use crate::support::{Program, ask, database, scratch, until};

/// Every `orchestrator_…` in `text`.
fn names(text: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c: char| !word(c))
        .filter(|name| name.starts_with("orchestrator_"))
        .map(str::to_owned)
        .collect()
}

/// Whether Prometheus knows a series of that name.
fn is_known(name: &str) -> bool {
    METRICS.iter().any(|metric| match name.strip_prefix(metric.name) {
        Some("") => true,
        Some("_bucket" | "_count" | "_sum") => metric.kind == Kind::Seconds,
        _ => false,
    })
}

fn unknown(text: &str) -> Vec<String> {
    names(text).into_iter().filter(|name| !is_known(name)).collect()
}

/// The names that `counter!`, `gauge!` and `histogram!` of `src/` are given.
fn measured(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            measured(&path, found);
        } else if !path.ends_with("telemetry/names.rs") {
            let source = fs::read_to_string(&path).unwrap();
            let strings = source
                .split('"')
                .filter(|text| text.starts_with("orchestrator_") && is_word(text));
            found.extend(strings.map(str::to_owned));
        }
    }
}

fn is_word(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// Roles and channels of the database look like metrics.
const NO_METRICS: [&str; 5] = [
    "orchestrator_owner",
    "orchestrator_app",
    "orchestrator_reporter",
    "orchestrator_work",
    "orchestrator_control",
];

#[test]
fn every_metric_that_is_measured_is_in_the_list() {
    let mut found = BTreeSet::new();
    measured(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.contains("orchestrator_jobs_total"), "{found:?}");
    let unlisted: Vec<_> = found
        .iter()
        .filter(|name| {
            !NO_METRICS.contains(&name.as_str()) && !METRICS.iter().any(|metric| metric.name == **name)
        })
        .collect();
    assert!(unlisted.is_empty(), "not in src/telemetry/names.rs: {unlisted:?}");
}

#[test]
fn the_document_lists_every_metric_as_it_is() {
    let document = include_str!("../../docs/METRICS.md");
    for metric in METRICS {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Seconds => "histogram",
        };
        let row = format!(
            "| `{}` | {kind} | {} | {} | {} |",
            metric.name, metric.labels, metric.of, metric.says
        );
        assert!(document.contains(&row), "docs/METRICS.md lacks the row\n{row}");
    }
    assert_eq!(unknown(document), Vec::<String>::new());
}

#[test]
fn dashboard_and_alerts_ask_for_metrics_there_are() {
    let dashboard = include_str!("../../deploy/grafana/orchestrator.json");
    let panels: Value = serde_json::from_str(dashboard).unwrap();
    let asked: Vec<_> = panels["panels"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|panel| panel["type"] != "row")
        .collect();
    assert!(asked.len() > 15);
    for panel in asked {
        let expression = panel["targets"][0]["expr"].as_str().unwrap();
        assert!(!names(expression).is_empty(), "{panel}");
        assert_eq!(unknown(expression), Vec::<String>::new(), "{}", panel["title"]);
    }
    assert_eq!(
        unknown(include_str!("../../deploy/prometheus/alerts.yml")),
        Vec::<String>::new()
    );
    assert_eq!(
        unknown(include_str!("../../deploy/prometheus/alerts.test.yml")),
        Vec::<String>::new()
    );
    // Every alert is in the document, with what to do.
    let document = include_str!("../../docs/METRICS.md");
    for line in include_str!("../../deploy/prometheus/alerts.yml").lines() {
        if let Some(alert) = line.trim().strip_prefix("- alert: ") {
            assert!(
                document.contains(&format!("| {alert} |")),
                "docs/METRICS.md says nothing of {alert}"
            );
        }
    }
}

/// Where a process shows its metrics.
pub(crate) fn address(program: &mut Program) -> String {
    let line: Value = serde_json::from_str(&program.hear("metrics listening")).unwrap();
    format!("http://{}/metrics", line["http.address"].as_str().unwrap())
}

pub(crate) async fn scrape(address: &str) -> String {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::get(address).await.unwrap().text().await.unwrap()
}

/// The value of a series.
pub(crate) fn value(metrics: &str, series: &str) -> Option<f64> {
    let series = format!("{series} ");
    let value = metrics.lines().find_map(|line| line.strip_prefix(&series))?;
    value.parse().ok()
}

#[tokio::test]
async fn runner_and_scheduler_show_what_they_did_and_log_whose_it_was() {
    let database = database().await;
    let pool = database.pool();
    let directory = scratch();
    let project = directory.join("project");
    fs::create_dir(&project).unwrap();
    orchestrator::store::project::put(&pool, "demo", project.to_str().unwrap(), "administrator")
        .await
        .unwrap();
    let workspaces = directory.join("workspaces");
    let environment = [
        ("DATABASE_URL", database.url.expose()),
        ("WORKSPACES_ROOT", workspaces.to_str().unwrap()),
        ("METRICS_BIND", "127.0.0.1:0"),
        ("LOG_JSON", "true"),
        ("LOG_LEVEL", "debug,hyper=info"),
        ("SCHEDULER_TICK_SEC", "0.1"),
        ("SANDBOX", "off"),
    ];
    let mut runner = Program::start(&["runner"], &environment);
    let mut scheduler = Program::start(&["scheduler"], &environment);
    let (of_runner, of_scheduler) = (address(&mut runner), address(&mut scheduler));
    runner.hear("runner session open");
    let spec = json!({ "goal": "g", "project_id": "demo", "steps": [{ "step_id": "a", "argv": ["false"], "max_retries": 0 }] });
    let mut submit = assert_cmd::Command::new(env!("CARGO_BIN_EXE_orchestrator"));
    submit
        .args(["submit", "-"])
        .env_clear()
        .env("DATABASE_URL", database.url.expose());
    submit.write_stdin(spec.to_string()).assert().success();
    until(async || (ask(&pool, "select state from job").await == "failed").then_some(())).await;
    let line: Value = serde_json::from_str(&runner.hear("the attempt ended")).unwrap();
    let job = ask(&pool, "select id from job").await;
    assert_eq!(
        (&line["span"]["job.id"], &line["span"]["job.attempt"]),
        (&json!(job), &json!(1)),
        "{line}"
    );
    let metrics = until(async || {
        let metrics = scrape(&of_runner).await;
        value(&metrics, "orchestrator_jobs_total{status=\"failed\"}").map(|_| metrics)
    })
    .await;
    for (series, expected) in [
        ("orchestrator_jobs_total{status=\"failed\"}", 1.0),
        ("orchestrator_steps_total{status=\"failed\"}", 1.0),
        ("orchestrator_job_seconds_count{status=\"failed\"}", 1.0),
        ("orchestrator_step_seconds_count", 1.0),
        ("orchestrator_queue_wait_seconds_count", 1.0),
        ("orchestrator_settle_seconds_count", 1.0),
        ("orchestrator_runner_slots", 2.0),
        ("orchestrator_runner_slots_busy", 0.0),
    ] {
        assert_eq!(value(&metrics, series), Some(expected), "{series} in\n{metrics}");
    }
    assert!(value(&metrics, "orchestrator_claim_seconds_count").unwrap() >= 1.0);
    assert_eq!(unknown(&metrics), Vec::<String>::new());
    let metrics = until(async || {
        let metrics = scrape(&of_scheduler).await;
        value(&metrics, "orchestrator_scheduler_tick_timestamp_seconds").map(|_| metrics)
    })
    .await;
    assert!(
        value(&metrics, "orchestrator_scheduler_tick_seconds_count").unwrap() >= 1.0,
        "{metrics}"
    );
    assert_eq!(unknown(&metrics), Vec::<String>::new());
    for service in [&mut runner, &mut scheduler] {
        service.signal(SIGTERM);
        assert!(service.end().success(), "{}", service.said());
    }
}

#[tokio::test]
async fn a_metrics_address_that_is_taken_stops_the_start_with_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let database = database().await;
    let mut scheduler = Program::start(
        &["scheduler"],
        &[
            ("DATABASE_URL", database.url.expose()),
            ("METRICS_BIND", &address),
        ],
    );
    assert!(!scheduler.end().success());
    assert!(scheduler.said().contains("METRICS_BIND"), "{}", scheduler.said());
}
