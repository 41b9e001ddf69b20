//! Jobs brought back by hand, and what they need.

use orchestrator::app::control::{Error, cancel, retry};
use orchestrator::domain::attempt::Ending;
use orchestrator::domain::id::JobId;
use orchestrator::domain::job::JobState;
use orchestrator::store::{Connection, control};
use serde_json::json;

use super::{Queue, claim, end, failed};
use crate::support::{ask, until};

impl Queue {
    async fn retry(&self, job: JobId) -> Result<JobState, Error> {
        retry(&self.pool, &self.hints, &self.operator, job).await
    }

    async fn cancel(&self, job: JobId) -> Result<JobState, Error> {
        cancel(&self.pool, &self.hints, &self.operator, job).await
    }

    /// Waits until a statement waits for a row that somebody holds.
    async fn somebody_waits(&self) {
        let waits = "select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')";
        until(async || (ask(&self.pool, waits).await == "true").then_some(())).await;
    }
}

async fn say(connection: &mut Connection, statement: &'static str) {
    sqlx::raw_sql(statement).execute(connection).await.unwrap();
}

#[tokio::test]
async fn job_cancelled_before_what_it_needs_ended_waits_for_it_again_when_it_is_retried() {
    let queue = Queue::new().await;
    let need = queue.submit(json!({})).await;
    let job = queue.submit(json!({ "needs": [need] })).await;
    let last = queue.submit(json!({ "needs": [job] })).await;
    assert_eq!(queue.cancel(job).await.unwrap(), JobState::Cancelled);
    assert_eq!(queue.state(last).await, "cancelled needs_failed");
    assert_eq!(queue.retry(job).await.unwrap(), JobState::Blocked);
    assert_eq!(queue.retry(last).await.unwrap(), JobState::Blocked);
    let runner = queue.session(&[]).await;
    for expected in [need, job, last] {
        let claimed = claim(&runner, 10).await;
        assert_eq!(
            claimed.iter().map(|fence| fence.job).collect::<Vec<_>>(),
            [expected]
        );
        end(&runner, claimed[0], Ending::Succeeded).await;
    }
}

#[tokio::test]
async fn job_whose_need_failed_is_not_retried_before_that_is() {
    let queue = Queue::new().await;
    let runner = queue.session(&[]).await;
    let need = queue.submit(json!({})).await;
    let limited = json!({ "needs": [need], "concurrency": { "key": "k", "limit": 1 } });
    let job = queue.submit(limited).await;
    end(&runner, claim(&runner, 1).await[0], failed()).await;
    assert_eq!(queue.state(job).await, "cancelled needs_failed");
    let refused = queue.retry(job).await;
    assert!(
        matches!(&refused, Err(Error::Need { need: named, state: JobState::Failed, .. }) if *named == need),
        "{refused:?}"
    );
    assert_eq!(queue.state(job).await, "cancelled needs_failed");
    assert_eq!(queue.retry(need).await.unwrap(), JobState::Available);
    assert_eq!(queue.retry(job).await.unwrap(), JobState::Blocked);
    let repeated = queue.retry(job).await;
    assert!(
        matches!(
            repeated,
            Err(Error::State {
                state: JobState::Blocked,
                ..
            })
        ),
        "{repeated:?}"
    );
    let fence = claim(&runner, 10).await;
    assert_eq!((fence.len(), fence[0].attempt), (1, 2));
    end(&runner, fence[0], Ending::Succeeded).await;
    assert_eq!(claim(&runner, 10).await[0].job, job);
}

#[tokio::test]
async fn retry_is_not_lost_to_an_end_that_is_being_committed() {
    let queue = Queue::new().await;
    let job = queue.submit(json!({})).await;
    let mut other = queue.pool.acquire().await.unwrap();
    say(&mut other, "begin").await;
    control::cancel(&mut *other, job, None, "other").await.unwrap();
    let (retried, ()) = tokio::join!(queue.retry(job), async {
        queue.somebody_waits().await;
        say(&mut other, "commit").await;
    });
    assert_eq!(retried.unwrap(), JobState::Available);
    assert_eq!(queue.state(job).await, "available");
}

#[tokio::test]
async fn cancel_is_not_lost_to_a_retry_that_is_being_committed() {
    let queue = Queue::new().await;
    let job = queue.submit(json!({})).await;
    queue.cancel(job).await.unwrap();
    let mut other = queue.pool.acquire().await.unwrap();
    say(&mut other, "begin").await;
    control::retry(&mut *other, job, None, "other", &[])
        .await
        .unwrap();
    let (cancelled, ()) = tokio::join!(queue.cancel(job), async {
        queue.somebody_waits().await;
        say(&mut other, "commit").await;
    });
    assert_eq!(cancelled.unwrap(), JobState::Cancelled);
    assert_eq!(queue.state(job).await, "cancelled cancelled");
}
