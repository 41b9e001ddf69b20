//! `approve` and `reject` at the command line, and jobs that wait while everything is replaced.

use assert_cmd::Command;
use nix::sys::signal::Signal;
use orchestrator::domain::id::JobId;
use serde_json::{Value, json};

use super::{Ground, with};
use crate::support::{ask, tell};

impl Ground {
    /// Runs the program; answers with its exit code and what it said.
    fn command(&self, arguments: &[&str]) -> (i32, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_orchestrator"))
            .args(arguments)
            .env_clear()
            .env("DATABASE_URL", self.database.url.expose())
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(said).unwrap())
    }

    async fn paused(&self, steps: Value) -> JobId {
        let job = self
            .submit(json!({ "policy": { "requires_approval": true }, "steps": steps }))
            .await;
        self.reaches(job, "awaiting_approval").await;
        job
    }
}

#[tokio::test]
async fn a_word_at_the_command_line_is_kept_with_who_and_why_and_the_job_goes_its_way() {
    let ground = Ground::new().await;
    let _runner = ground.runner(&[]);
    let ask_agent = json!([{ "step_id": "say", "agent": "simulate", "prompt": "the first words" }, ground.step("after", "true")]);

    let edited = ground.paused(ask_agent.clone()).await.to_string();
    let said = ground.command(&[
        "approve",
        &edited,
        "--comment",
        "mind the gap",
        "--prompt",
        "better words",
    ]);
    assert_eq!(said, (0, format!("job {edited} is available\n")));
    ground.reaches(edited.parse().unwrap(), "succeeded").await;
    let report = ask(
        &ground.pool,
        &format!("select report from step_usage where job_id = '{edited}'"),
    )
    .await;
    assert!(
        report.contains("better words") && !report.contains("the first words"),
        "{report}"
    );

    let skipped = ground.paused(ask_agent.clone()).await;
    let id = skipped.to_string();
    let (code, said) = ground.command(&["approve", &id, "--skip", "--json", "--attempt", "1"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (code, said),
        (
            0,
            json!({ "job_id": id, "decision": "skipped", "state": "available" })
        )
    );
    ground.reaches(skipped, "succeeded").await;
    assert_eq!(ground.ended(skipped).await, "say:skipped after:succeeded");

    let rejected = ground.paused(ask_agent).await;
    let id = rejected.to_string();
    let (code, said) = ground.command(&["reject", &id, "--comment", "not today"]);
    assert_eq!((code, said), (0, format!("job {id} is failed\n")));
    assert_eq!(ground.state(rejected).await, "failed rejected");
    let words = "select string_agg(concat_ws(' ', decision, decided_by, comment, prompt), '; ' order by job_id) from approval";
    assert_eq!(
        ask(&ground.pool, words).await,
        "approved cli mind the gap better words; skipped cli; rejected cli not today"
    );

    // The same again is no other word; another is, and says the state.
    assert_eq!(ground.command(&["reject", &id]).0, 0);
    let (code, said) = ground.command(&["approve", &id]);
    assert!(code == 1 && said.contains("failed"), "{said}");
    let (code, said) = ground.command(&["approve", &edited, "--skip", "--prompt", "x"]);
    assert!(code == 2 && said.contains("cannot be used with"), "{said}");
    let nobody = "01980000-0000-7000-8000-000000000000";
    let (code, said) = ground.command(&["approve", nobody]);
    assert!(code == 1 && said.contains(nobody), "{said}");
}

#[tokio::test]
async fn a_job_that_waits_goes_on_after_an_upgrade_that_brings_what_it_has_no_rows_for() {
    let ground = Ground::new().await;
    let flag = ground.place("mended");
    let job = ground
        .submit(json!({ "steps": [
            ground.step("before", "echo kept > file"),
            with(ground.step("risky", &format!("[ -e {flag} ] && cat file")), json!({ "on_failure": "ask_human" })),
            ground.step("after", "cat file"),
        ] }))
        .await;
    let mut runner = ground.runner(&[]);
    ground.reaches(job, "awaiting_approval").await;
    runner.signal(Signal::SIGKILL);
    runner.end();
    // As an older version would have left it, which knew neither of these tables nor of these files.
    tell(&ground.pool, "delete from artifact; delete from workspace").await;
    std::fs::remove_dir_all(ground.directory.join("artifacts")).unwrap();
    let (code, said) = ground.command(&["migrate"]);
    assert!(code == 0 && said.starts_with("the schema is current\n"), "{said}");
    std::fs::write(&flag, "").unwrap();
    assert_eq!(
        ground
            .command(&["approve", &job.to_string(), "--comment", "after the upgrade"])
            .0,
        0
    );
    let _runner = ground.runner(&[]);
    ground.reaches(job, "succeeded").await;
    assert_eq!(ground.trace(), "before risky risky after");
    let log = ask(
        &ground.pool,
        "select string_agg(body, '' order by attempt, seq) from log where stream = 'stdout'",
    )
    .await;
    assert_eq!(log, "kept\nkept\n");
}
