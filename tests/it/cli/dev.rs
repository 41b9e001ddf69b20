//! `orchestrator dev`: from nothing to a finished job, and back to nothing.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal::{SIGINT, SIGKILL};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use crate::support::{Program, Scratch, scratch};

/// A data directory.
struct Directory(Scratch);

impl Directory {
    fn new() -> Self {
        Self(scratch())
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    /// `dev --json` in this directory, ready, and what it printed.
    fn dev(&self) -> (Program, Value) {
        let arguments = [
            "dev",
            "--json",
            "--bind",
            "127.0.0.1:0",
            "--data-dir",
            self.path(),
        ];
        let mut dev = Program::start(&arguments, &[]);
        let ready = dev.hear("{\"api_url\"");
        (dev, serde_json::from_str(&ready).unwrap())
    }

    /// Processes of PostgreSQL whose working directory is this cluster's.
    fn servers(&self) -> usize {
        let data = self.0.canonicalize().unwrap().join("postgres/data");
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let here =
            |process: &fs::DirEntry| fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd == data);
        let command =
            |process: &fs::DirEntry| fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
        // Ordinary users may not ask root where its processes are, but may read what they were told.
        processes
            .filter(|process| here(process) || command(process).contains(data.to_str().unwrap()))
            .count()
    }
}

fn text<'a>(ready: &'a Value, field: &str) -> &'a str {
    ready[field]
        .as_str()
        .unwrap_or_else(|| panic!("no {field} in {ready}"))
}

async fn post(ready: &Value, steps: Value) -> String {
    let answer = reqwest::Client::new()
        .post(format!("{}/webhook", text(ready, "api_url")))
        .bearer_auth(text(ready, "token"))
        .json(&json!({ "goal": "try it", "project_id": "demo", "steps": steps }))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 202);
    let body: Value = answer.json().await.unwrap();
    body["job_id"].as_str().unwrap().to_owned()
}

async fn state_of(ready: &Value, job: &str) -> String {
    let mut db = PgConnection::connect(text(ready, "database_url")).await.unwrap();
    sqlx::query_scalar("select state::text from job where id = $1::uuid")
        .bind(job)
        .fetch_one(&mut db)
        .await
        .unwrap()
}

#[tokio::test]
async fn one_json_line_says_all_that_is_needed_to_run_a_job() {
    provider();
    let directory = Directory::new();
    let (mut dev, ready) = directory.dev();
    let docs = reqwest::get(text(&ready, "docs_url")).await.unwrap();
    assert_eq!(docs.status(), 200);
    assert!(docs.text().await.unwrap().contains("swagger"), "no Swagger UI");
    let job = post(&ready, json!([{ "step_id": "a", "argv": ["true"] }])).await;
    while state_of(&ready, &job).await != "succeeded" {
        tokio::task::yield_now().await;
    }
    dev.signal(SIGINT);
    assert!(dev.end().success(), "{}", dev.said());
    assert_eq!(dev.out().len(), 1, "{:?}", dev.out());
    assert_eq!(directory.servers(), 0, "PostgreSQL still runs");
}

