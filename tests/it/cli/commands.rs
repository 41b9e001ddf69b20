//! `migrate`, `submit`, `status`, `logs`: against a database, right and wrong.

use assert_cmd::Command;
use serde_json::{Value, json};

use crate::support::{ask, database, empty_database};

pub(super) fn orchestrator(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orchestrator"));
    command
        .args(arguments)
        .env_clear()
        .env("DATABASE_URL", url)
        .env("PATH", "/usr/bin:/bin");
    command
}

/// Standard output of a run that must succeed.
pub(super) fn out(mut command: Command) -> String {
    String::from_utf8(command.assert().success().get_output().stdout.clone()).unwrap()
}

/// Standard error of a run that must end with `code`.
pub(super) fn fault(mut command: Command, code: i32) -> String {
    let assert = command.assert().code(code).stdout("");
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

pub(super) async fn with_project() -> (crate::support::Database, orchestrator::store::Pool) {
    let database = database().await;
    let pool = database.pool();
    orchestrator::store::project::put(&pool, "demo", "/srv/demo", "administrator")
        .await
        .unwrap();
    (database, pool)
}

fn job() -> String {
    json!({ "goal": "g", "project_id": "demo", "steps": [{ "step_id": "a", "argv": ["true"] }] }).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_migrations_at_once_apply_each_file_once() {
    let database = empty_database().await;
    let url = database.url.expose();
    let mut said: Vec<String> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..6)
            .map(|_| scope.spawn(|| out(orchestrator(url, &["migrate"]))))
            .collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    said.sort();
    assert!(said[0].starts_with("applied V1__projects_and_tokens"), "{said:?}");
    assert!(
        said[1..].iter().all(|said| said == "the schema is current\n"),
        "{said:?}"
    );
}

#[tokio::test]
async fn submitted_job_is_a_row_and_status_shows_it() {
    let (database, pool) = with_project().await;
    let url = database.url.expose();
    let mut submit = orchestrator(url, &["submit", "-"]);
    submit.write_stdin(job());
    let id = out(submit).trim().to_owned();
    assert_eq!(
        ask(&pool, &format!("select state from job where id = '{id}'")).await,
        "available"
    );
    let said = out(orchestrator(url, &["status", &id]));
    let waits = format!("job {id} is available: it waits for a runner of queue default since ");
    assert!(said.starts_with(&waits), "{said}");
    let shown: Value = serde_json::from_str(&out(orchestrator(url, &["status", "--json", &id]))).unwrap();
    assert_eq!(
        (&shown["state"], &shown["project_id"]),
        (&json!("available"), &json!("demo"))
    );
    assert_eq!(out(orchestrator(url, &["logs", &id])), "");
}

#[tokio::test]
async fn jobs_are_listed_newest_first_by_what_is_asked_for_and_say_what_others_wrote_in_one_line() {
    let (database, pool) = with_project().await;
    let url = database.url.expose();
    let put = |goal: &str, tag: &str| {
        let spec = json!({ "goal": goal, "project_id": "demo", "tags": [tag],
                           "steps": [{ "step_id": "a", "argv": ["true"] }] });
        let mut submit = orchestrator(url, &["submit", "-"]);
        submit.write_stdin(spec.to_string());
        out(submit).trim().to_owned()
    };
    let long = "word ".repeat(30);
    let (odd, plain) = (put("two\nlines \u{1b}[31mred", "odd"), put(&long, "plain"));
    out(orchestrator(url, &["cancel", &odd]));
    let listed = |arguments: &[&str]| {
        let all = [&["jobs"], arguments].concat();
        let table = out(orchestrator(url, &all));
        let lines: Vec<_> = table.lines().skip(1).map(|line| line.trim().to_owned()).collect();
        lines
    };
    let lines = listed(&[]);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].starts_with(&plain) && lines[0].ends_with('…'),
        "{lines:?}"
    );
    assert!(
        lines[1].starts_with(&odd) && lines[1].ends_with("two lines red"),
        "{lines:?}"
    );
    for (arguments, ids) in [
        (&["--state", "cancelled"][..], &[&odd][..]),
        (&["--code", "cancelled"], &[&odd]),
        (&["--tag", "plain"], &[&plain]),
        (
            &["--queue", "default", "--project", "demo", "--limit", "1"],
            &[&plain],
        ),
        (&["--since", "2100-01-01T00:00:00Z"], &[]),
    ] {
        let json = out(orchestrator(url, &[&["jobs", "--json"], arguments].concat()));
        let jobs: Vec<Value> = serde_json::from_str(&json).unwrap();
        let found: Vec<_> = jobs.iter().map(|job| job["job_id"].as_str().unwrap()).collect();
        assert_eq!(found, ids, "{arguments:?}");
        assert_eq!(listed(arguments).len(), ids.len(), "{arguments:?}");
    }
    let said = fault(orchestrator(url, &["jobs", "--project", "nobody"]), 1);
    assert!(
        said.contains("no project \"nobody\"") && said.contains("project list"),
        "{said}"
    );
    fault(orchestrator(url, &["jobs", "--state", "odd"]), 2);
    drop(pool);
}

