//! Attempts end in batches: whatever finished while the last statement ran goes into the next.

use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc};
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

/// Settles what arrives until every sender is gone; answers whether all of it is in the tables. While the database is away
/// it tries again and again until `hard`. What is not settled goes back only when the session is closed, so nothing more is
/// begun in it.
pub(super) async fn settle(
    session: Session,
    held: Held,
    finished: mpsc::Receiver<Finished>,
    quiet: CancellationToken,
    hard: CancellationToken,
) -> bool {
    let mut finished = Waiting::new(finished, BATCH, Company::Paced(session.going.clone()));
    let mut arrived = Vec::with_capacity(BATCH);
    let mut all = true;
    loop {
        finished.take(&mut arrived).await;
        if arrived.is_empty() {
            return all;
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
        batch.iter().for_each(|settlement| held.let_go(settlement.fence));
        match settle_batch(&session, &batch, &hard, false).await {
            true => batch.iter().for_each(|settlement| held.forget(settlement.fence)),
            // It stays known, or it would be taken for one whose claim was not heard, and begun again.
            false => {
                all = false;
                quiet.cancel();
            }
        }
        drop(slots);
    }
}

/// Whether the batch is settled. `again`: a try before may have been carried out without being heard.
async fn settle_batch(
    session: &Session,
    batch: &[Settlement],
    hard: &CancellationToken,
    mut again: bool,
) -> bool {
    let mut pause = Backoff::default();
    loop {
        let settled = match again {
            false => session.settle(batch).await,
            true => session.settle_again(batch).await,
        };
        match settled {
            Ok(settled) => {
                report(batch, &settled);
                return true;
            }
            Err(error) if error.is_unavailable() && !hard.is_cancelled() => {
                tracing::warn!(error = %error, attempts = batch.len(), "results wait for the database");
                again = true;
                pause.wait(hard).await;
            }
            // One row the database refuses must not take the others with it.
            Err(error) if batch.len() > 1 && !error.is_unavailable() => {
                tracing::error!(error = %error, "a batch was refused; settling one by one");
                let mut all = true;
                for one in batch.chunks(1) {
                    all &= Box::pin(settle_batch(session, one, hard, again)).await;
                }
                return all;
            }
            // The job must end, or this session would hold it for ever.
            Err(error) if !error.is_unavailable() && batch.iter().any(|one| !is_refusal(one)) => {
                tracing::error!(error = %error, "a result was refused by the database; its job fails");
                let refusals: Vec<_> = batch.iter().map(refusal).collect();
                return Box::pin(settle_batch(session, &refusals, hard, again)).await;
            }
            Err(error) => {
                let jobs: Vec<_> = batch.iter().map(|one| one.fence.job.to_string()).collect();
                tracing::error!(error = %error, jobs = ?jobs, "not settled; the jobs go back when this session is closed");
                return false;
            }
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
