//! What becomes of an end whose answer is lost, or that the database does not take.

use orchestrator::domain::attempt::{Ending, Fence};
use orchestrator::store::listen::{self, Listener};
use orchestrator::store::settle::{Settlement, settle};
use serde_json::json;

use super::{Queue, claim, end};
use crate::support::{ask, tell};

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
