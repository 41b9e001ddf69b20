//! What is shipped for Prometheus and Grafana, held against Prometheus' own tool.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::scratch;

/// `promtool` comes with Debian's package prometheus.
fn promtool(directory: &Path, arguments: &[&str]) {
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(directory)
        .output();
    let output = output.expect("promtool is missing: install Debian's package prometheus");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn alerts_are_rules_and_fire_on_what_they_are_for() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus");
    promtool(&directory, &["check", "rules", "--lint-fatal", "alerts.yml"]);
    promtool(&directory, &["test", "rules", "alerts.test.yml"]);
}

#[test]
fn every_panel_of_the_dashboard_asks_in_prometheus_language() {
    let dashboard: Value =
        serde_json::from_str(include_str!("../../deploy/grafana/orchestrator.json")).unwrap();
    let mut rules = "groups:\n  - name: panels\n    rules:\n".to_owned();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap().replace("$__rate_interval", "5m");
            let name = format!("panel_{}_{}", panel["id"], target["refId"].as_str().unwrap());
            writeln!(
                rules,
                "      - record: {name}\n        expr: {}",
                Value::from(expression)
            )
            .unwrap();
        }
    }
    let directory = scratch();
    std::fs::write(directory.join("panels.yml"), rules).unwrap();
    promtool(&directory, &["check", "rules", "panels.yml"]);
}
