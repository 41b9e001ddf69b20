//! Cancel, retry, pause, drain.

use orchestrator::app::control::{Error, cancel, drain, pause_queue, retry};
use orchestrator::app::maintain::expire;
use orchestrator::domain::attempt::Ending;
use orchestrator::domain::id::JobId;
use orchestrator::domain::job::JobState;
use serde_json::json;

use super::{Queue, claim, end, failed};
use crate::support::{ask, tell};

#[tokio::test]
async fn queued_job_is_cancelled_at_once_and_again_changes_nothing() {
    let queue = Queue::new().await;
    for fields in [
        json!({}),
        json!({ "run_at": "2999-01-01T00:00:00Z" }),
        json!({ "concurrency": { "key": "k", "limit": 1 } }),
    ] {
        let job = queue.submit(fields).await;
        for _ in 0..2 {
            let state = cancel(&queue.pool, &queue.hints, &queue.operator, job)
                .await
                .unwrap();
            assert_eq!(state, JobState::Cancelled);
        }
        assert_eq!(queue.state(job).await, "cancelled cancelled");
    }
    assert_eq!(
        ask(
            &queue.pool,
            "select count(*) from event where kind = 'job.cancelled'"
        )
        .await,
        "3"
    );
    assert!(claim(&queue.session(&[]).await, 10).await.is_empty());
}

#[tokio::test]
async fn running_job_is_told_through_the_renewal_and_does_not_go_on() {
    let queue = Queue::new().await;
    let job = queue.submit(json!({})).await;
    let runner = queue.session(&[]).await;
    let fence = claim(&runner, 1).await[0];
    let state = cancel(&queue.pool, &queue.hints, &queue.operator, job)
        .await
        .unwrap();
    assert_eq!(state, JobState::Running);
    assert_eq!(runner.renew().await.unwrap().unwrap().held, [(fence, true)]);
    // A runner that hands it back all the same does not put it into the queue again.
    end(&runner, fence, Ending::HandedBack).await;
    assert_eq!(queue.state(job).await, "cancelled cancelled");
}

#[tokio::test]
async fn job_that_was_to_be_cancelled_when_its_runner_vanished_is_cancelled() {
    let queue = Queue::new().await;
    let job = queue.submit(json!({})).await;
    let runner = queue.session(&[]).await;
    claim(&runner, 1).await;
    cancel(&queue.pool, &queue.hints, &queue.operator, job)
        .await
        .unwrap();
    runner.close().await.unwrap();
    expire(&queue.pool, &queue.hints, None).await.unwrap();
    assert_eq!(queue.state(job).await, "cancelled cancelled");
}

#[tokio::test]
async fn job_in_the_wrong_state_says_which_it_is_in() {
    let queue = Queue::new().await;
    let job = queue.submit(json!({})).await;
    let refused = retry(&queue.pool, &queue.hints, &queue.operator, job)
        .await
        .unwrap_err();
    assert!(
        matches!(
            refused,
            Error::State {
                state: JobState::Available,
                ..
            }
        ),
        "{refused}"
    );
    let runner = queue.session(&[]).await;
    let fence = claim(&runner, 1).await[0];
    end(&runner, fence, Ending::Succeeded).await;
    for refused in [
        cancel(&queue.pool, &queue.hints, &queue.operator, job)
            .await
            .unwrap_err(),
        retry(&queue.pool, &queue.hints, &queue.operator, job)
            .await
            .unwrap_err(),
    ] {
        assert!(refused.to_string().contains("is succeeded"), "{refused}");
    }
    let nobody = JobId::generate();
    assert!(matches!(
        cancel(&queue.pool, &queue.hints, &queue.operator, nobody).await,
        Err(Error::Unknown(_))
    ));
}

