//! Random operations on jobs that have limits, needs and unique keys: what must hold after each of them.

use std::time::Duration;

use orchestrator::app::control::{self, cancel, retry};
use orchestrator::app::lease::Session;
use orchestrator::app::maintain::{expire, promote};
use orchestrator::domain::attempt::{Ending, Failure, Fence};
use orchestrator::domain::id::JobId;
use orchestrator::domain::job::Code;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;

use super::{Queue, claim, end, failed};
use crate::support::{ask, database, tell};

#[derive(Clone, Copy, Debug)]
enum Operation {
    Submit {
        key: Option<u8>,
        unique: bool,
        need: Option<usize>,
        priority: i16,
    },
    Claim {
        limit: u32,
    },
    End {
        which: usize,
        how: u8,
    },
    Vanish,
    Due,
    Cancel {
        job: usize,
    },
    Retry {
        job: usize,
    },
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    let keys = prop::option::weighted(0.6, 0..2u8);
    let needs = prop::option::weighted(0.4, 0..12usize);
    let submit = (keys, prop::bool::weighted(0.2), needs, -1..=1_i16);
    prop_oneof![
        6 => submit.prop_map(|(key, unique, need, priority)| Submit { key, unique, need, priority }),
        4 => (1..4u32).prop_map(|limit| Claim { limit }),
        6 => (0..8usize, 0..4u8).prop_map(|(which, how)| End { which, how }),
        1 => Just(Vanish),
        1 => Just(Due),
        2 => (0..16usize).prop_map(|job| Cancel { job }),
        2 => (0..16usize).prop_map(|job| Retry { job }),
    ]
}

/// Each counts what must not be.
const INVARIANTS: [(&str, &str); 9] = [
    (
        "a key with more jobs than its limit",
        "select count(*) from (select from job where concurrency_key is not null and (state in ('available', 'running') or gate = 'project')
           group by project_id, concurrency_key having count(*) > 2) as over",
    ),
    (
        "a project with more jobs than its limit",
        "select greatest(count(*) - 3, 0) from job where state in ('available', 'running')",
    ),
    (
        "a job that waits at its key's gate though there is room",
        "select count(*) from job as waiting where gate = 'key' and 2 > (select count(*) from job
           where concurrency_key = waiting.concurrency_key and (state in ('available', 'running') or gate = 'project'))",
    ),
    (
        "a job that waits at the project's gate though there is room",
        "select count(*) from job where gate = 'project' and 3 > (select count(*) from job where state in ('available', 'running'))",
    ),
    (
        "a job that is blocked though all it needs has ended, or is not though something has not",
        "select count(*) from job where finished_at is null and (state = 'blocked') <> exists (
           select from job_need join job as need on need.id = needs_id where job_need.job_id = job.id and need.state <> 'succeeded')",
    ),
    (
        "a job that runs or succeeded without what it needs",
        "select count(*) from job join job_need on job_id = job.id join job as need on need.id = needs_id
          where job.state in ('available', 'running', 'succeeded') and need.state <> 'succeeded'",
    ),
    (
        "a unique key that two hold",
        "select count(*) from (select from job where unique_key is not null and finished_at is null group by unique_key having count(*) > 1) as twice",
    ),
    (
        "an attempt without its beginning in the log, or a beginning without an attempt",
        "select count(*) from job where attempt <> (select count(*) from event where job_id = job.id and kind = 'job.running')",
    ),
    (
        "an ended job whose end is not the last thing in the log",
        "select count(*) from job where finished_at is not null and 'job.' || state <> (
           select kind from event where job_id = job.id and kind <> 'job.cancel_asked' order by id desc limit 1)",
    ),
];

struct Ground {
    queue: Queue,
    runner: Session,
    jobs: Vec<JobId>,
    held: Vec<Fence>,
}

impl Ground {
    async fn new() -> Self {
        let queue = Queue::new().await;
        tell(&queue.pool, "update project set max_running = 3").await;
        Self {
            runner: queue.session(&[]).await,
            queue,
            jobs: Vec::new(),
            held: Vec::new(),
        }
    }

    async fn apply(&mut self, operation: Operation) {
        let Queue {
            pool,
            hints,
            operator,
            ..
        } = &self.queue;
        match operation {
            Operation::Submit {
                key,
                unique,
                need,
                priority,
            } => {
                let mut fields = json!({ "priority": priority });
                if let Some(key) = key {
                    fields["concurrency"] = json!({ "key": format!("k{key}"), "limit": 2 });
                }
                if unique {
                    fields["unique_key"] = json!("u");
                }
                if let Some(need) = need.and_then(|need| self.jobs.get(need)) {
                    fields["needs"] = json!([need]);
                }
                // One may need what has failed, which ends it, or be unique as another is, which it is answered with.
                let accepted = self.queue.submit_all(&[fields]).await.unwrap()[0];
                if !accepted.repeated {
                    self.jobs.push(accepted.job);
                }
            }
            Operation::Claim { limit } => self.held.extend(claim(&self.runner, limit).await),
            Operation::End { which, how } => {
                if self.held.is_empty() {
                    return;
                }
                let fence = self.held.remove(which % self.held.len());
                let ending = match how {
                    0 => failed(),
                    1 => Ending::HandedBack,
                    2 => Ending::Retried(
                        Failure::new(Code::ExitNonzero, "again"),
                        Duration::from_secs(3600),
                    ),
                    _ => Ending::Succeeded,
                };
                assert!(end(&self.runner, fence, ending).await);
            }
            Operation::Vanish => {
                self.runner.close().await.unwrap();
                expire(pool, hints, None).await.unwrap();
                self.held.clear();
                self.runner = self.queue.session(&[]).await;
            }
            Operation::Due => {
                tell(pool, "update job set run_at = now() where state = 'scheduled'").await;
                promote(pool, hints, None).await.unwrap();
            }
            Operation::Cancel { job } => {
                if let Some(job) = self.jobs.get(job) {
                    let cancelled = cancel(pool, hints, operator, *job).await;
                    assert!(
                        matches!(cancelled, Ok(_) | Err(control::Error::State { .. })),
                        "{cancelled:?}"
                    );
                }
            }
            Operation::Retry { job } => {
                if let Some(job) = self.jobs.get(job) {
                    let retried = retry(pool, hints, operator, *job).await;
                    let refused = matches!(
                        retried,
                        Err(control::Error::State { .. }
                            | control::Error::Need { .. }
                            | control::Error::UniqueKey { .. })
                    );
                    assert!(retried.is_ok() || refused, "{retried:?}");
                }
            }
        }
    }

    async fn check(&self, after: Operation) {
        for (what, question) in INVARIANTS {
            let found = ask(&self.queue.pool, question).await;
            assert_eq!(found, "0", "after {after:?}: {what}");
        }
    }
}

#[test]
fn limits_needs_and_unique_keys_hold_after_each_of_random_operations() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    // The run's server is made before, or the first case would be charged with it.
    drop(runtime.block_on(database()));
    let config = Config {
        cases: 16,
        failure_persistence: None,
        max_shrink_iters: 100,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&proptest::collection::vec(operation(), 1..50), |operations| {
            runtime.block_on(async {
                let mut ground = Ground::new().await;
                for operation in operations {
                    ground.apply(operation).await;
                    ground.check(operation).await;
                }
            });
            Ok(())
        })
        .unwrap();
}
