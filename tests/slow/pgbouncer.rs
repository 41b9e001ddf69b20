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
    fn start(database: &Database, mode: &str) -> Self {
        let directory = scratch();
        let url = url::Url::parse(database.url.expose()).unwrap();
        let socket = url.query_pairs().find(|(key, _)| key == "host").unwrap().1;
        let name = url.path().trim_start_matches('/');
        // Taken and let go: nobody else on this machine asks for it in between.
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let settings = format!(
            "[databases]\n{name} = host={socket} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = any\npool_mode = {mode}\ndefault_pool_size = 20\nmax_client_conn = 200\n"
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
        ("ARTIFACTS_ROOT", workspaces),
        ("PROJECT_ALIASES", "demo=/srv/demo"),
        ("SANDBOX", "off"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_pooler_in_session_mode_a_job_runs_to_its_end_and_hints_arrive() {
    let database = database().await;
    let pooler = Pooler::start(&database, "session");
    let directory = scratch();
    let workspaces = directory.join("workspaces");
    let mut environment = environment(&pooler, workspaces.to_str().unwrap());
    // Only a hint can wake the runner within the test's patience.
    environment.push(("RUNNER_POLL_INTERVAL_SEC", "3000"));
    let mut api = Program::start(&["api", "--bind", "127.0.0.1:0"], &environment);
    api.hear("API listening");
    let mut runner = Program::start(&["runner"], &environment);
    runner.hear("runner session open");
    let pool = database.pool();
    until(async || (ask(&pool, "select count(*) from project").await == "1").then_some(())).await;
    let spec = json!({ "goal": "g", "project_id": "demo", "steps": [{ "step_id": "a", "agent": "noop" }] });
    let file = directory.join("job.json");
    fs::write(&file, spec.to_string()).unwrap();
    let mut submit = Program::start(&["submit", file.to_str().unwrap()], &environment);
    assert!(submit.end().success(), "{}", submit.said());
    until(async || (ask(&pool, "select state from job").await == "succeeded").then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_pooler_in_transaction_mode_every_service_and_command_refuses_with_the_reason() {
    let database = database().await;
    let pooler = Pooler::start(&database, "transaction");
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
