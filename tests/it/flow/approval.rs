//! Jobs that wait for somebody's word, on runners that are replaced meanwhile.

use nix::sys::signal::Signal;
use orchestrator::app::control::{Error, cancel, retry};
use orchestrator::domain::approval::{Decision, Word};
use orchestrator::domain::id::JobId;
use orchestrator::domain::job::JobState;
use serde_json::json;

use super::{Ground, with};
use crate::support::ask;

fn approved() -> Word {
    Word {
        decision: Decision::Approved,
        comment: Some("looks right".into()),
        prompt: None,
        attempt: None,
    }
}

#[tokio::test]
async fn a_job_waits_before_its_first_step_and_the_runner_may_be_another_one_after() {
    let ground = Ground::new().await;
    let job = ground
        .submit(json!({ "policy": { "requires_approval": true }, "steps": [ground.step("a", "true"), ground.step("b", "true")] }))
        .await;
    let mut runner = ground.runner(&[]);
    ground.reaches(job, "awaiting_approval").await;
    let held = format!("select concat_ws(' ', runner_id, step_position) from job where id = '{job}'");
    assert_eq!(ask(&ground.pool, &held).await, "0", "no runner holds it");
    runner.signal(Signal::SIGTERM);
    runner.end();
    assert_eq!(ground.trace(), "");
    assert_eq!(
        ground.answers(job, &approved()).await.unwrap(),
        JobState::Available
    );
    let _runner = ground.runner(&[]);
    ground.reaches(job, "succeeded").await;
    assert_eq!(ground.trace(), "a b");
    let who =
        "select concat_ws(' ', attempt, decision, decided_by, comment, decided_at >= asked_at) from approval";
    assert_eq!(ask(&ground.pool, who).await, "1 approved test looks right t");
    let events = format!("select string_agg(kind, ' ' order by id) from event where job_id = '{job}'");
    assert_eq!(
        ask(&ground.pool, &events).await,
        "job.submitted job.running job.awaiting_approval job.approved job.running job.succeeded"
    );
}

