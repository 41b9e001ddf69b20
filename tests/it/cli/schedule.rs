//! `orchestrator schedule …`: files applied, schedules listed, steered and looked at.

use assert_cmd::Command;
use orchestrator::store::Pool;
use serde_json::{Value, json};

use crate::support::{Database, Scratch, ask, database, scratch};

/// A database with a project, and a directory of files.
struct Files {
    database: Database,
    pool: Pool,
    directory: Scratch,
}

impl Files {
    async fn new() -> Self {
        let database = database().await;
        let pool = database.pool();
        orchestrator::store::project::put(&pool, "demo", "/srv/demo", "administrator")
            .await
            .unwrap();
        Self {
            database,
            pool,
            directory: scratch(),
        }
    }

    fn write(&self, name: &str, text: &str) -> &Self {
        let path = self.directory.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orchestrator"));
        command
            .current_dir(&*self.directory)
            .arg("schedule")
            .args(arguments)
            .env_clear()
            .env("DATABASE_URL", self.database.url.expose());
        command
    }

    /// Standard output of a run that must succeed.
    fn out(&self, arguments: &[&str]) -> String {
        let assert = self.command(arguments).assert().success();
        String::from_utf8(assert.get_output().stdout.clone()).unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.out(arguments)).unwrap()
    }

    /// Standard error of a run that must fail.
    fn fault(&self, arguments: &[&str]) -> String {
        let assert = self.command(arguments).assert().code(1).stdout("");
        String::from_utf8(assert.get_output().stderr.clone()).unwrap()
    }
}

const NIGHTLY: &str = "
name: nightly
expression: 30 2 * * mon-fri
zone: Europe/Berlin
failure_budget: 5
job:
  goal: Nightly report
  project_id: demo
  steps:
    - {step_id: report, argv: [./report.sh, --all]}
---
name: poll
expression: every 15m
job: {goal: Poll, project_id: demo}
";

const PREDECESSORS: &str = r#"[
  {"id": "tidy", "enabled": true, "schedule": "0 3 * * *", "payload": {"goal": "tidy up", "project_id": "demo", "job_id": "tidy-1"}},
  {"id": "rest", "enabled": false, "schedule": "@weekly", "payload": {"goal": "rest", "project_id": "demo"}}
]"#;

#[tokio::test]
async fn files_are_applied_and_the_difference_is_shown() {
    let files = Files::new().await;
    files.write("schedules/nightly.yaml", NIGHTLY);
    files.write("schedules/below/old.json", PREDECESSORS);
    files.write("schedules/README.md", "no schedule");
    let dry = files.out(&["apply", "schedules", "--dry-run"]);
    assert!(
        dry.ends_with("4 created, 0 changed, 0 deleted, 0 unchanged (dry run: nothing was changed)\n"),
        "{dry}"
    );
    assert_eq!(ask(&files.pool, "select count(*) from schedule").await, "0");
    let made = files.command(&["apply", "schedules"]).assert().success();
    let said = String::from_utf8(made.get_output().stderr.clone()).unwrap();
    assert!(
        said.contains("below/old.json, schedule 1: payload.job_id is left out"),
        "{said}"
    );
    assert_eq!(
        String::from_utf8(made.get_output().stdout.clone()).unwrap(),
        "+ demo/tidy\n    0 3 * * * (UTC)\n+ demo/rest\n    @weekly (UTC)\n+ demo/nightly\n    30 2 * * MON-FRI (Europe/Berlin)\n\
         + demo/poll\n    every 15m (UTC)\n4 created, 0 changed, 0 deleted, 0 unchanged\n"
    );
    assert_eq!(
        ask(
            &files.pool,
            "select string_agg(name, ' ') from schedule where paused_at is not null"
        )
        .await,
        "rest"
    );
    assert_eq!(
        files.out(&["apply", "schedules"]),
        "0 created, 0 changed, 0 deleted, 4 unchanged\n"
    );

    files.write(
        "schedules/nightly.yaml",
        &NIGHTLY.replace("--all", "--new").replace("30 2", "45 2"),
    );
    std::fs::remove_file(files.directory.join("schedules/below/old.json")).unwrap();
    assert_eq!(
        files.out(&["apply", "schedules", "--prune"]),
        "~ demo/nightly\n    expression: \"30 2 * * MON-FRI\" → \"45 2 * * MON-FRI\"\n    \
         job.steps[0].argv[1]: \"--all\" → \"--new\"\n- demo/tidy\n- demo/rest\n\
         0 created, 1 changed, 2 deleted, 1 unchanged\n"
    );
    let again = files.json(&["apply", "schedules", "--prune", "--json"]);
    assert_eq!(again["dry_run"], false);
    assert_eq!(again["schedules"][0]["action"], "unchanged");
}

