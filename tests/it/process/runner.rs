//! The same with a real runner: what reaches the tables, what the runner takes, what it leaves.

use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use orchestrator::app::authenticate::Caller;
use orchestrator::app::control;
use orchestrator::app::hint::Hints;
use orchestrator::app::maintain::expire;
use orchestrator::app::submit::submit;
use orchestrator::domain::approval::Word;
use orchestrator::domain::id::JobId;
use orchestrator::domain::spec::JobSpec;
use orchestrator::store::{Pool, project};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{eventually, mark, marked};
use crate::support::{Database, Program, Scratch, ask, database, scratch, tell, until};

/// A runner with a database to itself.
pub(super) struct Ground {
    pub(super) runner: Program,
    pub(super) pool: Pool,
    pub(super) directory: Scratch,
    database: Database,
}

impl Ground {
    /// Steps run in a sandbox. `None` where bubblewrap is not installed, which is said; the gate
    /// installs it.
    pub(super) async fn sandboxed(environment: &[(&str, &str)]) -> Option<Self> {
        let installed = ["/usr/local/bin", "/usr/bin", "/bin"].map(|place| Path::new(place).join("bwrap"));
        if !installed.iter().any(|program| program.is_file()) {
            eprintln!("not tried: bubblewrap is not installed");
            return None;
        }
        Some(Self::new(environment).await)
    }

    /// Steps run without one.
    pub(super) async fn bare(environment: &[(&str, &str)]) -> Self {
        Self::new(&[&[("SANDBOX", "off")], environment].concat()).await
    }

    pub(super) async fn new(environment: &[(&str, &str)]) -> Self {
        let database = database().await;
        let pool = database.pool();
        let directory = scratch();
        let project = directory.join("project");
        std::fs::create_dir(&project).unwrap();
        project::put(&pool, "demo", project.to_str().unwrap(), "administrator")
            .await
            .unwrap();
        let workspaces = directory.join("workspaces");
        let mut all = vec![
            ("DATABASE_URL", database.url.expose()),
            ("WORKSPACES_ROOT", workspaces.to_str().unwrap()),
            ("RUNNER_POLL_INTERVAL_SEC", "0.05"),
            ("RUNNER_RECLAIM_AFTER_SEC", "4"),
        ];
        all.extend(environment);
        let mut runner = Program::start(&["runner"], &all);
        runner.hear("runner session open");
        Self {
            runner,
            pool,
            directory,
            database,
        }
    }

    pub(super) async fn submit(&self, argv: &[&str]) -> Uuid {
        self.submit_with(argv, &json!({})).await
    }

    pub(super) async fn submit_with(&self, argv: &[&str], policy: &Value) -> Uuid {
        self.submit_steps(
            &json!([{ "step_id": "step", "argv": argv, "max_retries": 0 }]),
            policy,
        )
        .await
    }

    pub(super) async fn submit_steps(&self, steps: &Value, policy: &Value) -> Uuid {
        let spec = json!({ "goal": "g", "project_id": "demo", "steps": steps, "policy": policy });
        let spec = JobSpec::read(spec.to_string().as_bytes()).unwrap();
        let caller = Caller::operator("test");
        let accepted = submit(&self.pool, &Hints::default(), &caller, &spec)
            .await
            .unwrap();
        accepted.job.0
    }

    /// Answers for the job that waits.
    pub(super) async fn decide(&self, job: Uuid, word: &Word) {
        let caller = Caller::operator("test");
        control::decide(&self.pool, &Hints::default(), &caller, JobId(job), word)
            .await
            .unwrap();
    }

    /// Where the database listens.
    pub(super) fn socket_directory(&self) -> String {
        let url = self.database.url.expose();
        let host = url
            .split(['?', '&'])
            .find_map(|part| part.strip_prefix("host="))
            .unwrap();
        host.replace("%2F", "/")
    }

    pub(super) async fn end(&self, job: Uuid) -> String {
        let question = format!(
            "select concat_ws(' ', state, code) from job where id = '{job}' and finished_at is not null"
        );
        until(async || {
            let end = ask(&self.pool, &format!("({question})")).await;
            (end != "null").then_some(end)
        })
        .await
    }

    pub(super) async fn log(&self, job: Uuid, stream: &str) -> String {
        let bodies = format!(
            "select string_agg(body, '' order by attempt, seq) from log where job_id = '{job}' and stream = '{stream}'"
        );
        ask(&self.pool, &format!("({bodies})")).await
    }

    /// Most memory the runner ever held, in megabytes.
    fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.runner.pid())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1000
    }
}