#[tokio::test]
async fn the_paused_step_goes_on_and_never_the_whole_pipeline() {
    let ground = Ground::new().await;
    let flag = ground.place("mended");
    let job = ground
        .submit(json!({ "steps": [
            ground.step("before", "true"),
            with(ground.step("risky", &format!("[ -e {flag} ]")), json!({ "on_failure": "ask_human" })),
            ground.step("after", "true"),
        ] }))
        .await;
    for questions in 1..=3 {
        let mut runner = ground.runner(&[]);
        ground.asks(job, questions).await;
        runner.signal(Signal::SIGKILL);
        runner.end();
        if questions == 3 {
            std::fs::write(&flag, "").unwrap();
        }
        ground.answers(job, &approved()).await.unwrap();
    }
    let _runner = ground.runner(&[]);
    ground.reaches(job, "succeeded").await;
    assert_eq!(ground.trace(), "before risky risky risky risky after");
    let question = ask(
        &ground.pool,
        "select question from approval order by attempt limit 1",
    )
    .await;
    assert!(
        question.starts_with(r#"Step "risky" did not succeed: `sh` exited with code 1"#),
        "{question}"
    );
}

#[tokio::test]
async fn a_step_may_be_passed_over_and_only_that_one() {
    let ground = Ground::new().await;
    let job = ground
        .submit(json!({ "steps": [
            with(ground.step("one", "false"), json!({ "on_failure": "ask_human" })),
            with(ground.step("two", "false"), json!({ "on_failure": "ask_human" })),
            ground.step("three", "true"),
        ] }))
        .await;
    let _runner = ground.runner(&[]);
    for questions in 1..=2 {
        ground.asks(job, questions).await;
        ground.says(job, Decision::Skipped).await.unwrap();
    }
    ground.reaches(job, "succeeded").await;
    assert_eq!(
        ground.ended(job).await,
        "one:failed:ask_human one:skipped two:failed:ask_human two:skipped three:succeeded"
    );
    assert_eq!(ground.trace(), "one two three");
}

#[tokio::test]
async fn a_job_that_is_rejected_fails_with_who_and_why_and_can_be_retried() {
    let ground = Ground::new().await;
    let job = ground
        .submit(json!({ "policy": { "requires_approval": true }, "steps": [ground.step("a", "true")] }))
        .await;
    let _runner = ground.runner(&[]);
    ground.reaches(job, "awaiting_approval").await;
    let word = Word {
        decision: Decision::Rejected,
        comment: Some("not today".into()),
        ..approved()
    };
    for _ in 0..2 {
        assert_eq!(ground.answers(job, &word).await.unwrap(), JobState::Failed);
    }
    let row = format!("select concat_ws(' ', state, code, message) from job where id = '{job}'");
    assert_eq!(
        ask(&ground.pool, &row).await,
        "failed rejected Rejected by test: not today"
    );
    // Retried, it asks again: a no is not forgotten.
    retry(&ground.pool, &ground.hints, &ground.operator, job)
        .await
        .unwrap();
    ground.asks(job, 2).await;
    ground.says(job, Decision::Approved).await.unwrap();
    ground.reaches(job, "succeeded").await;
    assert_eq!(ground.trace(), "a");
}

#[tokio::test]
async fn of_many_answers_at_once_one_counts() {
    let ground = Ground::new().await;
    let job = ground
        .submit(json!({ "policy": { "requires_approval": true }, "steps": [ground.step("a", "true")] }))
        .await;
    let mut runner = ground.runner(&[]);
    ground.reaches(job, "awaiting_approval").await;
    runner.signal(Signal::SIGTERM);
    runner.end();
    let (yes, no) = (
        approved(),
        Word {
            decision: Decision::Rejected,
            ..approved()
        },
    );
    let say = async |word: &Word| ground.answers(job, word).await;
    let (a, b, c, d, e, f) = tokio::join!(say(&yes), say(&no), say(&yes), say(&no), say(&yes), say(&no));
    let answers = [a, b, c, d, e, f];
    let taken = ask(&ground.pool, "select decision from approval").await;
    for (place, answer) in answers.iter().enumerate() {
        let own = if place % 2 == 0 { "approved" } else { "rejected" };
        match answer {
            Ok(_) => assert_eq!(own, taken),
            Err(Error::State { state, .. }) => {
                assert_ne!(own, taken);
                assert_ne!(*state, JobState::AwaitingApproval);
            }
            Err(other) => panic!("{other}"),
        }
    }
    let events = "select count(*) from event where kind in ('job.approved', 'job.rejected')";
    assert_eq!(ask(&ground.pool, events).await, "1");
}

#[tokio::test]
async fn a_word_in_the_wrong_state_is_refused_with_the_state() {
    let ground = Ground::new().await;
    let job = ground
        .submit(json!({ "steps": [ground.step("a", "true")] }))
        .await;
    let refused = ground.says(job, Decision::Approved).await.unwrap_err();
    assert!(refused.to_string().contains("is available"), "{refused}");
    cancel(&ground.pool, &ground.hints, &ground.operator, job)
        .await
        .unwrap();
    let refused = ground.says(job, Decision::Rejected).await.unwrap_err();
    assert!(refused.to_string().contains("is cancelled"), "{refused}");
    let nobody = ground
        .says(JobId::generate(), Decision::Approved)
        .await
        .unwrap_err();
    assert!(matches!(nobody, Error::Unknown(_)), "{nobody}");
}

#[tokio::test]
async fn an_answer_to_an_earlier_question_is_not_taken_for_the_next() {
    let ground = Ground::new().await;
    let job = ground
        .submit(json!({ "policy": { "requires_approval": true }, "steps": [
            with(ground.step("a", "false"), json!({ "on_failure": "ask_human" })),
        ] }))
        .await;
    let _runner = ground.runner(&[]);
    ground.reaches(job, "awaiting_approval").await;
    let first = Word {
        attempt: Some(1),
        ..approved()
    };
    ground.answers(job, &first).await.unwrap();
    ground.asks(job, 2).await;
    let refused = ground.answers(job, &first).await.unwrap_err();
    assert!(matches!(refused, Error::Question { attempt: 2, .. }), "{refused}");
    let edited = Word {
        prompt: Some("do it better".into()),
        ..approved()
    };
    let refused = ground.answers(job, &edited).await.unwrap_err();
    assert!(matches!(refused, Error::Prompt(_)), "{refused}");
    cancel(&ground.pool, &ground.hints, &ground.operator, job)
        .await
        .unwrap();
    assert_eq!(ground.state(job).await, "cancelled cancelled");
}

#[tokio::test]
async fn an_edited_prompt_is_what_the_agent_is_asked() {
    let ground = Ground::new().await;
    let job = ground
        .submit(json!({ "policy": { "requires_approval": true }, "steps": [
            { "step_id": "ask", "agent": "simulate", "prompt": "the first words" },
        ] }))
        .await;
    let _runner = ground.runner(&[]);
    ground.reaches(job, "awaiting_approval").await;
    let word = Word {
        prompt: Some("better words".into()),
        ..approved()
    };
    ground.answers(job, &word).await.unwrap();
    ground.reaches(job, "succeeded").await;
    let report = ask(&ground.pool, "select report from step_usage").await;
    assert!(
        report.contains("better words") && !report.contains("the first words"),
        "{report}"
    );
}

#[tokio::test]
async fn a_job_that_waits_gives_up_its_room_and_takes_it_again() {
    let ground = Ground::new().await;
    let fields = json!({
        "concurrency": { "key": "k", "limit": 1 }, "policy": { "requires_approval": true },
        "steps": [ground.step("a", "true")],
    });
    let first = ground.submit(fields.clone()).await;
    let second = ground.submit(fields).await;
    let mut runner = ground.runner(&[]);
    ground.reaches(first, "awaiting_approval").await;
    ground.reaches(second, "awaiting_approval").await;
    runner.signal(Signal::SIGTERM);
    runner.end();
    for job in [first, second] {
        ground.says(job, Decision::Approved).await.unwrap();
    }
    assert_eq!(ground.state(first).await, "available");
    assert_eq!(ground.state(second).await, "scheduled", "there is room for one");
    let _runner = ground.runner(&[]);
    ground.reaches(first, "succeeded").await;
    ground.reaches(second, "succeeded").await;
}
