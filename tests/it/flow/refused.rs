//! Results that the database does not take: the job ends all the same, and says so.

use serde_json::json;

use super::{Ground, with};
use crate::support::{ask, tell};

/// No step may end with this code any more.
const NO_SEVENS: &str = "alter table step add constraint no_sevens check (exit_code is distinct from 7)";
const REFUSED: &str = "The database refused this attempt's result; the runner's log says why.";

#[tokio::test]
async fn a_result_the_database_refuses_ends_its_job_and_takes_no_other_with_it() {
    let ground = Ground::new().await;
    tell(&ground.pool, NO_SEVENS).await;
    // Paused, so that all are claimed, and end, at the same time.
    tell(&ground.pool, "insert into queue values ('default', now())").await;
    let go = ground.place("go");
    let ends = |code: u8| {
        ground.step(
            "a",
            &format!("while [ ! -e {go} ]; do sleep 0.01; done; exit {code}"),
        )
    };
    let mut jobs = Vec::new();
    for code in [0, 7, 3, 7] {
        jobs.push(ground.submit(json!({ "steps": [ends(code)] })).await);
    }
    let mut runner = ground.runner(&[("RUNNER_SLOTS", "4")]);
    tell(&ground.pool, "delete from queue").await;
    for job in &jobs {
        ground.reaches(*job, "running").await;
    }
    std::fs::write(&go, "").unwrap();
    let ends = [
        "succeeded",
        "failed internal",
        "failed exit_nonzero",
        "failed internal",
    ];
    for (job, end) in jobs.iter().zip(ends) {
        ground.reaches(*job, end).await;
    }
    for (job, recorded) in jobs.iter().zip(["a:succeeded", "null", "a:failed:stop", "null"]) {
        assert_eq!(ground.ended(*job).await, recorded);
    }
    let said = format!("select message from job where id = '{}'", jobs[1]);
    assert_eq!(ask(&ground.pool, &said).await, REFUSED);
    let tries = "select string_agg(outcome || coalesce(' ' || code, ''), ', ' order by job_id) from attempt";
    assert_eq!(
        ask(&ground.pool, tries).await,
        "succeeded, failed internal, failed exit_nonzero, failed internal"
    );
    // Why is for the operator.
    assert!(
        runner
            .hear("a result was refused by the database")
            .contains("no_sevens")
    );
    // Nothing is held: the slots are free.
    let next = ground
        .submit(json!({ "steps": [ground.step("b", "true")] }))
        .await;
    ground.reaches(next, "succeeded").await;
}

#[tokio::test]
async fn a_step_in_the_middle_whose_record_the_database_refuses_ends_its_job() {
    let ground = Ground::new().await;
    tell(&ground.pool, NO_SEVENS).await;
    let first = with(ground.step("a", "exit 7"), json!({ "on_failure": "continue" }));
    let job = ground
        .submit(json!({ "steps": [first, ground.step("b", "true")] }))
        .await;
    let _runner = ground.runner(&[]);
    ground.reaches(job, "failed internal").await;
    assert_eq!(ground.trace(), "a");
    let said = format!("select message from job where id = '{job}'");
    assert_eq!(
        ask(&ground.pool, &said).await,
        "The database refused a step's result; the runner's log says why."
    );
}

#[tokio::test]
async fn a_workspace_that_cannot_be_noted_ends_its_job_after_the_step_that_ran_meanwhile_and_keeps_its_record()
 {
    let ground = Ground::new().await;
    tell(
        &ground.pool,
        "alter table workspace add constraint none_is_noted check (false)",
    )
    .await;
    let job = ground
        .submit(json!({ "steps": [ground.step("a", "true"), ground.step("b", "true")] }))
        .await;
    let _runner = ground.runner(&[]);
    ground.reaches(job, "failed internal").await;
    assert_eq!(ground.trace(), "a");
    assert_eq!(ground.ended(job).await, "a:succeeded");
    let said = format!("select message from job where id = '{job}'");
    assert!(
        ask(&ground.pool, &said)
            .await
            .contains("refused where a workspace is")
    );
}
