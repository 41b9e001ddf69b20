//! A lease that cannot be renewed, and a database that is away for a minute.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use orchestrator::app::authenticate::Caller;
use orchestrator::app::hint::Hints;
use orchestrator::app::submit::submit;
use orchestrator::domain::spec::JobSpec;
use orchestrator::postgres::{Cluster, Hold, Keep};
use orchestrator::store::{Pool, database as pools, project};
use serde_json::json;

use crate::support::{Program, ask, database, programs, scratch, tell, until};

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

fn server(hold: &Hold) -> Cluster {
    Cluster::start(&programs(), hold, Keep::Data).unwrap()
}

/// Waits for the file `$0`, then ends.
const WAIT: &str = "while [ ! -e \"$0\" ]; do sleep 0.1; done";

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_for_a_minute_costs_no_attempt_while_leases_are_longer() {
    let directory = scratch();
    let hold = Hold::take(&directory).unwrap();
    let cluster = server(&hold);
    cluster.create_database("orchestrator").unwrap();
    let url = cluster.url("orchestrator");
    let workspaces = directory.join("workspaces");
    let environment = [
        ("DATABASE_URL", url.as_str()),
        ("WORKSPACES_ROOT", workspaces.to_str().unwrap()),
        ("RUNNER_RECLAIM_AFTER_SEC", "150"),
        ("RUNNER_SLOTS", "6"),
        ("SANDBOX", "off"),
    ];
    assert!(Program::start(&["migrate"], &environment).end().success());
    let pool = pools::pool(&url.parse().unwrap(), "test", 2).unwrap();
    project::put(&pool, "demo", &directory.project(), "administrator")
        .await
        .unwrap();
    let mut runner = Program::start(&["runner"], &environment);
    let mut scheduler = Program::start(&["scheduler"], &environment);
    runner.hear("runner session open");
    scheduler.hear("scheduler running");
    let (early, late) = (directory.join("early"), directory.join("late"));
    for go in [&early, &early, &early, &late, &late, &late] {
        put(&pool, &["sh", "-c", WAIT, go.to_str().unwrap()]).await;
    }
    for _ in 0..20 {
        put(&pool, &["true"]).await;
    }
    let running = "select count(*) from job where state = 'running'";
    until(async || (ask(&pool, running).await == "6").then_some(())).await;
    pool.close().await;

    cluster.stop().unwrap();
    away(&early).await;
    let cluster = server(&hold);
    fs::write(&late, "").unwrap();
    let pool = pools::pool(&url.parse().unwrap(), "test", 2).unwrap();
    let done = "select count(*) from job where state = 'succeeded'";
    until(async || (ask(&pool, done).await == "26").then_some(())).await;
    assert_eq!(
        ask(&pool, "select string_agg(distinct outcome, ' ') from attempt").await,
        "succeeded"
    );
    assert_eq!(ask(&pool, "select count(*) from attempt").await, "26");
    pool.close().await;
    for service in [&mut runner, &mut scheduler] {
        service.signal(Signal::SIGTERM);
        assert!(service.end().success(), "{}", service.said());
    }
    cluster.stop().unwrap();
}

/// A minute passes; half-way, some steps end and have nobody to tell.
async fn away(early: &Path) {
    tokio::time::sleep(Duration::from_secs(30)).await;
    fs::write(early, "").unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
}
