//! Random operations on the queue, against a model of what it promises.

use std::collections::BTreeMap;
use std::time::Duration;

use orchestrator::app::control::{cancel, decide, pause_queue, retry};
use orchestrator::app::lease::Session;
use orchestrator::app::maintain::{expire, promote};
use orchestrator::domain::approval::{Decision, Word};
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
    Submit { priority: i16 },
    SubmitLater,
    Claim { runner: usize, limit: u32 },
    End { runner: usize, held: usize, how: How },
    Vanish { runner: usize },
    Tick,
    Due,
    Cancel { job: usize },
    Retry { job: usize },
    Decide { job: usize, approve: bool },
    PauseQueue { paused: bool },
}

#[derive(Clone, Copy, Debug)]
enum How {
    Succeeded,
    Failed,
    Retried,
    HandedBack,
    Asked,
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    let how = prop_oneof![
        Just(How::Succeeded),
        Just(How::Failed),
        Just(How::Retried),
        Just(How::HandedBack),
        Just(How::Asked)
    ];
    prop_oneof![
        4 => (-1..=1_i16).prop_map(|priority| Submit { priority }),
        1 => Just(SubmitLater),
        5 => (0..2usize, 1..4u32).prop_map(|(runner, limit)| Claim { runner, limit }),
        6 => (0..2usize, 0..8usize, how).prop_map(|(runner, held, how)| End { runner, held, how }),
        1 => (0..2usize).prop_map(|runner| Vanish { runner }),
        2 => Just(Tick),
        1 => Just(Due),
        2 => (0..12usize).prop_map(|job| Cancel { job }),
        2 => (0..12usize).prop_map(|job| Retry { job }),
        2 => (0..12usize, any::<bool>()).prop_map(|(job, approve)| Decide { job, approve }),
        1 => any::<bool>().prop_map(|paused| PauseQueue { paused }),
    ]
}

/// What the tables must say of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Job {
    state: &'static str,
    priority: i16,
    attempt: i32,
    losses: i16,
    cancel_asked: bool,
    /// Whether its time had come before it was begun.
    is_due: bool,
    ended_attempts: i32,
}

/// The tables, and what they must say.
struct Both {
    queue: Queue,
    runners: Vec<Session>,
    paused: bool,
    jobs: BTreeMap<JobId, Job>,
    /// Every claim that was ever answered: also the late ones try to end.
    fences: Vec<(usize, Fence, bool)>,
}

impl Both {
    async fn new() -> Self {
        let queue = Queue::new().await;
        let runners = vec![queue.session(&[]).await, queue.session(&[]).await];
        Self {
            queue,
            runners,
            paused: false,
            jobs: BTreeMap::new(),
            fences: Vec::new(),
        }
    }

    fn held_by(&self, runner: usize) -> Vec<JobId> {
        let held = self
            .fences
            .iter()
            .filter(|(whose, _, live)| *whose == runner && *live);
        held.map(|(_, fence, _)| fence.job).collect()
    }

    fn nth(&self, job: usize) -> Option<JobId> {
        self.jobs.keys().nth(job).copied()
    }

