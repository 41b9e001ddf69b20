//! `api`, `runner`, `scheduler` as processes of their own: several at once, told to end, killed.

use std::path::{Path, PathBuf};

use nix::sys::signal::Signal::{SIGCONT, SIGKILL, SIGSTOP, SIGTERM};
use orchestrator::store::{Pool, project};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Database, Program, Scratch, ask, database, scratch, tell, until};

/// A database, and services that work on it.
struct House {
    database: Database,
    pool: Pool,
    directory: Scratch,
}

impl House {
    async fn new() -> Self {
        let database = database().await;
        let pool = database.pool();
        let directory = scratch();
        let project = directory.join("project");
        std::fs::create_dir(&project).unwrap();
        project::put(&pool, "demo", project.to_str().unwrap(), "administrator")
            .await
            .unwrap();
        // Steps run as another user when this is root; they leave their traces here.
        std::fs::create_dir(directory.join("trace")).unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(directory.join("trace"), open).unwrap();
        Self {
            database,
            pool,
            directory,
        }
    }

    fn service(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Program {
        let workspaces = self.directory.join("workspaces");
        let mut all = vec![
            ("DATABASE_URL", self.database.url.expose()),
            ("WORKSPACES_ROOT", workspaces.to_str().unwrap()),
            ("LOG_LEVEL", "info"),
        ];
        all.extend(environment);
        Program::start(arguments, &all)
    }

    /// A runner that is ready, whose leases last two seconds.
    fn runner(&self, name: &str, environment: &[(&str, &str)]) -> Program {
        let mut all = vec![
            ("RUNNER_RECLAIM_AFTER_SEC", "2"),
            ("RUNNER_INSTANCE", name),
            // Steps leave their traces outside of their workspaces.
            ("SANDBOX", "off"),
        ];
        all.extend(environment);
        let mut runner = self.service(&["runner"], &all);
        runner.hear("runner session open");
        runner
    }

    fn scheduler(&self) -> Program {
        let mut scheduler = self.service(&["scheduler"], &[("SCHEDULER_TICK_SEC", "0.1")]);
        scheduler.hear("scheduler running");
        scheduler
    }

    /// A file that steps may write.
    fn trace(&self, name: &str) -> PathBuf {
        self.directory.join("trace").join(name)
    }

    async fn submit(&self, steps: Value) -> Uuid {
        let spec = json!({ "goal": "g", "project_id": "demo", "steps": steps });
        let mut submit = assert_cmd::Command::new(env!("CARGO_BIN_EXE_orchestrator"));
        submit
            .args(["submit", "-"])
            .env_clear()
            .env("DATABASE_URL", self.database.url.expose());
        let id = submit
            .write_stdin(spec.to_string())
            .assert()
            .success()
            .get_output()
            .stdout
            .clone();
        String::from_utf8(id).unwrap().trim().parse().unwrap()
    }

    async fn state(&self, job: Uuid) -> String {
        ask(&self.pool, &format!("select state from job where id = '{job}'")).await
    }

    /// An operator drains the only runner.
    async fn drain(&self) {
        let session = ask(&self.pool, "select id from runner").await;
        assert_cmd::Command::new(env!("CARGO_BIN_EXE_orchestrator"))
            .args(["runners", "drain", &session])
            .env_clear()
            .env("DATABASE_URL", self.database.url.expose())
            .assert()
            .success();
    }

    async fn ends(&self, job: Uuid) -> String {
        until(async || {
            let state = self.state(job).await;
            matches!(state.as_str(), "succeeded" | "failed" | "cancelled").then_some(state)
        })
        .await
    }
}

#[tokio::test]
async fn runner_that_was_drained_stays_down_also_when_its_lease_is_lost() {
    let house = House::new().await;
    let (trace, go) = (house.trace("trace"), house.trace("go"));
    let mut runner = house.runner("only", &[]);
    house.submit(json!([waits(&trace, &go)])).await;
    lines(&trace, 1).await;
    house.drain().await;
    runner.hear("asked this runner to drain");
    tell(&house.pool, "update runner set ended_at = now()").await;
    runner.hear("the lease is lost");
    assert!(runner.end().success(), "{}", runner.said());
    assert_eq!(ask(&house.pool, "select count(*) from runner").await, "1");
}

#[tokio::test]
async fn step_that_ended_before_the_deadline_is_not_run_again() {
    let house = House::new().await;
    let (trace, go) = (house.trace("trace"), house.trace("go"));
    let second = json!({ "step_id": "second", "argv": ["true"] });
    let mut first = house.runner("first", &[("RUNNER_DRAIN_SEC", "1")]);
    let job = house.submit(json!([waits(&trace, &go), second])).await;
    lines(&trace, 1).await;
    // What the step leaves is kept when the deadline is over.
    let mut holder = house.pool.acquire().await.unwrap();
    for statement in ["begin", "lock table artifact in share mode"] {
        sqlx::query(statement).execute(&mut *holder).await.unwrap();
    }
    std::fs::write(&go, "").unwrap();
    lines(&trace, 2).await;
    first.signal(SIGTERM);
    first.hear("steps still run at the end of the drain");
    sqlx::query("rollback").execute(&mut *holder).await.unwrap();
    assert!(first.end().success(), "{}", first.said());
    let _second = house.runner("second", &[]);
    assert_eq!(house.ends(job).await, "succeeded");
    let steps = "select string_agg(attempt || ' ' || step_id || ' ' || status, ', ' order by attempt, ordinal) from step";
    assert_eq!(
        ask(&house.pool, steps).await,
        "1 wait succeeded, 2 second succeeded"
    );
}

/// A step that writes a line to `trace` and then waits for the file `go`, a minute at most.
fn waits(trace: &Path, go: &Path) -> Value {
    let script = "echo begun >> \"$0\"; i=0; while [ ! -e \"$1\" ] && [ $i -lt 600 ]; do sleep 0.1; i=$((i+1)); done; echo done >> \"$0\"";
    json!({ "step_id": "wait", "argv": ["sh", "-c", script, trace, go] })
}

async fn lines(trace: &Path, count: usize) {
    until(async || {
        let text = std::fs::read_to_string(trace).unwrap_or_default();
        (text.lines().count() >= count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn job_of_a_runner_killed_with_9_is_finished_by_another() {
    let house = House::new().await;
    let (trace, go) = (house.trace("trace"), house.trace("go"));
    let first_step =
        json!({ "step_id": "first", "argv": ["sh", "-c", "echo first >> \"$0\"", house.trace("first")] });
    let mut first = house.runner("first", &[]);
    let job = house.submit(json!([first_step, waits(&trace, &go)])).await;
    lines(&trace, 1).await;
    first.signal(SIGKILL);
    first.end();
    std::fs::write(&go, "").unwrap();
    let _scheduler = house.scheduler();
    let _second = house.runner("second", &[]);
    assert_eq!(house.ends(job).await, "succeeded");
    let history = "select string_agg(number || ' ' || outcome, ', ' order by number) from attempt";
    assert_eq!(ask(&house.pool, history).await, "1 lost, 2 succeeded");
    // The step that had succeeded is not run again: the second attempt resumed at the interrupted one.
    assert_eq!(std::fs::read_to_string(house.trace("first")).unwrap(), "first\n");
    let steps = "select string_agg(attempt || ' ' || step_id || ' ' || status, ', ' order by attempt, ordinal) from step";
    assert_eq!(
        ask(&house.pool, steps).await,
        "1 first succeeded, 2 wait succeeded"
    );
}

#[tokio::test]
async fn runner_frozen_past_its_lease_records_nothing_when_it_wakes() {
    let house = House::new().await;
    let (trace, go) = (house.trace("trace"), house.trace("go"));
    let mut first = house.runner("first", &[]);
    let job = house.submit(json!([waits(&trace, &go)])).await;
    lines(&trace, 1).await;
    first.signal(SIGSTOP);
    let _scheduler = house.scheduler();
    let _second = house.runner("second", &[]);
    lines(&trace, 2).await;
    std::fs::write(&go, "").unwrap();
    assert_eq!(house.ends(job).await, "succeeded");
    first.signal(SIGCONT);
    first.hear("lease");
    first.signal(SIGTERM);
    first.end();
    let said = first.said();
    let lost = said
        .lines()
        .filter(|line| line.contains("lease") && line.contains("lost"));
    assert_eq!(lost.count(), 1, "{said}");
    let history = "select string_agg(number || ' ' || outcome, ', ' order by number) from attempt";
    assert_eq!(ask(&house.pool, history).await, "1 lost, 2 succeeded");
    assert_eq!(
        ask(&house.pool, "select count(*) from step where attempt = 1").await,
        "0"
    );
}

#[tokio::test]
async fn runner_told_to_end_lets_running_steps_finish_and_claims_no_more() {
    let house = House::new().await;
    let (trace, go) = (house.trace("trace"), house.trace("go"));
    let mut runner = house.runner("only", &[("RUNNER_SLOTS", "1")]);
    let running = house.submit(json!([waits(&trace, &go)])).await;
    lines(&trace, 1).await;
    let waiting = house.submit(json!([waits(&trace, &go)])).await;
    runner.signal(SIGTERM);
    runner.hear("asked to stop");
    std::fs::write(&go, "").unwrap();
    assert!(runner.end().success(), "{}", runner.said());
    assert_eq!(house.state(running).await, "succeeded");
    assert_eq!(house.state(waiting).await, "available");
    assert_eq!(
        ask(&house.pool, "select count(*) from runner where ended_at is null").await,
        "0"
    );
}

#[tokio::test]
async fn runner_that_an_operator_drains_does_the_same() {
    let house = House::new().await;
    let (trace, go) = (house.trace("trace"), house.trace("go"));
    let mut runner = house.runner("only", &[("RUNNER_SLOTS", "1")]);
    let running = house.submit(json!([waits(&trace, &go)])).await;
    lines(&trace, 1).await;
    let waiting = house.submit(json!([waits(&trace, &go)])).await;
    house.drain().await;
    runner.hear("asked this runner to drain");
    std::fs::write(&go, "").unwrap();
    assert!(runner.end().success(), "{}", runner.said());
    assert_eq!(house.state(running).await, "succeeded");
    assert_eq!(house.state(waiting).await, "available");
    let open = "select count(*) from runner where ended_at is null";
    assert_eq!(ask(&house.pool, open).await, "0");
}

#[tokio::test]
async fn what_is_not_finished_by_the_deadline_is_handed_back_and_resumed() {
    let house = House::new().await;
    let (trace, go) = (house.trace("trace"), house.trace("go"));
    let mut first = house.runner("first", &[("RUNNER_DRAIN_SEC", "0.2")]);
    let job = house.submit(json!([waits(&trace, &go)])).await;
    lines(&trace, 1).await;
    first.signal(SIGTERM);
    assert!(first.end().success(), "{}", first.said());
    assert_eq!(house.state(job).await, "available");
    std::fs::write(&go, "").unwrap();
    let _second = house.runner("second", &[]);
    assert_eq!(house.ends(job).await, "succeeded");
    let history = "select string_agg(number || ' ' || outcome, ', ' order by number) from attempt";
    assert_eq!(ask(&house.pool, history).await, "1 handed_back, 2 succeeded");
}

#[tokio::test]
async fn running_job_that_is_cancelled_ends_with_its_processes_at_once() {
    let house = House::new().await;
    let (trace, go) = (house.trace("trace"), house.trace("go"));
    // A lease of a minute: the runner hears of it at once, not when it renews.
    let _runner = house.runner("only", &[("RUNNER_RECLAIM_AFTER_SEC", "60")]);
    let job = house.submit(json!([waits(&trace, &go)])).await;
    lines(&trace, 1).await;
    let mut cancel = assert_cmd::Command::new(env!("CARGO_BIN_EXE_orchestrator"));
    cancel
        .args(["cancel", &job.to_string()])
        .env_clear()
        .env("DATABASE_URL", house.database.url.expose());
    cancel
        .assert()
        .success()
        .stdout(format!("job {job} is running; its runner ends it\n"));
    assert_eq!(house.ends(job).await, "cancelled");
    assert_eq!(
        ask(&house.pool, "select status || ' ' || code from step").await,
        "cancelled cancelled"
    );
}

#[tokio::test]
async fn step_that_fails_is_tried_again_after_a_wait() {
    let house = House::new().await;
    let _runner = house.runner("only", &[]);
    let _scheduler = house.scheduler();
    let script = "echo tried >> \"$0\"; test $(wc -l < \"$0\") -ge 3";
    let argv = json!(["sh", "-c", script, house.trace("trace")]);
    let step = json!({ "step_id": "a", "argv": argv, "max_retries": 2, "retry_backoff_sec": 1 });
    let job = house.submit(json!([step])).await;
    assert_eq!(house.ends(job).await, "succeeded");
    let history = "select string_agg(number || ' ' || outcome, ', ' order by number) from attempt";
    assert_eq!(
        ask(&house.pool, history).await,
        "1 retried, 2 retried, 3 succeeded"
    );
}

#[tokio::test]
async fn several_runners_and_schedulers_run_each_job_once() {
    let house = House::new().await;
    let _runners: Vec<Program> = (1..=3)
        .map(|n| house.runner(&n.to_string(), &[("RUNNER_SLOTS", "4")]))
        .collect();
    let _schedulers = [house.scheduler(), house.scheduler()];
    let trace = house.trace("trace");
    let step = json!([{ "step_id": "a", "argv": ["sh", "-c", "echo ran >> \"$0\"", trace] }]);
    for _ in 0..40 {
        house.submit(step.clone()).await;
    }
    until(async || {
        (ask(&house.pool, "select count(*) from job where state = 'succeeded'").await == "40").then_some(())
    })
    .await;
    assert_eq!(std::fs::read_to_string(&trace).unwrap().lines().count(), 40);
    assert_eq!(ask(&house.pool, "select count(*) from attempt").await, "40");
}

#[tokio::test]
async fn binary_that_does_not_exist_fails_the_job_with_a_sentence() {
    let house = House::new().await;
    let _runner = house.runner("only", &[]);
    let job = house
        .submit(json!([{ "step_id": "a", "argv": ["no-such-program", "--x"] }]))
        .await;
    assert_eq!(house.ends(job).await, "failed");
    let why = ask(&house.pool, "select code || ': ' || message from job").await;
    assert!(
        why.starts_with("spawn: ") && why.contains("no-such-program"),
        "{why}"
    );
}

#[tokio::test]
async fn what_a_step_printed_and_how_it_ended_is_stored() {
    let house = House::new().await;
    let _runner = house.runner("only", &[]);
    let job = house
        .submit(json!([{ "step_id": "a", "argv": ["sh", "-c", "echo out; echo err >&2; exit 3"], "max_retries": 0 }]))
        .await;
    assert_eq!(house.ends(job).await, "failed");
    let step = "select status || ' ' || code || ' ' || exit_code || ' ' || output_bytes from step";
    assert_eq!(ask(&house.pool, step).await, "failed exit_nonzero 3 8");
    let log =
        "select string_agg(stream || ' ' || body, '' order by stream desc) from log where stream <> 'system'";
    assert_eq!(ask(&house.pool, log).await, "stdout out\nstderr err\n");
}

#[tokio::test]
async fn services_wait_for_the_schema_and_say_what_is_missing() {
    let (database, directory) = (crate::support::empty_database().await, scratch());
    let environment = [
        ("DATABASE_URL", database.url.expose()),
        ("WORKSPACES_ROOT", directory.to_str().unwrap()),
    ];
    let mut runner = Program::start(&["runner"], &environment);
    let mut scheduler = Program::start(&["scheduler"], &environment);
    runner.hear("orchestrator migrate");
    scheduler.hear("orchestrator migrate");
    Program::start(&["migrate"], &environment).end();
    runner.hear("runner session open");
    for service in [&mut runner, &mut scheduler] {
        service.signal(SIGTERM);
        assert!(service.end().success(), "{}", service.said());
    }
}