#[tokio::test]
async fn much_output_leaves_the_runners_memory_flat() {
    let ground = Ground::bare(&[]).await;
    let first = ground.submit(&["echo", "small"]).await;
    assert_eq!(ground.end(first).await, "succeeded");
    let before = ground.peak_memory();
    let job = ground
        .submit(&[
            "sh",
            "-c",
            "yes 'a line that says nothing' | head -c 150000000; echo the end",
        ])
        .await;
    assert_eq!(ground.end(job).await, "succeeded");
    let grown = ground.peak_memory() - before;
    assert!(grown < 24, "from {before} MB by {grown} MB");
    let printed = format!("select output_bytes from step where job_id = '{job}'");
    assert_eq!(ask(&ground.pool, &printed).await, "150000008");
    let (log, system) = (ground.log(job, "stdout").await, ground.log(job, "system").await);
    assert!(log.len() <= 1024 * 1024, "{}", log.len());
    assert!(log.starts_with("a line that says nothing\n") && log.ends_with("the end\n"));
    assert!(system.contains("bytes left out"), "{system}");
}

#[tokio::test]
async fn a_line_without_end_and_single_bytes_leave_it_flat_too() {
    let ground = Ground::bare(&[]).await;
    let first = ground.submit(&["echo", "small"]).await;
    assert_eq!(ground.end(first).await, "succeeded");
    let before = ground.peak_memory();
    let line = ground
        .submit(&["sh", "-c", "head -c 30000000 /dev/zero | tr '\\0' x"])
        .await;
    assert_eq!(ground.end(line).await, "succeeded");
    let bytes = ground
        .submit(&["dd", "if=/dev/zero", "bs=1", "count=200000", "status=none"])
        .await;
    assert_eq!(ground.end(bytes).await, "succeeded");
    let grown = ground.peak_memory() - before;
    assert!(grown < 24, "from {before} MB by {grown} MB");
    let log = ground.log(line, "stdout").await;
    assert!(log.bytes().all(|byte| byte == b'x') && log.len() <= 1024 * 1024);
}

#[tokio::test]
async fn what_a_step_used_is_in_its_row() {
    let ground = Ground::bare(&[("MAX_SUBPROCESS_OUTPUT_CHARS", "1024")]).await;
    // Seconds of work and 40 MB, in a child that is waited for.
    let script = r#"python3 -c 'import time
held = b"x" * 40_000_000
while time.process_time() < 0.3: pass
print("y" * 3000)'; true"#;
    let job = ground.submit(&["sh", "-c", script]).await;
    assert_eq!(ground.end(job).await, "succeeded");
    let used = format!(
        "select cpu_ms >= 300 and cpu_ms < 30000 and peak_memory_bytes > 40000000 and output_bytes = 3001
                and logged_bytes = 1024 and redactions = 0 from step where job_id = '{job}'"
    );
    assert_eq!(ask(&ground.pool, &used).await, "true");
}

#[tokio::test]
async fn bytes_that_are_no_text_are_kept_readable() {
    let ground = Ground::bare(&[]).await;
    let job = ground
        .submit(&[
            "sh",
            "-c",
            r"printf 'a\000b\377\342'; sleep 0.3; printf '\202\254c'; exit 3",
        ])
        .await;
    assert_eq!(ground.end(job).await, "failed exit_nonzero");
    assert_eq!(ground.log(job, "stdout").await, "a␀b�€c");
}

#[tokio::test]
async fn a_program_that_is_missing_fails_the_job_with_what_to_do() {
    let ground = Ground::bare(&[]).await;
    let job = ground.submit(&["no-such-program"]).await;
    assert_eq!(ground.end(job).await, "failed spawn");
    let message = ask(
        &ground.pool,
        &format!("select message from job where id = '{job}'"),
    )
    .await;
    assert!(
        message.starts_with("`no-such-program` was not found; install it"),
        "{message}"
    );
}

#[tokio::test]
async fn a_runner_killed_with_9_leaves_no_process_whoever_of_its_processes_was_stopped() {
    for stopped in [&[][..], &[KEEPER], &[SUPERVISOR], &[SUPERVISOR, KEEPER]] {
        killed_with_9(stopped).await;
    }
}

/// Who is stopped: so many processes above the step's.
const KEEPER: usize = 0;
const SUPERVISOR: usize = 1;

