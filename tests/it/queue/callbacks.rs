//! However a job ends, its callback is in the outbox with it.

use orchestrator::app::control::{cancel, retry};
use orchestrator::app::maintain::expire;
use orchestrator::domain::attempt::{Ending, Failure};
use orchestrator::domain::id::JobId;
use orchestrator::domain::job::Code;
use serde_json::{Value, json};

use super::{Queue, claim, end, failed};
use crate::support::{ask, tell, until};

/// The database's time, down to the millisecond that an id bears.
const MILLISECOND: &str = "select trunc(extract(epoch from clock_timestamp()) * 1000)::bigint";

const URL: &str = "https://Example.com:8443/done?key=1";

async fn told(queue: &Queue, job: JobId) -> String {
    let question = format!(
        "select string_agg(state || ' ' || (body::json ->> 'type'), ', ' order by id) from delivery where job_id = '{job}'"
    );
    ask(&queue.pool, &question).await
}

#[tokio::test]
async fn every_way_a_job_ends_writes_one_callback_in_the_same_statement() {
    let queue = Queue::new().await;
    let runner = queue.session(&[]).await;
    let cancelled = Ending::Cancelled(Failure::new(Code::Cancelled, "It was asked to stop."));
    for (ending, kind) in [
        (Ending::Succeeded, "succeeded"),
        (failed(), "failed"),
        (cancelled, "cancelled"),
    ] {
        let job = queue.submit(json!({ "callback_url": URL })).await;
        let fence = claim(&runner, 1).await[0];
        assert_eq!(told(&queue, job).await, "null");
        assert!(end(&runner, fence, ending).await);
        assert_eq!(told(&queue, job).await, format!("pending job.{kind}"));
    }

    let queued = queue.submit(json!({ "callback_url": URL })).await;
    cancel(&queue.pool, &queue.hints, &queue.operator, queued)
        .await
        .unwrap();
    assert_eq!(told(&queue, queued).await, "pending job.cancelled");

    let needed = queue.submit(json!({ "run_at": "2999-01-01T00:00:00Z" })).await;
    let blocked = queue
        .submit(json!({ "callback_url": URL, "needs": [needed.to_string()] }))
        .await;
    cancel(&queue.pool, &queue.hints, &queue.operator, needed)
        .await
        .unwrap();
    assert_eq!(queue.state(blocked).await, "cancelled needs_failed");
    assert_eq!(told(&queue, blocked).await, "pending job.cancelled");

    let lost = queue
        .submit(json!({ "callback_url": URL, "max_attempts": 1 }))
        .await;
    claim(&runner, 1).await;
    runner.close().await.unwrap();
    expire(&queue.pool, &queue.hints, None).await.unwrap();
    assert_eq!(queue.state(lost).await, "failed lost");
    assert_eq!(told(&queue, lost).await, "pending job.failed");
}

#[tokio::test]
async fn retried_job_tells_each_of_its_ends_and_one_that_goes_on_tells_nothing() {
    let queue = Queue::new().await;
    let runner = queue.session(&[]).await;
    let job = queue.submit(json!({ "callback_url": URL })).await;
    let fence = claim(&runner, 1).await[0];
    end(&runner, fence, Ending::HandedBack).await;
    assert_eq!(told(&queue, job).await, "null");
    let fence = claim(&runner, 1).await[0];
    end(&runner, fence, failed()).await;
    // A late writer ends nothing, so it tells nothing.
    assert!(!end(&runner, fence, Ending::Succeeded).await);
    retry(&queue.pool, &queue.hints, &queue.operator, job)
        .await
        .unwrap();
    let fence = claim(&runner, 1).await[0];
    end(&runner, fence, Ending::Succeeded).await;
    assert_eq!(
        told(&queue, job).await,
        "pending job.failed, pending job.succeeded"
    );
}

