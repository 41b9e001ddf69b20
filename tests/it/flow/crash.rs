//! Runners killed in the middle of a job: the next goes on at the right step.

use std::time::Duration;

use nix::sys::signal::Signal;
use orchestrator::app::lease::Session;
use orchestrator::domain::attempt::{Failure, Measured, StepRecord};
use orchestrator::domain::clock;
use orchestrator::domain::id::RunnerId;
use orchestrator::domain::job::Code;
use orchestrator::store::runner::NewSession;
use serde_json::json;

use super::{Ground, with};
use crate::support::{ask, tell, until};

#[tokio::test]
async fn a_runner_killed_in_any_step_is_followed_by_one_that_goes_on_there() {
    let ground = Ground::new().await;
    let names = ["one", "two", "three", "four"];
    let held = |name: &str| ground.place(&format!("hold-{name}"));
    let steps: Vec<_> = names
        .iter()
        .map(|name| {
            let script = format!(
                "while [ -e {} ]; do sleep 0.01; done; echo {name} >> work.txt",
                held(name)
            );
            ground.step(name, &script)
        })
        .collect();
    names
        .iter()
        .for_each(|name| std::fs::write(held(name), "").unwrap());
    let job = ground.submit(json!({ "steps": steps, "max_attempts": 10 })).await;
    let mut expected = Vec::new();
    for name in names {
        let mut runner = ground.runner(&[]);
        expected.push(name);
        until(async || (ground.trace() == expected.join(" ")).then_some(())).await;
        runner.signal(Signal::SIGKILL);
        runner.end();
        std::fs::remove_file(held(name)).unwrap();
        ground.leases_pass().await;
        // It begins again, and the next is the one that waits.
        expected.push(name);
    }
    let _runner = ground.runner(&[]);
    ground.reaches(job, "succeeded").await;
    assert_eq!(ground.trace(), "one one two two three three four four");
    let work = ground
        .directory
        .join("workspaces")
        .join(job.to_string())
        .join("work/work.txt");
    assert_eq!(std::fs::read_to_string(work).unwrap(), "one\ntwo\nthree\nfour\n");
    assert_eq!(
        ground.ended(job).await,
        "one:succeeded two:succeeded three:succeeded four:succeeded"
    );
}

#[tokio::test]
async fn claims_whose_answer_was_lost_are_taken_up_by_the_session_that_made_them_though_it_has_one_slot() {
    let ground = Ground::new().await;
    let mut runner = ground.runner(&[("RUNNER_SLOTS", "1")]);
    // Claims fail until this is undone.
    tell(&ground.pool, "alter table queue rename to queue_away").await;
    runner.hear("no work could be claimed");
    let mut jobs = Vec::new();
    for name in ["first", "second"] {
        jobs.push(
            ground
                .submit(json!({ "steps": [ground.step(name, "true")] }))
                .await,
        );
    }
    // As the server does it for a claim whose client loses the connection just then.
    tell(
        &ground.pool,
        "update job set state = 'running', attempt = 1, runner_id = (select id from runner), claimed_at = now(), started_at = now();
         alter table queue_away rename to queue",
    )
    .await;
    for job in jobs {
        runner.hear("taken up now");
        ground.reaches(job, "succeeded").await;
    }
    assert_eq!(ground.trace(), "first second");
    assert_eq!(
        ask(&ground.pool, "select string_agg(outcome, ' ') from attempt").await,
        "succeeded succeeded"
    );
}

#[tokio::test]
async fn a_claim_under_way_when_the_runner_is_told_to_stop_is_handed_back_and_costs_no_attempt() {
    let ground = Ground::new().await;
    let mut runner = ground.runner(&[]);
    #[expect(clippy::disallowed_methods, reason = "somebody who holds up every claim")]
    let mut holding = ground.pool.begin().await.unwrap();
    sqlx::raw_sql("lock table queue in access exclusive mode")
        .execute(&mut *holding)
        .await
        .unwrap();
    let job = ground
        .submit(json!({ "max_attempts": 1, "steps": [ground.step("only", "true")] }))
        .await;
    until(async || {
        let waiting = "select count(*) from pg_locks where relation = 'queue'::regclass and not granted";
        (ask(&ground.pool, waiting).await == "1").then_some(())
    })
    .await;
    runner.signal(Signal::SIGTERM);
    runner.hear("asked to stop");
    holding.commit().await.unwrap();
    assert!(runner.end().success());
    assert_eq!(
        ask(&ground.pool, "select string_agg(outcome, ' ') from attempt").await,
        "handed_back"
    );
    let _another = ground.runner(&[]);
    ground.reaches(job, "succeeded").await;
    assert_eq!(ground.trace(), "only");
}

