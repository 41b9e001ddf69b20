//! What the fast tests show with less: a step may print without end, and the runner stays as it is.

use orchestrator::app::authenticate::Caller;
use orchestrator::app::hint::Hints;
use orchestrator::app::submit::submit;
use orchestrator::domain::spec::JobSpec;
use orchestrator::store::project;
use serde_json::json;

use crate::support::{Program, ask, database, scratch, within};

#[tokio::test]
async fn a_gigabyte_and_a_line_of_a_hundred_megabytes_leave_the_runners_memory_flat() {
    let database = database().await;
    let pool = database.pool();
    let directory = scratch();
    project::put(&pool, "demo", &directory.project(), "administrator")
        .await
        .unwrap();
    let workspaces = directory.join("workspaces");
    let mut runner = Program::start(
        &["runner"],
        &[
            ("DATABASE_URL", database.url.expose()),
            ("WORKSPACES_ROOT", workspaces.to_str().unwrap()),
            ("SANDBOX", "off"),
        ],
    );
    runner.hear("runner session open");
    let printed = async |script: &str| {
        let spec = json!({
            "goal": "print", "project_id": "demo",
            "steps": [{ "step_id": "step", "argv": ["sh", "-c", script], "max_retries": 0 }],
        });
        let spec = JobSpec::read(spec.to_string().as_bytes()).unwrap();
        let accepted = submit(&pool, &Hints::default(), &Caller::operator("test"), &spec)
            .await
            .unwrap();
        let question = format!(
            "select state || ' ' || output_bytes from job join step on job_id = id
              where id = '{}' and job.finished_at is not null",
            accepted.job.0
        );
        within(300, async || {
            Some(ask(&pool, &question).await).filter(|end| end != "null")
        })
        .await
    };
    assert_eq!(printed("echo small").await, "succeeded 6");
    let before = peak_memory(&runner);
    let gigabyte = "yes 'a line that says nothing' | head -c 1000000000";
    assert_eq!(printed(gigabyte).await, "succeeded 1000000000");
    let line = "head -c 100000000 /dev/zero | tr '\\0' x";
    assert_eq!(printed(line).await, "succeeded 100000000");
    let bytes = "dd if=/dev/zero bs=1 count=1000000 status=none";
    assert_eq!(printed(bytes).await, "succeeded 1000000");
    let grown = peak_memory(&runner) - before;
    assert!(grown < 24, "from {before} MB by {grown} MB");
}

/// Most memory the runner ever held, in megabytes.
fn peak_memory(runner: &Program) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", runner.pid())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1000
}