async fn killed_with_9(stopped: &[usize]) {
    let mut ground = Ground::bare(&[]).await;
    let mark = mark();
    let script = r#"
        ( setsid sh -c 'trap "" TERM HUP; while :; do sleep 1; done' sh "$1" & ) &
        trap '' TERM; echo $PPID; while :; do sleep 1; done"#;
    let job = ground.submit(&["sh", "-c", script, "sh", &mark]).await;
    until(async || (marked(&mark).len() == 2).then_some(())).await;
    let keeper = until(async || ground.log(job, "stdout").await.trim().parse::<i32>().ok()).await;
    let above = [keeper, parent(keeper)];
    for place in stopped {
        kill(Pid::from_raw(above[*place]), Signal::SIGSTOP).unwrap();
    }
    ground.runner.signal(Signal::SIGKILL);
    ground.runner.end();
    eventually("the program and its daemon end", || marked(&mark).is_empty());
    eventually("the keeper and the supervisor end", || {
        above
            .iter()
            .all(|pid| !Path::new(&format!("/proc/{pid}")).exists())
    });
}

fn parent(pid: i32) -> i32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    line.unwrap().trim().parse().unwrap()
}

#[tokio::test]
async fn a_frozen_runner_leaves_no_process_of_its_steps_when_its_lease_passes() {
    let ground = Ground::bare(&[("RUNNER_RECLAIM_AFTER_SEC", "12")]).await;
    let (mark, trace) = (mark(), ground.directory.join("trace"));
    std::fs::write(&trace, "").unwrap();
    std::fs::set_permissions(&trace, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let script = r#"
        ( setsid sh -c 'trap "" TERM HUP; while :; do date +%s.%N >> "$2"; sleep 0.05; done' sh "$1" "$2" & ) &
        trap '' TERM; while :; do sleep 1; done"#;
    let trace = trace.to_str().unwrap();
    ground.submit(&["sh", "-c", script, "sh", &mark, trace]).await;
    until(async || (marked(&mark).len() == 2).then_some(())).await;
    ground.runner.signal(Signal::SIGSTOP);
    eventually("the program and its daemon end", || marked(&mark).is_empty());
    let traced = std::fs::read_to_string(trace).unwrap();
    let last = traced.lines().last().unwrap();
    let before = format!("select lease_expires_at > to_timestamp({last}) from runner");
    assert_eq!(ask(&ground.pool, &before).await, "true");
    ground.runner.signal(Signal::SIGCONT);
}

#[tokio::test]
async fn a_step_of_an_attempt_that_was_taken_from_its_session_is_ended_and_nothing_is_recorded_of_it() {
    let mut ground = Ground::bare(&[("RUNNER_RECLAIM_AFTER_SEC", "3")]).await;
    let mark = mark();
    let job = ground
        .submit(&["sh", "-c", "while :; do sleep 1; done", &mark])
        .await;
    until(async || (!marked(&mark).is_empty()).then_some(())).await;
    // By whatever hand: the session lives and renews its lease, and the step would say nothing for hours.
    let take = format!(
        "insert into queue (name, paused_at) values ('default', now());
         update job set state = 'available', runner_id = null, losses = losses + 1 where id = '{job}'"
    );
    tell(&ground.pool, &take).await;
    eventually("the step ends", || marked(&mark).is_empty());
    ground.runner.hear("its attempt is stopped");
    let told = "select (select state::text from job) || ' ' || (select count(*) from attempt) || (select count(*) from step)";
    assert_eq!(ask(&ground.pool, told).await, "available 00");
    tell(&ground.pool, "update queue set paused_at = null").await;
    until(async || (!marked(&mark).is_empty()).then_some(())).await;
}

#[tokio::test]
async fn ends_that_the_database_does_not_take_go_to_another_session() {
    let ground = Ground::bare(&[]).await;
    let refuse = "create function no() returns trigger language plpgsql as $$ begin raise 'no'; end $$;
        create trigger no before update on job for each row when (new.finished_at is not null and new.priority = 7) execute function no()";
    tell(&ground.pool, refuse).await;
    // What runs beside it goes on to its end.
    let go = ground.directory.join("go");
    let script = "while [ ! -e \"$0\" ]; do sleep 0.05; done";
    let beside = ground.submit(&["sh", "-c", script, go.to_str().unwrap()]).await;
    let state = format!("select state from job where id = '{beside}'");
    until(async || (ask(&ground.pool, &state).await == "running").then_some(())).await;
    tell(
        &ground.pool,
        "insert into queue (name, paused_at) values ('default', now())",
    )
    .await;
    let job = ground.submit(&["true"]).await;
    tell(
        &ground.pool,
        &format!("update job set priority = 7 where id = '{job}'; update queue set paused_at = null"),
    )
    .await;
    let refused = "select state from job where priority = 7";
    until(async || (ask(&ground.pool, refused).await == "running").then_some(())).await;
    std::fs::write(&go, "").unwrap();
    assert_eq!(ground.end(beside).await, "succeeded");
    let over = "select exists (select from runner where ended_at is not null)";
    until(async || (ask(&ground.pool, over).await == "true").then_some(())).await;
    tell(&ground.pool, "drop trigger no on job").await;
    expire(&ground.pool, &Hints::default(), None).await.unwrap();
    assert_eq!(ground.end(job).await, "succeeded");
    let history = "select string_agg(number || ' ' || outcome, ', ' order by priority, number) from attempt join job on job_id = id";
    assert_eq!(
        ask(&ground.pool, history).await,
        "1 succeeded, 1 lost, 2 succeeded"
    );
}

#[tokio::test]
async fn a_late_result_changes_nothing_and_is_said_once() {
    // Of the last step, and of one that is not.
    for steps in [1, 2] {
        let mut ground = Ground::bare(&[("RUNNER_RECLAIM_AFTER_SEC", "600"), ("LOG_LEVEL", "info")]).await;
        let go = ground.directory.join("go");
        let script = "while [ ! -e \"$0\" ]; do sleep 0.05; done";
        let step = |id| json!({ "step_id": id, "argv": ["sh", "-c", script, go] });
        let steps: Vec<Value> = ["first", "second"].into_iter().take(steps).map(step).collect();
        let job = ground.submit_steps(&json!(steps), &json!({})).await;
        let state = format!("select state from job where id = '{job}'");
        until(async || (ask(&ground.pool, &state).await == "running").then_some(())).await;
        // As if its lease had passed without its knowing.
        let steal = format!(
            "insert into runner select (jsonb_populate_record(runner, jsonb_build_object('id', gen_random_uuid()))).* from runner;
             insert into attempt (job_id, number, runner_id, due_at, started_at, ended_at, outcome, code)
             select id, attempt, runner_id, run_at, claimed_at, greatest(now(), claimed_at), 'lost', 'lost' from job where id = '{job}';
             update job set state = 'available', runner_id = null, losses = losses + 1 where id = '{job}';
             update job set state = 'running', attempt = 2, claimed_at = now(),
                    runner_id = (select runner.id from runner where runner.id not in (select runner_id from attempt)) where id = '{job}'"
        );
        tell(&ground.pool, &format!("begin; {steal}; commit")).await;
        let all = "select string_agg(job::text, '') || (select count(*) from step) || (select count(*) from attempt)
                     || (select count(*) from artifact) from job";
        let before = ask(&ground.pool, all).await;
        std::fs::write(&go, "").unwrap();
        ground.runner.hear("result is discarded");
        ground.runner.signal(Signal::SIGTERM);
        ground.runner.end();
        assert_eq!(ask(&ground.pool, all).await, before);
        let said = ground.runner.said();
        assert_eq!(said.matches("result is discarded").count(), 1, "{said}");
    }
}

#[tokio::test]
async fn a_step_cannot_read_what_its_runner_was_started_with() {
    let ground = Ground::bare(&[("STEP_USER", "nobody")]).await;
    let environ = format!("/proc/{}/environ", ground.runner.pid());
    let job = ground
        .submit(&["sh", "-c", &format!("cat {environ} && exit 0; exit 9")])
        .await;
    assert_eq!(ground.end(job).await, "failed exit_nonzero");
    assert_eq!(ground.log(job, "stdout").await, "null");
}

#[tokio::test]
async fn a_result_whose_row_somebody_holds_holds_up_no_other() {
    let ground = Ground::bare(&[("RUNNER_SLOTS", "2")]).await;
    let go = ground.directory.join("go");
    let script = "while [ ! -e \"$0\" ]; do sleep 0.05; done";
    let argv = ["sh", "-c", script, go.to_str().unwrap()];
    let (one, other) = (ground.submit(&argv).await, ground.submit(&argv).await);
    let running = "select count(*) from job where state = 'running'";
    until(async || (ask(&ground.pool, running).await == "2").then_some(())).await;
    let mut holder = ground.pool.acquire().await.unwrap();
    let hold = format!("begin; select from job where id = '{one}' for no key update");
    sqlx::raw_sql(sqlx::AssertSqlSafe(hold))
        .execute(&mut *holder)
        .await
        .unwrap();
    std::fs::write(&go, "").unwrap();
    assert_eq!(ground.end(other).await, "succeeded");
    let third = ground.submit(&["true"]).await;
    assert_eq!(ground.end(third).await, "succeeded");
    assert_eq!(ask(&ground.pool, running).await, "1");
    sqlx::raw_sql("rollback").execute(&mut *holder).await.unwrap();
    assert_eq!(ground.end(one).await, "succeeded");
}
