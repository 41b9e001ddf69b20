//! What becomes of an end whose answer is lost, or that the database does not take.

use orchestrator::app::follow::sweep;
use orchestrator::app::maintain::expire;
use orchestrator::app::submit::{submit_with_others, together};
use orchestrator::domain::attempt::{Ending, Fence};
use orchestrator::store::listen::{self, Listener};
use orchestrator::store::look::look;
use orchestrator::store::settle::{Settlement, settle};
use serde_json::json;

use super::{Queue, claim, end, spec};
use crate::support::{ask, tell, until};

fn succeeded(fence: Fence) -> Settlement {
    Settlement {
        fence,
        ending: Ending::Succeeded,
        step: None,
    }
}

#[tokio::test]
async fn end_whose_answer_was_lost_is_no_lost_lease_and_what_follows_follows() {
    let queue = Queue::new().await;
    let need = queue.submit(json!({})).await;
    let job = queue.submit(json!({ "needs": [need] })).await;
    let runner = queue.session(&[]).await;
    let batch = [succeeded(claim(&runner, 1).await[0])];
    // Carried out, and nobody heard of it.
    settle(&queue.pool, runner.id, &batch).await.unwrap();
    assert_eq!(runner.settle(&batch).await.unwrap(), []);
    assert_eq!(runner.settle_again(&batch).await.unwrap(), [need]);
    runner.followed().await;
    assert_eq!(queue.state(job).await, "available");
    // Another's is not taken for one's own.
    let other = queue.session(&[]).await;
    assert_eq!(other.settle_again(&batch).await.unwrap(), []);
    let ends = "select count(*) from attempt";
    assert_eq!(ask(&queue.pool, ends).await, "1");
}

#[tokio::test]
async fn database_that_may_only_be_read_is_one_to_wait_for() {
    let queue = Queue::new().await;
    queue.submit(json!({})).await;
    let runner = queue.session(&[]).await;
    let batch = [succeeded(claim(&runner, 1).await[0])];
    let mut reader = queue.pool.acquire().await.unwrap();
    sqlx::raw_sql("set default_transaction_read_only = on")
        .execute(&mut *reader)
        .await
        .unwrap();
    let refused = settle(&mut *reader, runner.id, &batch).await.unwrap_err();
    assert!(refused.is_unavailable(), "{refused}");
}

#[tokio::test]
async fn runners_hear_of_a_job_that_is_handed_back() {
    let queue = Queue::new().await;
    queue.submit(json!({})).await;
    let runner = queue.session(&[]).await;
    let fence = claim(&runner, 1).await[0];
    queue.hints.tell(&queue.pool).await;
    let mut ears = Listener::on(&queue.database.url, &[listen::WORK, "end"])
        .await
        .unwrap();
    end(&runner, fence, Ending::HandedBack).await;
    queue.hints.tell(&queue.pool).await;
    tell(&queue.pool, "notify \"end\"").await;
    let heard = ears.next().await.unwrap().unwrap();
    assert_eq!(
        (heard.channel.as_str(), heard.payload.as_str()),
        (listen::WORK, "default")
    );
}

#[tokio::test]
async fn one_row_that_should_not_be_holds_up_nobody_elses_recovery() {
    let queue = Queue::new().await;
    let (gone, stray, other) = (
        queue.submit(json!({})).await,
        queue.submit(json!({})).await,
        queue.submit(json!({})).await,
    );
    let (lost, late) = (queue.session(&[]).await, queue.session(&[]).await);
    assert_eq!(claim(&lost, 1).await[0].job, gone);
    assert_eq!(claim(&late, 2).await.len(), 2);
    // What only somebody with a console can have done.
    let sql = format!(
        "delete from runner where id = '{}'; update runner set lease_expires_at = now();
         insert into attempt (job_id, number, runner_id, due_at, started_at, ended_at, outcome)
         select id, attempt, runner_id, run_at, claimed_at, now(), 'succeeded' from job where id = '{}'",
        lost.id.0, stray.0
    );
    tell(&queue.pool, &sql).await;
    assert!(look(&queue.pool, None).await.unwrap().lost);
    assert_eq!(expire(&queue.pool, &queue.hints, None).await.unwrap().len(), 3);
    for job in [gone, stray, other] {
        assert_eq!(queue.state(job).await, "available");
    }
}