#[tokio::test]
async fn second_start_reuses_the_data_also_after_kill_9() {
    provider();
    let directory = Directory::new();
    let (mut dev, first) = directory.dev();
    let job = post(&first, json!([{ "step_id": "a", "argv": ["true"] }])).await;
    dev.signal(SIGKILL);
    dev.end();
    let (mut dev, second) = directory.dev();
    assert_eq!(text(&first, "token"), text(&second, "token"));
    assert_eq!(text(&first, "database_url"), text(&second, "database_url"));
    // What was accepted before the kill is there, and comes to its end.
    while state_of(&second, &job).await != "succeeded" {
        tokio::task::yield_now().await;
    }
    dev.signal(SIGKILL);
    dev.end();
    while directory.servers() > 0 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn second_copy_on_the_same_directory_is_refused_with_the_reason() {
    let directory = Directory::new();
    let (first, _) = directory.dev();
    let arguments = ["dev", "--bind", "127.0.0.1:0", "--data-dir", directory.path()];
    let mut second = Program::start(&arguments, &[]);
    assert_eq!(second.end().code(), Some(1));
    let reason = format!(
        "is in use by process {}; stop that one, or choose another directory",
        first.pid()
    );
    assert!(second.said().contains(&reason), "{}", second.said());
}

#[test]
fn taken_address_is_named_before_anything_is_made() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let directory = Directory::new();
    let mut dev = Program::start(&["dev", "--bind", &address, "--data-dir", directory.path()], &[]);
    assert_eq!(dev.end().code(), Some(1));
    assert!(
        dev.said()
            .contains(&format!("cannot listen on {address}; choose another with --bind")),
        "{}",
        dev.said()
    );
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn initialisation_that_was_cut_off_is_done_again() {
    let directory = Directory::new();
    let unfinished = Path::new(directory.path()).join("postgres/data.unfinished/base");
    fs::create_dir_all(&unfinished).unwrap();
    fs::write(unfinished.join("PG_VERSION"), "half").unwrap();
    let (mut dev, _) = directory.dev();
    dev.signal(SIGINT);
    assert!(dev.end().success());
}

#[test]
fn directory_with_a_very_long_name_blanks_and_quotes_will_do() {
    let directory = Directory::new();
    let long = directory.0.join(format!("it's, \"{}\" % déjà", "x".repeat(120)));
    let arguments = [
        "dev",
        "--json",
        "--bind",
        "127.0.0.1:0",
        "--data-dir",
        long.to_str().unwrap(),
    ];
    let mut dev = Program::start(&arguments, &[]);
    dev.hear("{\"api_url\"");
    dev.signal(SIGINT);
    assert!(dev.end().success(), "{}", dev.said());
}

/// Hides PostgreSQL in a mount namespace of its own.
#[test]
#[cfg(target_os = "linux")]
fn missing_programs_are_said_with_the_package_to_install() {
    let directory = Directory::new();
    let hide = "for d in /usr/lib/postgresql /usr/local/bin; do [ ! -d $d ] || mount -t tmpfs none $d; done; exec \"$0\" \"$@\"";
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", hide])
        .args([
            env!("CARGO_BIN_EXE_orchestrator"),
            "dev",
            "--data-dir",
            directory.path(),
        ])
        .env_clear()
        .env("PATH", "/usr/bin:/bin");
    let mut dev = Program::spawn(command);
    assert_eq!(dev.end().code(), Some(1), "{}", dev.said());
    for remedy in [
        "apt-get install postgresql",
        "dnf install postgresql-server",
        "brew install postgresql",
        "PG_BIN",
    ] {
        assert!(dev.said().contains(remedy), "no {remedy} in {}", dev.said());
    }
}

#[test]
fn pg_bin_without_the_programs_is_said() {
    let directory = Directory::new();
    let mut dev = Program::start(
        &["dev", "--data-dir", directory.path()],
        &[("PG_BIN", "/nowhere")],
    );
    assert_eq!(dev.end().code(), Some(1));
    assert!(dev.said().contains("PG_BIN is /nowhere"), "{}", dev.said());
}

#[tokio::test]
async fn given_database_is_used_and_no_server_is_made() {
    provider();
    let database = crate::support::empty_database().await;
    let directory = Directory::new();
    let arguments = [
        "dev",
        "--json",
        "--bind",
        "127.0.0.1:0",
        "--data-dir",
        directory.path(),
    ];
    let mut dev = Program::start(&arguments, &[("DATABASE_URL", database.url.expose())]);
    let ready: Value = serde_json::from_str(&dev.hear("{\"api_url\"")).unwrap();
    assert_eq!(text(&ready, "database_url"), database.url.expose());
    post(&ready, json!([{ "step_id": "a", "argv": ["true"] }])).await;
    assert!(!Path::new(directory.path()).join("postgres").exists());
    dev.signal(SIGINT);
    assert!(dev.end().success());
}

fn provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
