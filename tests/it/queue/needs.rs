//! Jobs that wait for other jobs.

use orchestrator::app::control::{cancel, retry};
use orchestrator::app::follow::sweep;
use orchestrator::app::submit;
use orchestrator::domain::attempt::Ending;
use serde_json::json;

use super::{Queue, claim, end, failed};
use crate::support::{ask, tell};

#[tokio::test]
async fn job_waits_until_all_it_needs_succeeded() {
    let queue = Queue::new().await;
    let first = queue.submit(json!({})).await;
    let second = queue.submit(json!({ "idempotency_key": "second" })).await;
    let last = queue.submit(json!({ "needs": [first, "second"] })).await;
    let runner = queue.session(&[]).await;
    let claimed = claim(&runner, 10).await;
    assert_eq!(
        claimed.iter().map(|fence| fence.job).collect::<Vec<_>>(),
        [first, second]
    );
    end(&runner, claimed[0], Ending::Succeeded).await;
    assert_eq!(queue.state(last).await, "blocked");
    end(&runner, claimed[1], Ending::Succeeded).await;
    assert_eq!(queue.state(last).await, "available");
}

#[tokio::test]
async fn what_needs_a_job_that_failed_is_cancelled_down_to_the_last() {
    let queue = Queue::new().await;
    let keyed = |key: &str, needs: &[&str]| json!({ "idempotency_key": key, "needs": needs });
    let graph = [
        keyed("a", &[]),
        keyed("b", &["a"]),
        keyed("c", &["b"]),
        keyed("d", &["a", "c"]),
        keyed("e", &[]),
    ];
    let jobs = queue.submit_all(&graph).await.unwrap();
    let runner = queue.session(&[]).await;
    let claimed = claim(&runner, 10).await;
    assert_eq!(claimed.len(), 2, "a and e");
    end(&runner, claimed[0], failed()).await;
    let states = async || {
        let mut states = Vec::new();
        for accepted in &jobs {
            states.push(queue.state(accepted.job).await);
        }
        states
    };
    let cancelled = "cancelled needs_failed";
    assert_eq!(
        states().await,
        ["failed exit_nonzero", cancelled, cancelled, cancelled, "running"]
    );
    let why = ask(
        &queue.pool,
        &format!("select message from job where id = '{}'", jobs[1].job),
    )
    .await;
    assert!(
        why.contains(&jobs[0].job.to_string()) && why.contains("retry"),
        "{why}"
    );
    assert_eq!(
        ask(&queue.pool, "select count(*) from job where needed").await,
        "0"
    );
}

#[tokio::test]
async fn need_that_has_ended_already_counts_as_it_ended() {
    let queue = Queue::new().await;
    let runner = queue.session(&[]).await;
    let (good, bad) = (queue.submit(json!({})).await, queue.submit(json!({})).await);
    let claimed = claim(&runner, 2).await;
    end(&runner, claimed[0], Ending::Succeeded).await;
    end(&runner, claimed[1], failed()).await;
    let after_good = queue.submit(json!({ "needs": [good] })).await;
    let after_bad = queue.submit(json!({ "needs": [good, bad] })).await;
    assert_eq!(queue.state(after_good).await, "available");
    assert_eq!(queue.state(after_bad).await, "cancelled needs_failed");
    // By hand, and one after the other, they come back.
    for (job, state) in [(bad, "available"), (after_bad, "blocked")] {
        retry(&queue.pool, &queue.hints, &queue.operator, job)
            .await
            .unwrap();
        assert_eq!(queue.state(job).await, state);
    }
}

#[tokio::test]
async fn needs_that_go_round_or_lead_nowhere_are_refused_and_nothing_is_stored() {
    let queue = Queue::new().await;
    let cases = [
        (
            vec![
                json!({ "idempotency_key": "a", "needs": ["b"] }),
                json!({ "idempotency_key": "b", "needs": ["a"] }),
            ],
            "jobs[0].needs",
            "itself",
        ),
        (
            vec![json!({}), json!({ "idempotency_key": "c", "needs": ["c"] })],
            "jobs[1].needs",
            "itself",
        ),
        (vec![json!({ "needs": ["nobody"] })], "jobs[0].needs", "nobody"),
        (
            vec![json!({ "needs": ["01980000-0000-7000-8000-000000000000"] })],
            "jobs[0].needs",
            "01980000",
        ),
    ];
    for (request, path, named) in cases {
        match queue.submit_all(&request).await {
            Err(submit::Error::Invalid(violations)) => {
                assert_eq!(violations[0].path, path);
                assert!(violations[0].message.contains(named), "{}", violations[0].message);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(ask(&queue.pool, "select count(*) from job").await, "0");
    assert_eq!(ask(&queue.pool, "select count(*) from job_key").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn need_that_ends_while_its_dependant_comes_in_is_never_missed() {
    let queue = Queue::new().await;
    let runner = queue.session(&[]).await;
    for _ in 0..40 {
        let need = queue.submit(json!({})).await;
        let fence = claim(&runner, 1).await[0];
        let (settled, dependant) = tokio::join!(
            end(&runner, fence, Ending::Succeeded),
            queue.submit(json!({ "needs": [need] }))
        );
        assert!(settled);
        assert_eq!(queue.state(dependant).await, "available");
        cancel(&queue.pool, &queue.hints, &queue.operator, dependant)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn end_that_nobody_told_of_is_found_by_the_scheduler() {
    let queue = Queue::new().await;
    let need = queue.submit(json!({})).await;
    let last = queue.submit(json!({ "needs": [need] })).await;
    // As if the runner had been gone right after its commit.
    tell(
        &queue.pool,
        &format!(
            "update job set state = 'cancelled', code = 'cancelled', finished_at = now() where id = '{need}'"
        ),
    )
    .await;
    assert_eq!(queue.state(last).await, "blocked");
    sweep(&queue.pool, &queue.hints).await.unwrap();
    assert_eq!(queue.state(last).await, "cancelled needs_failed");
}