#[tokio::test]
async fn job_that_was_cancelled_before_it_was_due_is_not_due_before_when_it_is_retried() {
    let queue = Queue::new().await;
    let job = queue.submit(json!({ "run_at": "2999-01-01T00:00:00Z" })).await;
    let keyed = json!({ "run_at": "2999-01-01T00:00:00Z", "concurrency": { "key": "a", "limit": 1 } });
    let limited = queue.submit(keyed).await;
    for job in [job, limited] {
        cancel(&queue.pool, &queue.hints, &queue.operator, job)
            .await
            .unwrap();
        let after = retry(&queue.pool, &queue.hints, &queue.operator, job)
            .await
            .unwrap();
        assert_eq!(after, JobState::Scheduled);
    }
    let waits = "select string_agg(concat_ws(' ', run_at, gate), ', ') from job where state = 'scheduled'";
    let instant = "2999-01-01 00:00:00+00";
    assert_eq!(ask(&queue.pool, waits).await, format!("{instant}, {instant}"));
}

#[tokio::test]
async fn failed_job_that_is_retried_goes_on_with_a_new_attempt_and_its_history() {
    let queue = Queue::new().await;
    let job = queue.submit(json!({})).await;
    let runner = queue.session(&[]).await;
    let first = claim(&runner, 1).await[0];
    end(&runner, first, failed()).await;
    assert_eq!(
        retry(&queue.pool, &queue.hints, &queue.operator, job)
            .await
            .unwrap(),
        JobState::Available
    );
    let second = claim(&runner, 1).await[0];
    assert_eq!((second.job, second.attempt), (job, 2));
    assert!(!end(&runner, first, failed()).await, "the first attempt is over");
    end(&runner, second, Ending::Succeeded).await;
    let history = "select string_agg(number || ' ' || outcome, ', ' order by number) from attempt";
    assert_eq!(ask(&queue.pool, history).await, "1 failed, 2 succeeded");
    assert_eq!(
        ask(&queue.pool, "select actor from event where kind = 'job.retried'").await,
        "test"
    );
}

#[tokio::test]
async fn paused_queue_hands_out_nothing_until_it_is_opened() {
    let queue = Queue::new().await;
    queue.submit(json!({})).await;
    let runner = queue.session(&[]).await;
    let pause = async |paused| {
        pause_queue(&queue.pool, &queue.hints, &queue.operator, "default", paused)
            .await
            .unwrap()
    };
    assert!(pause(true).await && !pause(true).await);
    assert!(claim(&runner, 1).await.is_empty());
    assert!(pause(false).await && !pause(false).await);
    assert_eq!(claim(&runner, 1).await.len(), 1);
    let kinds = "select string_agg(kind, ' ' order by id) from event where kind like 'queue.%'";
    assert_eq!(ask(&queue.pool, kinds).await, "queue.paused queue.resumed");
}

#[tokio::test]
async fn drained_runner_claims_nothing_more_and_hears_of_it() {
    let queue = Queue::new().await;
    queue.submit(json!({})).await;
    let runner = queue.session(&[]).await;
    drain(&queue.pool, &queue.operator, runner.id).await.unwrap();
    assert!(claim(&runner, 1).await.is_empty());
    assert!(runner.renew().await.unwrap().unwrap().drain);
    runner.close().await.unwrap();
    assert!(matches!(
        drain(&queue.pool, &queue.operator, runner.id).await,
        Err(Error::Unknown(_))
    ));
}

#[tokio::test]
async fn tables_refuse_every_way_a_job_cannot_go() {
    let queue = Queue::new().await;
    let job = queue.submit(json!({})).await;
    let runner = queue.session(&[]).await;
    end(&runner, claim(&runner, 1).await[0], Ending::Succeeded).await;
    let statements = [
        "update job set state = 'available', finished_at = null",
        "update job set state = 'failed', code = 'lost'",
        "update job set attempt = attempt + 1",
        "update job set attempt = attempt - 1, started_at = null",
    ];
    for statement in statements {
        let refused = sqlx::raw_sql(statement).execute(&queue.pool).await.unwrap_err();
        let answer = refused.as_database_error().unwrap();
        assert_eq!(
            answer.constraint(),
            Some("job_takes_only_legal_ways"),
            "{statement}"
        );
    }
    tell(&queue.pool, "update job set priority = 3").await;
    assert_eq!(queue.state(job).await, "succeeded");
}
