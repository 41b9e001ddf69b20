//! Random operations on the queue, against a model of what it promises.

use std::collections::BTreeMap;
use std::time::Duration;

use orchestrator::app::control::{cancel, retry};
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
    Submit,
    SubmitLater,
    Claim { runner: usize, limit: u32 },
    End { runner: usize, held: usize, how: How },
    Vanish { runner: usize },
    Tick,
    Due,
    Cancel { job: usize },
    Retry { job: usize },
}

#[derive(Clone, Copy, Debug)]
enum How {
    Succeeded,
    Failed,
    Retried,
    HandedBack,
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    let how = prop_oneof![
        Just(How::Succeeded),
        Just(How::Failed),
        Just(How::Retried),
        Just(How::HandedBack)
    ];
    prop_oneof![
        4 => Just(Submit),
        1 => Just(SubmitLater),
        5 => (0..2usize, 1..4u32).prop_map(|(runner, limit)| Claim { runner, limit }),
        6 => (0..2usize, 0..8usize, how).prop_map(|(runner, held, how)| End { runner, held, how }),
        1 => (0..2usize).prop_map(|runner| Vanish { runner }),
        2 => Just(Tick),
        1 => Just(Due),
        2 => (0..12usize).prop_map(|job| Cancel { job }),
        2 => (0..12usize).prop_map(|job| Retry { job }),
    ]
}

/// What the tables must say of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Job {
    state: &'static str,
    attempt: i32,
    losses: i16,
    cancel_asked: bool,
    ended_attempts: i32,
}

/// The tables, and what they must say.
struct Both {
    queue: Queue,
    runners: Vec<Session>,
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
            Operation::Submit => self.submit("available", json!({})).await,
            Operation::SubmitLater => {
                self.submit("scheduled", json!({ "run_at": "2999-01-01T00:00:00Z" }))
                    .await;
            }
            Operation::Claim { runner, limit } => self.claim(runner, limit).await,
            Operation::End { runner, held, how } => self.end(runner, held, how).await,
            Operation::Vanish { runner } => self.vanish(runner).await,
            Operation::Tick => drop(promote(&self.queue.pool, &self.queue.hints, None).await.unwrap()),
            Operation::Due => self.due().await,
            Operation::Cancel { job } => self.cancel(job).await,
            Operation::Retry { job } => self.retry(job).await,
        }
    }

    async fn submit(&mut self, state: &'static str, fields: serde_json::Value) {
        let job = self.queue.submit(fields).await;
        let new = Job {
            state,
            attempt: 0,
            losses: 0,
            cancel_asked: false,
            ended_attempts: 0,
        };
        self.jobs.insert(job, new);
    }

    async fn claim(&mut self, runner: usize, limit: u32) {
        let due = self.jobs.values().filter(|job| job.state == "available").count();
        let claimed = claim(&self.runners[runner], limit).await;
        assert_eq!(
            claimed.len(),
            due.min(limit as usize),
            "as many as are due, and no more than asked for"
        );
        for fence in claimed {
            let job = self.jobs.get_mut(&fence.job).unwrap();
            assert_eq!((job.state, job.attempt + 1), ("available", fence.attempt));
            (job.state, job.attempt) = ("running", fence.attempt);
            self.fences.push((runner, fence, true));
        }
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
                (How::Retried | How::HandedBack, true) => "cancelled",
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
            .for_each(|job| job.state = "available");
    }

    async fn cancel(&mut self, job: usize) {
        let Some(id) = self.nth(job) else { return };
        let done = cancel(&self.queue.pool, &self.queue.hints, &self.queue.operator, id).await;
        let job = self.jobs.get_mut(&id).unwrap();
        assert_eq!(done.is_ok(), !matches!(job.state, "succeeded" | "failed"));
        match job.state {
            "running" => job.cancel_asked = true,
            "available" | "scheduled" => (job.state, job.cancel_asked) = ("cancelled", true),
            _ => {}
        }
    }

    async fn retry(&mut self, job: usize) {
        let Some(id) = self.nth(job) else { return };
        let done = retry(&self.queue.pool, &self.queue.hints, &self.queue.operator, id).await;
        let job = self.jobs.get_mut(&id).unwrap();
        assert_eq!(done.is_ok(), matches!(job.state, "cancelled" | "failed"));
        if done.is_ok() {
            (job.state, job.losses, job.cancel_asked) = ("available", 0, false);
        }
    }

    async fn compare(&self) {
        for (id, job) in &self.jobs {
            let question = format!(
                "select concat_ws(' ', state, attempt, losses, cancel_asked_at is not null,
                                  (select count(*) from attempt where job_id = job.id)) from job where id = '{id}'"
            );
            let Job {
                state,
                attempt,
                losses,
                cancel_asked,
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
