//! A lease that cannot be renewed.

use std::fs;

use orchestrator::app::authenticate::Caller;
use orchestrator::app::hint::Hints;
use orchestrator::app::submit::submit;
use orchestrator::domain::spec::JobSpec;
use orchestrator::store::{Pool, project};
use serde_json::json;

use crate::support::{Program, ask, database, scratch, tell, until};

async fn put(pool: &Pool, argv: &[&str]) {
    let spec = json!({ "goal": "g", "project_id": "demo", "steps": [{ "step_id": "a", "argv": argv }] });
    let spec = JobSpec::read(spec.to_string().as_bytes()).unwrap();
    submit(pool, &Hints::default(), &Caller::operator("test"), &spec)
        .await
        .unwrap();
}

/// Whether a process has this word among its arguments.
fn runs(word: &str) -> bool {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    processes
        .filter_map(|process| fs::read(process.path().join("cmdline")).ok())
        .any(|arguments| {
            arguments
                .split(|byte| *byte == 0)
                .any(|argument| argument == word.as_bytes())
        })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_cannot_renew_its_lease_has_ended_its_steps_before_it_passes() {
    let database = database().await;
    let pool = database.pool();
    let directory = scratch();
    project::put(&pool, "demo", &directory.project(), "administrator")
        .await
        .unwrap();
    let workspaces = directory.join("workspaces");
    let environment = [
        ("DATABASE_URL", database.url.expose()),
        ("WORKSPACES_ROOT", workspaces.to_str().unwrap()),
        ("RUNNER_RECLAIM_AFTER_SEC", "24"),
        ("SANDBOX", "off"),
    ];
    let mut runner = Program::start(&["runner"], &environment);
    runner.hear("runner session open");
    let word = format!("lease-{}", uuid::Uuid::now_v7().simple());
    // It does not hear TERM, nor does what it leaves behind.
    let script = "trap '' TERM; (setsid sh -c \"trap '' TERM; sleep 600\" $0 &); while :; do sleep 1; done";
    put(&pool, &["sh", "-c", script, &word]).await;
    until(async || runs(&word).then_some(())).await;
    tell(&pool, "alter table runner rename to runner_away").await;
    until(async || (!runs(&word)).then_some(())).await;
    let holds = "select bool_and(lease_expires_at > now()) from runner_away";
    assert_eq!(
        ask(&pool, holds).await,
        "true",
        "it ended when others might have had the job"
    );
    runner.hear("everything this session holds is stopped");
    assert_eq!(ask(&pool, "select count(*) from attempt").await, "0");
}
