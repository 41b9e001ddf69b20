//! Jobs to measure with.

use std::time::{Duration, Instant};

use orchestrator::app::authenticate::Caller;
use orchestrator::app::hint::Hints;
use orchestrator::app::submit::{MOST, submit_all};
use orchestrator::domain::spec::JobSpec;
use orchestrator::store::Pool;
use serde_json::{Value, json};

use super::support::{ask, tell};

/// Longest that anything is waited for: what does not come is to be an error, and not to be waited for for ever.
pub(super) const LONGEST: Duration = Duration::from_secs(300);

/// Puts `number` jobs of one step in, through the use case, without a hint to anybody.
pub(super) async fn put(pool: &Pool, number: usize, step: &Value) {
    put_in(pool, "default", number, step).await;
}

/// The same into a queue.
pub(super) async fn put_in(pool: &Pool, queue: &str, number: usize, step: &Value) {
    let spec = json!({ "goal": "measure", "project_id": "bench", "queue": queue, "steps": [step] });
    let spec = JobSpec::read(spec.to_string().as_bytes()).unwrap();
    let caller = Caller::operator("bench");
    let mut left = number;
    while left > 0 {
        let specs = vec![spec.clone(); left.min(MOST)];
        submit_all(pool, &Hints::default(), &caller, &specs, |_| String::new())
            .await
            .unwrap();
        left -= specs.len();
    }
}

/// A step that does nothing.
pub(super) fn noop() -> Value {
    json!({ "step_id": "a", "agent": "noop" })
}

/// Keeps runners from claiming.
pub(super) async fn hold(pool: &Pool) {
    tell(
        pool,
        "insert into queue values ('default', now()) on conflict (name) do update set paused_at = now()",
    )
    .await;
}

/// Lets runners claim, and tells them.
pub(super) async fn release(pool: &Pool) {
    tell(
        pool,
        "update queue set paused_at = null; select pg_notify('orchestrator_work', 'default')",
    )
    .await;
}

/// A step that runs a program.
pub(super) fn program(argv: &[&str]) -> Value {
    json!({ "step_id": "a", "argv": argv, "max_retries": 0, "idle_timeout_sec": 0 })
}

/// How many events there were.
pub(super) async fn events(pool: &Pool) -> u64 {
    ask(pool, "select last_value from event_id_seq")
        .await
        .parse()
        .unwrap()
}

/// Waits until `number` jobs that were put in before have been claimed and have ended, since there were `before` events.
///
/// A job makes an event when it is claimed and one when it ends, and one runner ends jobs in one statement after the other: the
/// last event can be seen when all is committed. To look for it costs nothing, whatever the tables hold.
pub(super) async fn ended(pool: &Pool, number: usize, before: u64) {
    let (last, began) = (before + 2 * number as u64, Instant::now());
    while ask(pool, &format!("exists (select from event where id = {last})")).await != "true" {
        assert!(began.elapsed() < LONGEST, "{number} jobs do not end");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Says that they ended well: a job that cannot run ends, too, and sooner.
pub(super) async fn succeeded(pool: &Pool, number: usize, before: u64) {
    let succeeded = format!("(select count(*) from event where id > {before} and kind = 'job.succeeded')");
    assert_eq!(ask(pool, &succeeded).await, number.to_string());
}