/// A runner that records a step and is gone before it does anything else.
async fn record_and_vanish(ground: &Ground, position: i16, failure: Option<(Failure, &str)>, next: i16) {
    let new = NewSession {
        id: RunnerId::generate(),
        instance: "vanishes",
        host: "here",
        pid: 1,
        slots: 1,
        queues: &["default".to_owned()],
        labels: &[],
        lease: Duration::from_secs(60),
    };
    let session = Session::open(ground.pool.clone(), ground.hints.clone(), &new)
        .await
        .unwrap();
    let claimed = session.claim("default", &[], 1).await.unwrap().remove(0);
    assert_eq!(claimed.step_position, position);
    let now = clock::now();
    let (failure, verdict) = failure.unzip();
    let record = StepRecord {
        ordinal: 0,
        position,
        step_id: format!("s{position}"),
        agent: "command".into(),
        skipped: false,
        failure,
        needs_human: false,
        usage: None,
        verdict: verdict.map(str::to_owned),
        exit_code: Some(0),
        signal: None,
        started_at: now,
        finished_at: now,
        output_bytes: 0,
        patched: false,
        measured: Measured::default(),
    };
    assert!(session.record_step(claimed.fence, &record, next).await.unwrap());
    ground.leases_pass().await;
}

#[tokio::test]
async fn a_runner_that_vanishes_between_two_steps_is_followed_at_the_second() {
    let ground = Ground::new().await;
    let job = ground
        .submit(json!({ "max_attempts": 10, "steps": [
            ground.step("s0", "true"), ground.step("s1", "true"), ground.step("s2", "true"), ground.step("s3", "true"),
        ] }))
        .await;
    for position in 0..3 {
        record_and_vanish(&ground, position, None, position + 1).await;
    }
    let _runner = ground.runner(&[]);
    ground.reaches(job, "succeeded").await;
    assert_eq!(ground.trace(), "s3");
}

#[tokio::test]
async fn a_failure_before_the_runner_vanished_is_not_forgotten() {
    let ground = Ground::new().await;
    let job = ground
        .submit(json!({ "max_attempts": 10, "steps": [
            ground.step("s0", "true"),
            ground.step("s1", "true"),
            with(ground.step("s2", "true"), json!({ "if": "failure" })),
        ] }))
        .await;
    let failure = Failure::new(Code::ExitNonzero, "It failed before.");
    record_and_vanish(&ground, 0, Some((failure, "stop")), 1).await;
    let _runner = ground.runner(&[]);
    ground.reaches(job, "failed exit_nonzero").await;
    assert_eq!(ground.trace(), "s2");
    let message = ask(
        &ground.pool,
        &format!("select message from job where id = '{job}'"),
    )
    .await;
    assert_eq!(message, "It failed before.");
}

#[tokio::test]
async fn jumps_before_the_runner_vanished_count() {
    let ground = Ground::new().await;
    let job = ground
        .submit(json!({ "max_attempts": 20, "steps": [
            ground.step("s0", "true"),
            with(ground.step("s1", "false"), json!({ "on_failure": "goto:s0" })),
        ] }))
        .await;
    let failure = || Failure::new(Code::ExitNonzero, "It failed.");
    for _ in 0..4 {
        record_and_vanish(&ground, 0, None, 1).await;
        record_and_vanish(&ground, 1, Some((failure(), "goto:s0")), 0).await;
    }
    let _runner = ground.runner(&[]);
    ground.reaches(job, "failed exit_nonzero").await;
    assert_eq!(
        ground.trace().matches("s1").count(),
        7,
        "six more jumps and the last try"
    );
}