    async fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Submit { priority } => self.submit("available", priority, json!({})).await,
            Operation::SubmitLater => {
                self.submit("scheduled", 0, json!({ "run_at": "2999-01-01T00:00:00Z" }))
                    .await;
            }
            Operation::Claim { runner, limit } => self.claim(runner, limit).await,
            Operation::End { runner, held, how } => self.end(runner, held, how).await,
            Operation::Vanish { runner } => self.vanish(runner).await,
            Operation::Tick => drop(promote(&self.queue.pool, &self.queue.hints, None).await.unwrap()),
            Operation::Due => self.due().await,
            Operation::Cancel { job } => self.cancel(job).await,
            Operation::Retry { job } => self.retry(job).await,
            Operation::Decide { job, approve } => self.decide(job, approve).await,
            Operation::PauseQueue { paused } => self.pause_queue(paused).await,
        }
    }

    async fn submit(&mut self, state: &'static str, priority: i16, mut fields: serde_json::Value) {
        fields["priority"] = json!(priority);
        let job = self.queue.submit(fields).await;
        let new = Job {
            state,
            priority,
            attempt: 0,
            losses: 0,
            cancel_asked: false,
            is_due: state == "available",
            ended_attempts: 0,
        };
        self.jobs.insert(job, new);
    }

    async fn claim(&mut self, runner: usize, limit: u32) {
        let due = self
            .jobs
            .values()
            .filter(|job| job.state == "available" && !self.paused);
        let due = due.count();
        let claimed = claim(&self.runners[runner], limit).await;
        assert_eq!(
            claimed.len(),
            due.min(limit as usize),
            "as many as are due, and no more than asked for"
        );
        let least_urgent = claimed.iter().map(|fence| self.jobs[&fence.job].priority).min();
        for fence in claimed {
            let job = self.jobs.get_mut(&fence.job).unwrap();
            assert_eq!((job.state, job.attempt + 1), ("available", fence.attempt));
            (job.state, job.attempt) = ("running", fence.attempt);
            self.fences.push((runner, fence, true));
        }
        let waiting = self.jobs.values().filter(|job| job.state == "available");
        let most_urgent = waiting.map(|job| job.priority).max();
        assert!(
            least_urgent.is_none() || most_urgent <= least_urgent,
            "nothing that waits is more urgent than what was claimed"
        );
    }

    /// Ends any claim there ever was, live or not.
    async fn end(&mut self, runner: usize, which: usize, how: How) {
        if self.fences.is_empty() {
            return;
        }
        let place = which % self.fences.len();
        let (whose, fence, live) = self.fences[place];
        let ending = match how {
            How::Succeeded => Ending::Succeeded,
            How::Failed => failed(),
            How::Retried => Ending::Retried(
                Failure::new(Code::ExitNonzero, "again"),
                Duration::from_secs(3600),
            ),
            How::HandedBack => Ending::HandedBack,
            How::Asked => Ending::Paused("Shall it go on?".to_owned()),
        };
        let settled = end(&self.runners[runner], fence, ending).await;
        assert_eq!(
            settled,
            live && whose == runner,
            "only the session that holds the attempt ends it, once"
        );
        if settled {
            self.fences[place].2 = false;
            let job = self.jobs.get_mut(&fence.job).unwrap();
            job.ended_attempts += 1;
            job.state = match (how, job.cancel_asked) {
                (How::Succeeded, _) => "succeeded",
                (How::Failed, _) => "failed",
                (How::Retried | How::HandedBack | How::Asked, true) => "cancelled",
                (How::Asked, false) => "awaiting_approval",
                (How::Retried, false) => "scheduled",
                (How::HandedBack, false) => "available",
            };
        }
    }

    async fn vanish(&mut self, runner: usize) {
        self.runners[runner].close().await.unwrap();
        expire(&self.queue.pool, &self.queue.hints, None).await.unwrap();
        for id in self.held_by(runner) {
            let job = self.jobs.get_mut(&id).unwrap();
            job.losses += 1;
            job.ended_attempts += 1;
            job.state = match (job.cancel_asked, job.losses >= 3) {
                (true, _) => "cancelled",
                (false, true) => "failed",
                (false, false) => "available",
            };
        }
        self.fences
            .iter_mut()
            .filter(|(whose, ..)| *whose == runner)
            .for_each(|(.., live)| *live = false);
        self.runners[runner] = self.queue.session(&[]).await;
    }

    async fn due(&mut self) {
        tell(
            &self.queue.pool,
            "update job set run_at = now() where state = 'scheduled'",
        )
        .await;
        promote(&self.queue.pool, &self.queue.hints, None).await.unwrap();
        self.jobs
            .values_mut()
            .filter(|job| job.state == "scheduled")
            .for_each(|job| (job.state, job.is_due) = ("available", true));
    }

    async fn cancel(&mut self, job: usize) {
        let Some(id) = self.nth(job) else { return };
        let done = cancel(&self.queue.pool, &self.queue.hints, &self.queue.operator, id).await;
        let job = self.jobs.get_mut(&id).unwrap();
        assert_eq!(done.is_ok(), !matches!(job.state, "succeeded" | "failed"));
        match job.state {
            "running" => job.cancel_asked = true,
            "available" | "scheduled" | "awaiting_approval" => {
                (job.state, job.cancel_asked) = ("cancelled", true);
            }
            _ => {}
        }
    }

    async fn retry(&mut self, job: usize) {
        let Some(id) = self.nth(job) else { return };
        let done = retry(&self.queue.pool, &self.queue.hints, &self.queue.operator, id).await;
        let job = self.jobs.get_mut(&id).unwrap();
        assert_eq!(done.is_ok(), matches!(job.state, "cancelled" | "failed"));
        if done.is_ok() {
            let is_due = job.is_due || job.attempt > 0;
            job.state = if is_due { "available" } else { "scheduled" };
            (job.losses, job.cancel_asked) = (0, false);
        }
    }

    async fn decide(&mut self, job: usize, approve: bool) {
        let Some(id) = self.nth(job) else { return };
        let word = Word {
            decision: if approve {
                Decision::Approved
            } else {
                Decision::Rejected
            },
            comment: None,
            prompt: None,
            attempt: None,
        };
        let before = self.jobs[&id].clone();
        let done = decide(
            &self.queue.pool,
            &self.queue.hints,
            &self.queue.operator,
            id,
            &word,
        )
        .await;
        let job = self.jobs.get_mut(&id).unwrap();
        if before.state == "awaiting_approval" {
            done.unwrap();
            job.state = if approve { "available" } else { "failed" };
        }
    }

    async fn pause_queue(&mut self, paused: bool) {
        let Queue {
            pool,
            hints,
            operator,
            ..
        } = &self.queue;
        let changed = pause_queue(pool, hints, operator, "default", paused)
            .await
            .unwrap();
        assert_eq!(changed, paused != self.paused);
        self.paused = paused;
    }

    async fn compare(&self) {
        for (id, job) in &self.jobs {
            let question = format!(
                "select concat_ws(' ', state, attempt, losses, cancel_asked_at is not null,
                                  (select count(*) from attempt where job_id = job.id)) from job where id = '{id}'"
            );
            let Job {
                state,
                priority: _,
                attempt,
                losses,
                cancel_asked,
                is_due: _,
                ended_attempts,
            } = job;
            let asked = if *cancel_asked { "t" } else { "f" };
            let expected = format!("{state} {attempt} {losses} {asked} {ended_attempts}");
            assert_eq!(ask(&self.queue.pool, &question).await, expected, "job {id}");
        }
        let gaps = "select count(*) from (select job_id from attempt group by job_id having max(number) <> count(*)) as gaps";
        assert_eq!(ask(&self.queue.pool, gaps).await, "0", "attempts are contiguous");
    }
}

#[test]
fn random_operations_leave_the_tables_as_the_model_says() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    // The run's server is made before, or the first case would be charged with it.
    drop(runtime.block_on(database()));
    let config = Config {
        cases: 24,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    };
    let operations = proptest::collection::vec(operation(), 1..60);
    TestRunner::new(config)
        .run(&operations, |operations| {
            runtime.block_on(async {
                let mut both = Both::new().await;
                for operation in operations {
                    both.apply(operation).await;
                }
                both.compare().await;
            });
            Ok(())
        })
        .unwrap();
}
