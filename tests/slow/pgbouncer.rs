//! Behind PgBouncer: everything works where a client keeps its connection, and a service refuses to
//! work where it does not.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

use nix::unistd::{Uid, User};
use serde_json::json;

use crate::support::{Database, Program, Scratch, ask, database, scratch, until};

/// A pooler in front of one database.
struct Pooler {
    _process: Program,
    url: String,
    _directory: Scratch,
}

impl Pooler {
    fn start(database: &Database, mode: &str, more: &str) -> Self {
        Self::start_at(free_port(), database, mode, more)
    }

    fn start_at(port: u16, database: &Database, mode: &str, more: &str) -> Self {
        let directory = scratch();
        let url = url::Url::parse(database.url.expose()).unwrap();
        let socket = url.query_pairs().find(|(key, _)| key == "host").unwrap().1;
        let name = url.path().trim_start_matches('/');
        let settings = format!(
            "[databases]\n{name} = host={socket} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = any\npool_mode = {mode}\nmax_client_conn = 200\n{more}\n"
        );
        let file = directory.join("pgbouncer.ini");
        fs::write(&file, settings).unwrap();
        let mut process = Program::spawn(command(&file));
        process.hear("process up");
        let url = format!("postgresql://postgres@127.0.0.1:{port}/{name}");
        Self {
            _process: process,
            url,
            _directory: directory,
        }
    }
}

/// Taken and let go: nobody else on this machine asks for it in between.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// PgBouncer refuses to run as root, and the server's socket is its user's only.
fn command(settings: &Path) -> Command {
    let mut command = match Uid::effective().is_root() {
        false => Command::new("pgbouncer"),
        true => {
            let user = ["postgres", "nobody"]
                .iter()
                .find_map(|name| User::from_name(name).unwrap())
                .unwrap();
            chown(settings, Some(user.uid.as_raw()), None).unwrap();
            let mut command = Command::new("setpriv");
            command
                .arg(format!("--reuid={}", user.uid))
                .arg(format!("--regid={}", user.gid));
            command.args(["--clear-groups", "pgbouncer"]);
            command
        }
    };
    command
        .arg(settings)
        .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
    command
}

fn environment<'a>(pooler: &'a Pooler, workspaces: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("DATABASE_URL", pooler.url.as_str()),
        ("WORKSPACES_ROOT", workspaces),
        ("PROJECT_ALIASES", "demo=/srv/demo"),
        ("SANDBOX", "off"),
    ]
}

