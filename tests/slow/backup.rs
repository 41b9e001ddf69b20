//! A dump taken while everything runs is one moment of it: restored into a new cluster it is whole, and
//! services go on from there.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use orchestrator::app::authenticate::Caller;
use orchestrator::app::hint::Hints;
use orchestrator::app::submit::submit;
use orchestrator::domain::spec::JobSpec;
use orchestrator::postgres::{Cluster, Hold, Keep};
use orchestrator::store::{Pool, database as pools, project};
use serde_json::json;

use crate::support::{Program, ask, database, programs, scratch, until};

/// The questions of docs/DATABASE.md that a whole database answers with 0.
fn questions() -> Vec<String> {
    let (_, rest) = include_str!("../../docs/DATABASE.md")
        .split_once("Each of these answers 0:")
        .unwrap();
    let block = rest
        .split("```sql\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let questions: Vec<String> = block
        .split(";\n")
        .map(|question| question.trim().to_owned())
        .filter(|question| !question.is_empty())
        .collect();
    assert!(questions.len() >= 5);
    questions
}

async fn is_whole(pool: &Pool) {
    for question in questions() {
        let sql: String = question
            .lines()
            .filter(|line| !line.starts_with("--"))
            .collect::<Vec<_>>()
            .join("\n");
        assert_eq!(ask(pool, &sql).await, "0", "{question}");
    }
}

/// Runs one of PostgreSQL's programs to its end.
fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(programs().path(program))
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn service(arguments: &[&str], url: &str, directory: &Path) -> Program {
    let workspaces = directory.join("workspaces");
    let environment = [
        ("DATABASE_URL", url),
        ("WORKSPACES_ROOT", workspaces.to_str().unwrap()),
        ("SANDBOX", "off"),
        ("RUNNER_SLOTS", "8"),
        ("RUNNER_RECLAIM_AFTER_SEC", "2"),
        ("SCHEDULER_TICK_SEC", "0.1"),
    ];
    Program::start(arguments, &environment)
}

/// Puts jobs in until told to stop: of one step and of three, some of which fail.
async fn load(pool: Pool, stop: &AtomicBool) -> usize {
    let hints = Hints::start(pool.clone());
    let caller = Caller::operator("test");
    let step = |n: usize| json!({ "step_id": format!("s{n}"), "argv": ["sh", "-c", if n == 7 { "exit 3" } else { "echo hello" }], "max_retries": 0 });
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        let steps = if count % 3 == 0 {
            json!([step(count % 10)])
        } else {
            json!([step(1), step(2), step(3)])
        };
        let spec = json!({ "goal": "g", "project_id": "demo", "steps": steps, "max_attempts": 10 });
        submit(
            &pool,
            &hints,
            &caller,
            &JobSpec::read(spec.to_string().as_bytes()).unwrap(),
        )
        .await
        .unwrap();
        count += 1;
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn dump_under_load_restores_to_a_whole_database_that_services_go_on_from() {
    let database = database().await;
    let pool = database.pool();
    let directory = scratch();
    project::put(&pool, "demo", &directory.project(), "administrator")
        .await
        .unwrap();
    let mut services = [
        service(&["runner"], database.url.expose(), &directory),
        service(&["scheduler"], database.url.expose(), &directory),
    ];
    static STOP: AtomicBool = AtomicBool::new(false);
    let loading = tokio::spawn(load(pool.clone(), &STOP));
    let running = "select (count(*) filter (where state = 'running') > 0 and count(*) filter (where state = 'succeeded') > 100)::text from job";
    until(async || (ask(&pool, running).await == "true").then_some(())).await;
    let dump = directory.join("orchestrator.dump");
    let (url, file) = (
        database.url.expose().to_owned(),
        dump.to_str().unwrap().to_owned(),
    );
    let dumping =
        tokio::task::spawn_blocking(move || run("pg_dump", &["--format=custom", "--file", &file, &url]));
    dumping.await.unwrap();
    let during = ask(&pool, "select count(*) from job").await;
    STOP.store(true, Ordering::Relaxed);
    assert!(loading.await.unwrap() > 100);
    for service in &mut services {
        service.signal(nix::sys::signal::Signal::SIGKILL);
        service.end();
    }

    // A new cluster, restored as the document says.
    let home = scratch();
    let hold = Hold::take(&home).unwrap();
    let cluster = tokio::task::spawn_blocking(move || {
        Cluster::start(&programs(), &hold, Keep::Nothing).map(|cluster| (cluster, hold))
    })
    .await
    .unwrap()
    .unwrap();
    let (cluster, _hold) = cluster;
    cluster.create_database("restored").unwrap();
    let url = cluster.url("restored");
    let roles = [
        "create role orchestrator_owner",
        "create role orchestrator_app",
        "create role orchestrator_reporter",
    ];
    run(
        "psql",
        &[
            "--no-psqlrc",
            "-c",
            roles[0],
            "-c",
            roles[1],
            "-c",
            roles[2],
            &url,
        ],
    );
    run(
        "pg_restore",
        &["--exit-on-error", "--dbname", &url, dump.to_str().unwrap()],
    );
    let mut migrate = service(&["migrate"], &url, &directory);
    assert!(migrate.end().success(), "{}", migrate.said());
    assert!(
        migrate.said().contains("the schema is current"),
        "{}",
        migrate.said()
    );

    let restored = pools::pool(&url.parse().unwrap(), "test", 4).unwrap();
    is_whole(&restored).await;
    let jobs = "select count(*) from job";
    let there: u64 = ask(&restored, jobs).await.parse().unwrap();
    assert!(
        there > 100 && there <= during.parse().unwrap(),
        "{there} of {during}"
    );
    // What was running had been claimed by a runner of the old cluster; all of it goes on and ends.
    let _services = [
        service(&["runner"], &url, &directory),
        service(&["scheduler"], &url, &directory),
    ];
    until(async || {
        (ask(&restored, "select count(*) from job where finished_at is null").await == "0").then_some(())
    })
    .await;
    assert_eq!(ask(&restored, jobs).await, there.to_string());
    is_whole(&restored).await;
    assert_eq!(
        ask(
            &restored,
            "select count(*) from job where state not in ('succeeded', 'failed')"
        )
        .await,
        "0"
    );
    // Sums go on too, and agree with the rows.
    let same = "select (select sum(jobs) from rollup_job where what = 'submitted') = (select count(*) from job)
                   and (select sum(jobs) from rollup_job where what in ('succeeded', 'failed')) = (select count(*) from job)";
    until(async || (ask(&restored, same).await == "true").then_some(())).await;
}
