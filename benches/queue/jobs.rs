//! Jobs to measure with.

use orchestrator::app::authenticate::Caller;
use orchestrator::app::hint::Hints;
use orchestrator::app::submit::{MOST, submit_all};
use orchestrator::domain::spec::JobSpec;
use orchestrator::store::Pool;
use serde_json::{Value, json};

use super::support::{ask, tell};

/// Puts `number` jobs of one step in, through the use case, without a hint to anybody.
pub(super) async fn put(pool: &Pool, number: usize, step: &Value) {
    let spec = json!({ "goal": "measure", "project_id": "bench", "steps": [step] });
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

/// Waits until no job is due or runs.
pub(super) async fn all_done(pool: &Pool) {
    let open = "exists (select from job where state = 'running') or exists (select from job where state = 'available')";
    while ask(pool, open).await == "true" {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}