#[tokio::test]
async fn everything_that_is_wrong_in_files_is_said_with_its_place_and_nothing_is_changed() {
    let files = Files::new().await;
    files.write(
        "a.yaml",
        &NIGHTLY
            .replace("mon-fri", "mon-frei")
            .replace("every 15m", "every day"),
    );
    files.write("b.json", "{\"name\": ");
    files.write(
        "c.yml",
        "name: nightly\nexpression_: '@daily'\njob: {goal: g, project_id: demo}\n",
    );
    let said = files.fault(&["apply", "."]);
    for part in [
        "a.yaml, schedule 1: expression: day-of-week field",
        "a.yaml, schedule 2: expression: ",
        "b.json: EOF while parsing",
        "c.yml: expression_: unknown field",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    files
        .write("a.yaml", NIGHTLY)
        .write("b.json", "[]")
        .write("c.yml", NIGHTLY);
    let said = files.fault(&["apply", "."]);
    assert!(
        said.contains("c.yml, schedule 1: demo/nightly is in ./a.yaml, schedule 1 as well"),
        "{said}"
    );
    files.write(
        "c.yml",
        "name: z\nexpression: '@daily'\njob: {goal: g, project_id: nowhere}\n",
    );
    let said = files.fault(&["apply", "."]);
    assert!(
        said.contains("c.yml: job.project_id: there is no project named \"nowhere\""),
        "{said}"
    );
    assert!(
        files
            .fault(&["apply", "missing.yaml"])
            .contains("cannot read missing.yaml")
    );
    assert_eq!(ask(&files.pool, "select count(*) from schedule").await, "0");
}

#[tokio::test]
async fn schedule_is_listed_shown_steered_and_deleted() {
    let files = Files::new().await;
    files.write("nightly.yaml", NIGHTLY);
    files.out(&["apply", "nightly.yaml"]);
    let list = files.out(&["list"]);
    assert!(
        list.contains("demo/nightly") && list.contains("30 2 * * MON-FRI") && list.contains("Europe/Berlin"),
        "{list}"
    );
    assert_eq!(files.json(&["list", "--json"]).as_array().unwrap().len(), 2);
    let shown = files.out(&["show", "nightly"]);
    assert!(
        shown.contains("meaning      At 02:30, Monday to Friday."),
        "{shown}"
    );
    let id = files.json(&["show", "demo/nightly", "--json"])["id"]
        .as_str()
        .unwrap()
        .to_owned();

    assert_eq!(
        files.out(&["pause", &id, "--reason", "new disk"]),
        "schedule demo/nightly is paused\n"
    );
    assert!(files.out(&["show", "nightly"]).contains("new disk"));
    assert!(files.out(&["list"]).contains("paused"));
    assert!(
        files
            .out(&["resume", "nightly"])
            .starts_with("schedule demo/nightly goes on; its next run is released at 2")
    );
    let job = files
        .out(&["trigger", "nightly", "--key", "one"])
        .trim()
        .to_owned();
    assert_eq!(ask(&files.pool, "select id from job").await, job);
    assert_eq!(files.out(&["trigger", "nightly", "--key", "one"]).trim(), job);
    let skipped = files.out(&["trigger", "nightly"]);
    assert!(skipped.starts_with("no job was made now: Job "), "{skipped}");
    let history = files.json(&["history", "nightly", "--json"]);
    assert_eq!(
        (&history[0]["reason"], &history[1]["job_id"]),
        (&json!("overlap"), &json!(job))
    );
    assert!(files.out(&["history", "nightly"]).contains("triggered"));
    assert_eq!(
        files.out(&["rm", "nightly"]),
        "schedule demo/nightly is deleted\n"
    );
    assert!(
        files
            .fault(&["show", "nightly"])
            .contains("there is no schedule \"nightly\"")
    );
}

#[tokio::test]
async fn name_in_two_projects_has_to_be_said_with_its_project() {
    let files = Files::new().await;
    orchestrator::store::project::put(&files.pool, "other", "/srv/other", "administrator")
        .await
        .unwrap();
    files.write("a.yaml", NIGHTLY);
    files.write(
        "b.yaml",
        &NIGHTLY.replace("project_id: demo", "project_id: other"),
    );
    files.out(&["apply", "a.yaml", "b.yaml"]);
    assert!(files.fault(&["pause", "nightly"]).contains("PROJECT/NAME"));
    assert_eq!(
        files.json(&["pause", "other/nightly", "--json"])["project_id"],
        "other"
    );
    assert_eq!(
        files
            .json(&["list", "--project", "demo", "--json"])
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert!(
        files
            .fault(&["list", "--project", "nobody"])
            .contains("there is no project")
    );
}

#[tokio::test]
async fn next_runs_of_a_schedule_are_told_like_those_of_an_expression() {
    let files = Files::new().await;
    files.write("nightly.yaml", NIGHTLY);
    files.out(&["apply", "nightly.yaml"]);
    let next = |what: &str| {
        files.json(&[
            "next",
            what,
            "--from",
            "2030-03-29T12:00:00Z",
            "--count",
            "2",
            "--json",
        ])
    };
    assert_eq!(
        next("nightly"),
        json!({ "description": "At 02:30, Monday to Friday.", "runs": [{ "at": "2030-04-01T02:30:00+02:00" }, { "at": "2030-04-02T02:30:00+02:00" }] })
    );
    assert_eq!(
        next("@daily")["runs"][0],
        json!({ "at": "2030-03-30T00:00:00+00:00" })
    );
    assert!(
        files
            .fault(&["next", "61 * * * *"])
            .contains("minute field, character 1")
    );
    assert!(files.fault(&["next", "nobody"]).contains("there is no schedule"));
}

#[test]
fn expression_needs_no_database_and_is_refused_with_its_place() {
    let next = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orchestrator"));
        command.args(["schedule", "next"]).args(arguments).env_clear();
        command.assert()
    };
    let runs = next(&[
        "30 2 * * *",
        "--tz",
        "Europe/Berlin",
        "--from",
        "2026-03-28T12:00:00Z",
        "--count",
        "1",
    ])
    .success();
    runs.stdout("At 02:30.\n2026-03-29T03:00:00+02:00\n");
    let refused = next(&["0 25 * * *"]).code(1);
    let said = String::from_utf8(refused.get_output().stderr.clone()).unwrap();
    assert!(
        said.contains("hour field, character 3: 25 is out of range"),
        "{said}"
    );
    let unset = next(&["nightly"]).code(1);
    let said = String::from_utf8(unset.get_output().stderr.clone()).unwrap();
    assert!(said.contains("set DATABASE_URL"), "{said}");
    next(&["@daily", "--count", "0"]).code(1);
    next(&["@daily", "--from", "tomorrow"]).code(2);
    next(&["@daily", "--tz", "Nowhere"]).code(1);
}
