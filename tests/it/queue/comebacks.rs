//! A limit holds whichever way a job comes back to its queue.

use orchestrator::app::control::{decide, retry};
use orchestrator::app::lease::Session;
use orchestrator::app::maintain::promote;
use orchestrator::domain::approval::{Decision, Word};
use orchestrator::domain::attempt::{Ending, Fence};
use orchestrator::domain::id::JobId;
use serde_json::{Value, json};

use super::{Queue, claim, end, failed};
use crate::support::{ask, tell};

/// A queue in which one job runs at a time: under a key, or in the project.
struct One {
    queue: Queue,
    runner: Session,
    by_key: bool,
}

impl One {
    async fn new(by_key: bool) -> Self {
        let queue = Queue::new().await;
        if !by_key {
            tell(&queue.pool, "update project set max_running = 1").await;
        }
        Self {
            runner: queue.session(&[]).await,
            queue,
            by_key,
        }
    }

    /// A job with the limit.
    async fn submit(&self, mut fields: Value) -> JobId {
        if self.by_key {
            fields["concurrency"] = json!({ "key": "k", "limit": 1 });
        }
        self.queue.submit(fields).await
    }

    async fn claim(&self) -> Vec<Fence> {
        claim(&self.runner, 10).await
    }

    /// Takes the place, and holds it.
    async fn full(&self) -> Fence {
        let job = self.submit(json!({ "priority": 9 })).await;
        let claimed = self.claim().await;
        assert_eq!(claimed.iter().map(|fence| fence.job).collect::<Vec<_>>(), [job]);
        claimed[0]
    }

    /// Says that `job` waits for room, and has it once `holder` ends.
    async fn waits(self, job: JobId, holder: Fence) {
        let gate = if self.by_key { "key" } else { "project" };
        let stands = format!("select concat_ws(' ', state, gate) from job where id = '{job}'");
        assert_eq!(ask(&self.queue.pool, &stands).await, format!("scheduled {gate}"));
        assert!(self.claim().await.is_empty());
        end(&self.runner, holder, Ending::Succeeded).await;
        let claimed = self.claim().await;
        assert_eq!(claimed.iter().map(|fence| fence.job).collect::<Vec<_>>(), [job]);
    }
}

#[tokio::test]
async fn a_job_whose_need_succeeded_waits_for_room() {
    for by_key in [true, false] {
        let one = One::new(by_key).await;
        let need = one.queue.submit(json!({})).await;
        let job = one.submit(json!({ "needs": [need] })).await;
        let first = one.submit(json!({ "priority": 9 })).await;
        let mut claimed = one.claim().await;
        let at = claimed.iter().position(|fence| fence.job == need).unwrap();
        end(&one.runner, claimed.remove(at), Ending::Succeeded).await;
        // In a limited project the need had the place, and the first in line has it now.
        claimed.extend(one.claim().await);
        assert_eq!(claimed.iter().map(|fence| fence.job).collect::<Vec<_>>(), [first]);
        one.waits(job, claimed[0]).await;
    }
}

#[tokio::test]
async fn a_job_whose_need_succeeded_before_its_time_waits_for_both() {
    for by_key in [true, false] {
        let one = One::new(by_key).await;
        let need = one.queue.submit(json!({})).await;
        let job = one
            .submit(json!({ "needs": [need], "run_at": "2999-01-01T00:00:00Z" }))
            .await;
        let fence = one.claim().await[0];
        end(&one.runner, fence, Ending::Succeeded).await;
        let stands = format!("select concat_ws(' ', state, gate) from job where id = '{job}'");
        assert_eq!(ask(&one.queue.pool, &stands).await, "scheduled");
        let holder = one.full().await;
        tell(
            &one.queue.pool,
            "update job set run_at = now() where run_at > now()",
        )
        .await;
        promote(&one.queue.pool, &one.queue.hints, None).await.unwrap();
        one.waits(job, holder).await;
    }
}

#[tokio::test]
async fn a_job_that_is_retried_by_hand_waits_for_room() {
    for by_key in [true, false] {
        let one = One::new(by_key).await;
        let job = one.submit(json!({})).await;
        let fence = one.claim().await[0];
        end(&one.runner, fence, failed()).await;
        let holder = one.full().await;
        let Queue {
            pool,
            hints,
            operator,
            ..
        } = &one.queue;
        retry(pool, hints, operator, job).await.unwrap();
        one.waits(job, holder).await;
    }
}

#[tokio::test]
async fn a_job_that_was_approved_waits_for_room() {
    for by_key in [true, false] {
        let one = One::new(by_key).await;
        let job = one.submit(json!({})).await;
        let fence = one.claim().await[0];
        end(&one.runner, fence, Ending::Paused("Shall it go on?".to_owned())).await;
        let holder = one.full().await;
        let Queue {
            pool,
            hints,
            operator,
            ..
        } = &one.queue;
        let word = Word {
            decision: Decision::Approved,
            comment: None,
            prompt: None,
            attempt: None,
        };
        decide(pool, hints, operator, job, &word).await.unwrap();
        one.waits(job, holder).await;
    }
}
