//! What failures lead to, and what runs all the same.

use orchestrator::app::control::retry;
use serde_json::json;

use super::{Ground, with};
use crate::support::{ask, until};

#[tokio::test]
async fn a_failure_skips_what_needs_success_and_runs_what_does_not() {
    let ground = Ground::new().await;
    let job = ground
        .submit(json!({ "steps": [
            ground.step("build", "exit 3"),
            ground.step("deploy", "true"),
            with(ground.step("tell", "true"), json!({ "if": "failure" })),
            with(ground.step("clean", "true"), json!({ "if": "always" })),
            ground.step("never", "true"),
        ] }))
        .await;
    let _runner = ground.runner(&[]);
    ground.reaches(job, "failed exit_nonzero").await;
    assert_eq!(ground.trace(), "build tell clean");
    assert_eq!(
        ground.ended(job).await,
        "build:failed:stop deploy:skipped tell:succeeded clean:succeeded"
    );
    // Somebody mends it and retries: the job goes on at the step that failed it, not at the last that ran.
    retry(&ground.pool, &ground.hints, &ground.operator, job)
        .await
        .unwrap();
    until(async || (ground.trace() == "build tell clean build tell clean").then_some(())).await;
}

#[tokio::test]
async fn a_step_may_fail_and_the_job_go_on() {
    let ground = Ground::new().await;
    let job = ground
        .submit(json!({ "steps": [
            with(ground.step("lint", "exit 1"), json!({ "on_failure": "continue" })),
            with(ground.step("tell", "true"), json!({ "if": "failure" })),
            ground.step("build", "true"),
        ] }))
        .await;
    let _runner = ground.runner(&[]);
    ground.reaches(job, "succeeded").await;
    assert_eq!(
        ground.ended(job).await,
        "lint:failed:continue tell:skipped build:succeeded"
    );
}

#[tokio::test]
async fn a_loop_goes_round_until_it_is_good() {
    let ground = Ground::new().await;
    let count = ground.place("count");
    let script = format!("echo x >> {count}; [ $(wc -l < {count}) -ge 3 ]");
    let job = ground
        .submit(json!({ "steps": [
            ground.step("fix", "true"),
            with(ground.step("test", &script), json!({ "on_failure": "goto:fix" })),
            ground.step("ship", "true"),
        ] }))
        .await;
    let _runner = ground.runner(&[]);
    ground.reaches(job, "succeeded").await;
    assert_eq!(ground.trace(), "fix test fix test fix test ship");
    assert_eq!(
        ground.ended(job).await,
        "fix:succeeded test:failed:goto:fix fix:succeeded test:failed:goto:fix fix:succeeded test:succeeded ship:succeeded"
    );
}

#[tokio::test]
async fn a_loop_that_is_never_good_ends_and_says_why() {
    let ground = Ground::new().await;
    let job = ground
        .submit(json!({ "steps": [
            ground.step("fix", "true"),
            with(ground.step("test", "false"), json!({ "on_failure": "goto:fix" })),
        ] }))
        .await;
    let _runner = ground.runner(&[]);
    ground.reaches(job, "failed exit_nonzero").await;
    assert_eq!(ground.trace().split(' ').count(), 22);
    let message = ask(
        &ground.pool,
        &format!("select message from job where id = '{job}'"),
    )
    .await;
    assert!(
        message.ends_with(r#"The job went back to "fix" 10 times and stops here."#),
        "{message}"
    );
}

#[tokio::test]
async fn a_step_that_waits_to_be_tried_again_holds_no_runner_and_goes_on_with_its_count() {
    let ground = Ground::new().await;
    let job = ground
        .submit(json!({ "steps": [
            ground.step("first", "true"),
            with(ground.step("flaky", "false"), json!({ "max_retries": 2, "retry_backoff_sec": 1000, "on_failure": "continue" })),
            ground.step("last", "true"),
        ] }))
        .await;
    let mut runner = ground.runner(&[]);
    for tries in 1..=2 {
        ground.reaches(job, "scheduled").await;
        let row = format!(
            "select concat_ws(' ', step_position, step_retries, runner_id) from job where id = '{job}'"
        );
        assert_eq!(ask(&ground.pool, &row).await, format!("1 {tries}"));
        // Whoever tries again is another process.
        runner.signal(nix::sys::signal::Signal::SIGTERM);
        runner.end();
        runner = ground.runner(&[]);
        ground.an_hour_passes().await;
    }
    ground.reaches(job, "succeeded").await;
    assert_eq!(ground.trace(), "first flaky flaky flaky last");
    assert_eq!(
        ground.ended(job).await,
        "first:succeeded flaky:failed:retry flaky:failed:retry flaky:failed:continue last:succeeded"
    );
}

#[tokio::test]
async fn a_job_without_time_ends_whatever_its_steps_say() {
    let ground = Ground::new().await;
    let job = ground
        .submit(json!({ "timeout_sec": 1, "steps": [
            with(ground.step("slow", "sleep 600"), json!({ "max_retries": 5, "on_failure": "continue" })),
            with(ground.step("clean", "true"), json!({ "if": "always" })),
        ] }))
        .await;
    let _runner = ground.runner(&[]);
    ground.reaches(job, "failed timeout").await;
    assert_eq!(ground.trace(), "slow");
    let message = ask(
        &ground.pool,
        &format!("select message from job where id = '{job}'"),
    )
    .await;
    assert_eq!(
        message,
        "The job's steps took longer than 1 s together; raise the job's timeout_sec."
    );
}

#[tokio::test]
async fn a_step_that_builds_on_a_patch_is_not_run_without_it() {
    let ground = Ground::new().await;
    let job = ground
        .submit(json!({ "steps": [
            ground.step("change", "true"),
            with(ground.step("build", "true"), json!({ "apply_patches_from": ["change", "later"] })),
            ground.step("later", "true"),
        ] }))
        .await;
    let _runner = ground.runner(&[]);
    ground.reaches(job, "failed missing_patch").await;
    assert_eq!(ground.trace(), "change");
}

#[tokio::test]
async fn a_step_waits_while_what_it_leaves_behind_cannot_be_written() {
    let ground = Ground::new().await;
    let job = ground
        .submit(json!({ "steps": [ground.step("only", "echo kept")] }))
        .await;
    let directory = ground.directory.join("artifacts").join(job.to_string());
    std::fs::create_dir(directory.parent().unwrap()).unwrap();
    std::fs::write(&directory, "in the way").unwrap();
    let mut runner = ground.runner(&[]);
    runner.hear("an artifact could not be written");
    ground.reaches(job, "running").await;
    std::fs::remove_file(&directory).unwrap();
    ground.reaches(job, "succeeded").await;
    let logs = std::fs::read_to_string(directory.join("steps/only/logs.txt")).unwrap();
    assert!(logs.ends_with("kept\n"), "{logs}");
}
