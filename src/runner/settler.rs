//! Attempts end in batches: whatever finished while the last statement ran goes into the next.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::held::Held;
use crate::app::backoff::Backoff;
use crate::app::gather::{Company, Waiting};
use crate::app::lease::Session;
use crate::domain::attempt::{Ending, Failure, Fence};
use crate::domain::job::Code;
use crate::store::settle::Settlement;

/// Most attempts one statement ends.
const BATCH: usize = 500;

/// An attempt that ended, with the slot it held; the slot is free when its end is in the table.
pub(super) struct Finished {
    pub(super) settlement: Settlement,
    pub(super) took: Duration,
    pub(super) slot: OwnedSemaphorePermit,
}

/// Who settles the attempts of a session.
#[derive(Clone)]
pub(super) struct Settler {
    pub(super) session: Session,
    pub(super) held: Held,
    /// Told when something cannot be settled: it goes back only when the session is closed, so nothing more is begun in it.
    pub(super) quiet: CancellationToken,
    /// Until then it is tried again and again while the database is away.
    pub(super) hard: CancellationToken,
    /// Who tries for itself: others want connections, too, the lease's renewal first.
    pub(super) turns: Arc<Semaphore>,
}

/// Most attempts that are settled for themselves at once.
pub(super) const TURNS: usize = 4;

/// What came of trying to settle a batch.
enum Came {
    Settled,
    /// Not for a reason all of them share: the rows of some are held by somebody, or refused. With whether the try may
    /// have been carried out without being heard.
    Apart(bool),
    GivenUp,
}

impl Settler {
    /// Settles what arrives until every sender is gone; answers whether all of it is in the tables.
    pub(super) async fn settle(self, finished: mpsc::Receiver<Finished>) -> bool {
        let mut finished = Waiting::new(finished, BATCH, Company::Paced(self.session.going.clone()));
        let mut arrived = Vec::with_capacity(BATCH);
        // Those that could not be settled with others, each for itself: what one waits for holds up nobody else.
        let mut apart = JoinSet::new();
        let mut all = true;
        loop {
            finished.take(&mut arrived).await;
            if arrived.is_empty() {
                break;
            }
            let (batch, slots): (Vec<_>, Vec<_>) = arrived
                .drain(..)
                .map(|one| {
                    let status = one.settlement.ending.state().as_str();
                    metrics::histogram!("orchestrator_job_seconds", "status" => status).record(one.took);
                    (one.settlement, one.slot)
                })
                .unzip();
            // A job is no longer ours to stop once its end is on the way; in this order, or a job
            // claimed again at once would be forgotten.
            batch
                .iter()
                .for_each(|settlement| self.held.let_go(settlement.fence));
            match self.batch(&batch, false, false).await {
                Came::Settled => self.forget(&batch),
                Came::GivenUp => all = self.give_up(),
                Came::Apart(again) => {
                    for (settlement, slot) in batch.into_iter().zip(slots) {
                        apart.spawn(self.clone().alone(settlement, slot, again));
                    }
                }
            }
            while let Some(settled) = apart.try_join_next() {
                all &= settled.unwrap_or_else(|_| self.give_up());
            }
        }
        while let Some(settled) = apart.join_next().await {
            all &= settled.unwrap_or_else(|_| self.give_up());
        }
        all
    }

    /// Settles one for itself, and lets its slot go then.
    async fn alone(self, settlement: Settlement, slot: OwnedSemaphorePermit, again: bool) -> bool {
        let batch = [settlement];
        let settled = match self.batch(&batch, again, true).await {
            Came::Settled => {
                self.forget(&batch);
                true
            }
            Came::Apart(_) | Came::GivenUp => self.give_up(),
        };
        drop(slot);
        settled
    }

    fn forget(&self, batch: &[Settlement]) {
        batch
            .iter()
            .for_each(|settlement| self.held.forget(settlement.fence));
    }

    /// What is not settled stays known, or it would be taken for one whose claim was not heard, and begun again.
    fn give_up(&self) -> bool {
        self.quiet.cancel();
        false
    }

    /// Settles a batch. `again`: a try before may have been carried out without being heard. `alone`: nobody else waits for it.
    async fn batch(&self, batch: &[Settlement], mut again: bool, alone: bool) -> Came {
        let mut pause = Backoff::default();
        loop {
            let turn = match alone {
                true => Some(self.turns.acquire().await),
                false => None,
            };
            let settled = match again {
                false => self.session.settle(batch).await,
                true => self.session.settle_again(batch).await,
            };
            drop(turn);
            let error = match settled {
                Ok(settled) => {
                    report(batch, &settled);
                    return Came::Settled;
                }
                Err(error) => error,
            };
            if !alone && !error.is_away() {
                tracing::warn!(error = %error, attempts = batch.len(), "results cannot be settled together; each is for itself");
                return Came::Apart(again || error.is_unavailable());
            }
            if error.is_unavailable() && !self.hard.is_cancelled() {
                tracing::warn!(error = %error, attempts = batch.len(), "results wait for the database");
                again = true;
                pause.wait(&self.hard).await;
                continue;
            }
            // The job must end, or this session would hold it for ever.
            if !error.is_unavailable() && batch.iter().any(|one| !is_refusal(one)) {
                tracing::error!(error = %error, "a result was refused by the database; its job fails");
                let refusals: Vec<_> = batch.iter().map(refusal).collect();
                return Box::pin(self.batch(&refusals, again, alone)).await;
            }
            let jobs: Vec<_> = batch.iter().map(|one| one.fence.job.to_string()).collect();
            tracing::error!(error = %error, jobs = ?jobs, "not settled; the jobs go back when this session is closed");
            return Came::GivenUp;
        }
    }
}

/// What is said instead of a result the database does not take: nothing of it, or that would be refused again.
fn refusal(settlement: &Settlement) -> Settlement {
    let sentence = "The database refused this attempt's result; the runner's log says why.";
    Settlement {
        fence: settlement.fence,
        ending: Ending::Failed(Failure::new(Code::Internal, sentence)),
        step: None,
    }
}

fn is_refusal(settlement: &Settlement) -> bool {
    settlement.step.is_none()
        && settlement
            .ending
            .failure()
            .is_some_and(|failure| failure.code == Code::Internal)
}

fn report(batch: &[Settlement], settled: &[crate::domain::id::JobId]) {
    let settled: std::collections::HashSet<_> = settled.iter().collect();
    for Settlement {
        fence: Fence { job, attempt },
        ending,
        ..
    } in batch
    {
        if settled.contains(job) {
            metrics::counter!("orchestrator_jobs_total", "status" => ending.state().as_str()).increment(1);
        } else {
            tracing::warn!(job.id = %job, attempt, "the lease was lost: this attempt's result is discarded");
        }
    }
}