#[tokio::test]
async fn what_does_not_hold_is_said_with_its_path_and_nothing_is_stored() {
    let (database, pool) = with_project().await;
    let url = database.url.expose();
    let cases = [
        ("{", "line 1"),
        ("", "standard input is empty"),
        (
            r#"{"goal": "g", "project_id": "demo", "steps": [{"step_id": "a", "argvv": []}]}"#,
            "steps[0]",
        ),
        (
            r#"{"goal": "g", "project_id": "nobody", "steps": [{"step_id": "a", "argv": ["true"]}]}"#,
            "project_id",
        ),
        (
            r#"{"goal": "", "project_id": "demo", "steps": [{"step_id": "a", "argv": ["true"]}]}"#,
            "goal",
        ),
    ];
    for (input, named) in cases {
        let mut submit = orchestrator(url, &["submit", "-"]);
        submit.write_stdin(input);
        let said = fault(submit, 1);
        assert!(said.contains(named), "{input}: {said}");
    }
    let said = fault(orchestrator(url, &["submit", "/no/such/file"]), 1);
    assert!(said.contains("cannot read /no/such/file"), "{said}");
    assert_eq!(ask(&pool, "select count(*) from job").await, "0");
}

#[tokio::test]
async fn job_that_is_not_there_is_said() {
    let (database, _pool) = with_project().await;
    let url = database.url.expose();
    let id = "01980000-0000-7000-8000-000000000000";
    for command in [["status", id], ["logs", id]] {
        assert!(fault(orchestrator(url, &command), 1).contains(&format!("there is no job {id}")));
    }
    // No id at all: the command line is wrong.
    let said = fault(orchestrator(url, &["status", "latest"]), 2);
    assert!(said.contains("'latest'"), "{said}");
}

#[test]
fn database_that_is_away_is_said_without_the_password() {
    // Port 1 of the loopback: nobody listens there.
    let url = "postgresql://someone:hunter2@127.0.0.1:1/db";
    let id = "01980000-0000-7000-8000-000000000000";
    for arguments in [&["status", id][..], &["logs", id], &["migrate"]] {
        let said = fault(orchestrator(url, arguments), 1);
        assert!(!said.contains("hunter2"), "{said}");
        assert!(said.contains("PostgreSQL"), "{said}");
    }
}

#[test]
fn database_url_that_is_none_or_missing_is_a_wrong_command_line() {
    let said = fault(orchestrator("mysql://root:hunter2@h/d", &["migrate"]), 2);
    assert!(
        said.contains("is not a PostgreSQL URL") && !said.contains("hunter2"),
        "{said}"
    );
    let mut without = Command::new(env!("CARGO_BIN_EXE_orchestrator"));
    without.arg("migrate").env_clear();
    assert!(fault(without, 2).contains("--database-url"));
}

#[tokio::test]
async fn service_on_an_empty_database_says_what_to_run() {
    let database = empty_database().await;
    let mut submit = orchestrator(database.url.expose(), &["submit", "-"]);
    submit.write_stdin(job());
    let said = fault(submit, 1);
    assert!(said.contains("orchestrator migrate"), "{said}");
}