#[tokio::test]
async fn a_gate_that_somebody_holds_does_not_keep_others_shut() {
    let queue = Queue::new().await;
    let keyed = |key: &str| json!({ "concurrency": { "key": key, "limit": 1 } });
    let runner = queue.session(&[]).await;
    let mut waiting = Vec::new();
    for key in ["a", "b"] {
        queue.submit(keyed(key)).await;
        waiting.push(queue.submit(keyed(key)).await);
    }
    let ended: Vec<_> = claim(&runner, 2).await.into_iter().map(succeeded).collect();
    // Nobody follows up.
    settle(&queue.pool, runner.id, &ended).await.unwrap();
    let mut holder = queue.pool.acquire().await.unwrap();
    let hold = "begin; select pg_advisory_xact_lock(hashtextextended(id || '/a', 7)) from project";
    sqlx::raw_sql(hold).execute(&mut *holder).await.unwrap();
    let error = sweep(&queue.pool, &queue.hints).await.unwrap_err();
    assert!(!error.is_away(), "{error}");
    assert_eq!(queue.state(waiting[0]).await, "scheduled");
    assert_eq!(queue.state(waiting[1]).await, "available");
    sqlx::raw_sql("rollback").execute(&mut *holder).await.unwrap();
    sweep(&queue.pool, &queue.hints).await.unwrap();
    assert_eq!(queue.state(waiting[0]).await, "available");
}

/// Whether somebody waits for a gate.
async fn waited_for(queue: &Queue) -> bool {
    let waits = "select exists (select from pg_locks where locktype = 'advisory' and not granted)";
    ask(&queue.pool, waits).await == "true"
}

#[tokio::test]
async fn whoever_ends_jobs_or_puts_some_in_does_not_wait_for_a_gate_that_somebody_holds() {
    let queue = Queue::new().await;
    let keyed = json!({ "concurrency": { "key": "a", "limit": 100 } });
    for _ in 0..100 {
        queue.submit(keyed.clone()).await;
    }
    let runner = queue.session(&[]).await;
    let mut claimed = claim(&runner, 100).await;
    let mut holder = queue.pool.acquire().await.unwrap();
    let hold = "begin; select pg_advisory_xact_lock(hashtextextended(id || '/a', 7)) from project";
    sqlx::raw_sql(hold).execute(&mut *holder).await.unwrap();
    // It is waited for, and no longer than a moment: seen after the answer, it was not waited for before it.
    until(async || {
        let one = succeeded(claimed.pop()?);
        assert_eq!(
            runner.settle(std::slice::from_ref(&one)).await.unwrap(),
            [one.fence.job]
        );
        waited_for(&queue).await.then_some(())
    })
    .await;
    until(async || (!waited_for(&queue).await).then_some(())).await;
    let together = together(&queue.pool, &queue.hints);
    until(async || {
        let Queue {
            pool,
            hints,
            operator,
            ..
        } = &queue;
        let accepted = submit_with_others(pool, hints, &together, operator, spec(&keyed)).await;
        assert!(!accepted.unwrap().repeated);
        waited_for(&queue).await.then_some(())
    })
    .await;
    sqlx::raw_sql("rollback").execute(&mut *holder).await.unwrap();
}

#[tokio::test]
async fn lease_is_renewed_while_others_hold_every_connection() {
    let queue = Queue::new().await;
    let few = queue.pool.apart();
    let queue = Queue {
        pool: few.clone(),
        ..queue
    };
    let runner = queue.session(&[]).await;
    let held = few.acquire().await.unwrap();
    assert!(runner.renew().await.unwrap().is_some());
    drop(held);
}