#[tokio::test]
async fn job_without_a_callback_writes_none_also_when_a_batch_mixes_them() {
    let queue = Queue::new().await;
    let fields: Vec<Value> = (0..20)
        .map(|number| match number % 2 {
            0 => json!({}),
            _ => json!({ "callback_url": URL }),
        })
        .collect();
    queue.submit_all(&fields).await.unwrap();
    let runner = queue.session(&[]).await;
    let settlements: Vec<_> = claim(&runner, 20)
        .await
        .into_iter()
        .map(|fence| orchestrator::store::settle::Settlement {
            fence,
            ending: Ending::Succeeded,
            step: None,
        })
        .collect();
    assert_eq!(runner.settle(&settlements).await.unwrap().len(), 20);
    assert_eq!(
        ask(
            &queue.pool,
            "select count(*) || ' ' || count(distinct job_id) from delivery"
        )
        .await,
        "10 10"
    );
    let whole = "select bool_and(authority = 'example.com:8443' and url = 'https://Example.com:8443/done?key=1') from delivery";
    assert_eq!(ask(&queue.pool, whole).await, "true");
}

#[tokio::test]
async fn end_that_is_rolled_back_takes_its_callback_with_it() {
    let queue = Queue::new().await;
    let job = queue.submit(json!({ "callback_url": URL })).await;
    let end = format!(
        "begin; update job set state = 'cancelled', code = 'cancelled', finished_at = now() where id = '{job}'; rollback"
    );
    tell(&queue.pool, &end).await;
    assert_eq!(told(&queue, job).await, "null");
}

#[tokio::test]
async fn body_tells_the_outcome_in_stable_fields() {
    let queue = Queue::new().await;
    let job = queue
        .submit(json!({
            "callback_url": URL, "goal": "Build \"it\"", "idempotency_key": "build-1", "tags": ["a"],
            "metadata": {"ref": {"n": 1}},
        }))
        .await;
    let runner = queue.session(&[]).await;
    let fence = claim(&runner, 1).await[0];
    end(&runner, fence, failed()).await;
    let body = ask(&queue.pool, "select body from delivery").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    let data = &body["data"];
    assert_eq!(body["type"], "job.failed");
    assert_eq!(body["timestamp"], data["finished_at"]);
    assert_eq!(data["job_id"], job.to_string());
    for (field, expected) in [
        ("project_id", json!("demo")),
        ("state", json!("failed")),
        ("code", json!("exit_nonzero")),
        ("message", json!("It failed.")),
        ("goal", json!("Build \"it\"")),
        ("idempotency_key", json!("build-1")),
        ("tags", json!(["a"])),
        ("metadata", json!({"ref": {"n": 1}})),
        ("attempt", json!(1)),
    ] {
        assert_eq!(data[field], expected, "{field}");
    }
    for field in ["created_at", "started_at", "finished_at"] {
        let time = data[field].as_str().unwrap();
        assert!(
            time.ends_with('Z') && time.parse::<chrono::DateTime<chrono::Utc>>().is_ok(),
            "{time}"
        );
    }

    // What would swell every try of the callback stays with the job.
    let large = json!({ "callback_url": URL, "metadata": {"x": "y".repeat(20_000)} });
    let job = queue.submit(large).await;
    cancel(&queue.pool, &queue.hints, &queue.operator, job)
        .await
        .unwrap();
    let question = format!("select body::json -> 'data' ->> 'metadata' from delivery where job_id = '{job}'");
    assert_eq!(ask(&queue.pool, &question).await, "null");
}

#[tokio::test]
async fn ids_that_the_database_makes_are_in_the_order_of_creation() {
    let queue = Queue::new().await;
    let mut last = String::new();
    for _ in 0..3 {
        let id = ask(&queue.pool, "select new_id()").await;
        let uuid: uuid::Uuid = id.parse().unwrap();
        assert_eq!(uuid.get_version_num(), 7);
        assert!(id > last, "{id} {last}");
        let (seconds, nanoseconds) = uuid.get_timestamp().unwrap().to_unix();
        let made = i64::try_from(seconds).unwrap() * 1000 + i64::from(nanoseconds / 1_000_000);
        let now = orchestrator::domain::clock::now().timestamp_millis();
        assert!(now.abs_diff(made) < 600_000, "{now} {made}");
        last = id;
        // Two of one millisecond may come in any order: the id's own, which its maker rounds.
        until(async || (ask(&queue.pool, MILLISECOND).await.parse::<i64>().unwrap() > made).then_some(()))
            .await;
    }
}