/// Where the API that said this listens.
fn address(said: &str) -> &str {
    let (_, rest) = said.rsplit_once("http.address=").unwrap();
    rest.split_whitespace().next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_pooler_in_session_mode_a_job_runs_to_its_end_and_hints_arrive() {
    let database = database().await;
    let pooler = Pooler::start(&database, "session", "default_pool_size = 20");
    let directory = scratch();
    let workspaces = directory.join("workspaces");
    let mut environment = environment(&pooler, workspaces.to_str().unwrap());
    // Only a hint can wake the runner within the test's patience, or tell it that a job is to stop.
    environment.extend([
        ("RUNNER_POLL_INTERVAL_SEC", "3000"),
        ("RUNNER_RECLAIM_AFTER_SEC", "3000"),
    ]);
    let alias = format!("demo={}", directory.project());
    environment.extend([
        ("WEBHOOK_TOKENS", "a-token-of-the-environment=demo"),
        ("PROJECT_ALIASES", &alias),
    ]);
    for command in [&["migrate"][..], &["unlock"]] {
        let mut program = Program::start(command, &environment);
        assert!(program.end().success(), "{command:?}: {}", program.said());
    }
    let mut api = Program::start(&["api", "--bind", "127.0.0.1:0"], &environment);
    let said = api.hear("API listening");
    let address = address(&said);
    let mut runner = Program::start(&["runner"], &environment);
    runner.hear("runner session open");
    let mut scheduler = Program::start(&["scheduler"], &environment);
    scheduler.hear("scheduler running");
    let pool = database.pool();
    until(async || (ask(&pool, "select count(*) from project").await == "1").then_some(())).await;
    let spec = json!({ "goal": "g", "project_id": "demo", "steps": [{ "step_id": "a", "agent": "noop" }] });
    let file = directory.join("job.json");
    fs::write(&file, spec.to_string()).unwrap();
    let mut submit = Program::start(&["submit", file.to_str().unwrap()], &environment);
    assert!(submit.end().success(), "{}", submit.said());
    until(async || (ask(&pool, "select state from job").await == "succeeded").then_some(())).await;

    // By way of the API, for a time that the scheduler finds has come; and one that is stopped by a hint.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::new();
    let post = async |spec: serde_json::Value| {
        let request = http.post(format!("http://{address}/webhook"));
        let answer = request
            .bearer_auth("a-token-of-the-environment")
            .json(&spec)
            .send();
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), 202);
        answer.json::<serde_json::Value>().await.unwrap()["job_id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let mut later = spec.clone();
    later["run_at"] = json!(orchestrator::domain::clock::now() + std::time::Duration::from_secs(1));
    let later = post(later).await;
    let mut long = spec;
    long["steps"] = json!([{ "step_id": "a", "argv": ["sleep", "600"] }]);
    let long = post(long).await;
    let state = async |job: &str| ask(&pool, &format!("select state from job where id = '{job}'")).await;
    until(async || (state(&later).await == "succeeded").then_some(())).await;
    until(async || (state(&long).await == "running").then_some(())).await;
    let mut cancel = Program::start(&["cancel", &long], &environment);
    assert!(cancel.end().success(), "{}", cancel.said());
    until(async || (state(&long).await == "cancelled").then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_pooler_in_transaction_mode_every_service_and_command_refuses_with_the_reason() {
    // Also where each of two clients is lent its own connection, as long as they take turns.
    for more in [
        "default_pool_size = 20",
        "default_pool_size = 2\nserver_round_robin = 1",
    ] {
        refused_behind(more).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_through_such_a_pooler_that_comes_after_the_service() {
    let database = database().await;
    let port = free_port();
    let name = url::Url::parse(database.url.expose()).unwrap().path().to_owned();
    let url = format!("postgresql://postgres@127.0.0.1:{port}{name}");
    let environment = [
        ("DATABASE_URL", url.as_str()),
        ("PROJECT_ALIASES", "demo=/srv/demo"),
        ("WEBHOOK_TOKENS", "sesame=*"),
    ];
    let mut api = Program::start(&["api", "--bind", "127.0.0.1:0"], &environment);
    let said = api.hear("API listening");
    let address = address(&said);
    // It takes two connections to see it: for as long as there is one nobody is answered by way of it.
    let one = Pooler::start_at(port, &database, "transaction", "max_client_conn = 1");
    api.hear("no more connections");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::new();
    let asked = http
        .get(format!("http://{address}/api/v1/jobs"))
        .bearer_auth("sesame")
        .send();
    let answer = asked.await.unwrap();
    assert_eq!(answer.status(), 503);
    drop(one);
    let _pooler = Pooler::start_at(port, &database, "transaction", "default_pool_size = 20");
    let status = api.end();
    let said = api.said();
    assert!(
        !status.success() && said.contains("pool_mode = session"),
        "{said}"
    );
    // The environment is brought into the tables as soon as they can be reached.
    let pool = database.pool();
    assert_eq!(ask(&pool, "select count(*) from project").await, "0");
    assert_eq!(ask(&pool, "select count(*) from token").await, "0");
}

async fn refused_behind(more: &str) {
    let database = database().await;
    let pooler = Pooler::start(&database, "transaction", more);
    let environment = environment(&pooler, "/nowhere");
    for arguments in [
        &["api", "--bind", "127.0.0.1:0"][..],
        &["runner"],
        &["scheduler"],
        &["status", "01990000-0000-7000-8000-000000000000"],
        &["migrate"],
        &["unlock", "--yes"],
        &["jobs"],
        &["retry", "01990000-0000-7000-8000-000000000000"],
        &["recover"],
    ] {
        let mut program = Program::start(arguments, &environment);
        let status = program.end();
        assert!(!status.success(), "{arguments:?} went on");
        let said = program.said();
        assert!(
            said.contains("pool_mode = session"),
            "{arguments:?} said:\n{said}"
        );
    }
    let mut doctor = Program::start(&["doctor"], &environment);
    assert_eq!(doctor.end().code(), Some(2));
    let said = doctor.said();
    assert!(
        said.contains("FAIL  pooler") && said.contains("pool_mode = session"),
        "{said}"
    );
}
