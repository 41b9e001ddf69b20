//! The slots of a runner: each runs one job at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::alive::Part;
use crate::app::gather::Company;

/// Most jobs one claim takes.
///
/// Planning costs each claim 1.5 ms, whatever it takes; beyond this, claims and settles no longer go side by side.
const CLAIM: usize = 500;

/// Time between two looks at whether a full runner still goes on.
const LOOK: Duration = Duration::from_secs(5);

/// A slot that runs something, for the metrics.
pub(super) struct Busy;

impl Busy {
    pub(super) fn begin() -> Self {
        metrics::gauge!("orchestrator_runner_slots_busy").increment(1.0);
        Self
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        metrics::gauge!("orchestrator_runner_slots_busy").decrement(1.0);
    }
}

/// A round of claims that filled all slots that were free: there may be more work.
#[derive(Clone, Copy)]
pub(super) struct Full {
    pub(super) slots: usize,
    pub(super) at: Instant,
}

/// Those that are free.
pub(super) struct Slots(Arc<Semaphore>);

impl Slots {
    /// So many, all of them free.
    pub(super) fn new(number: u16) -> Self {
        Self(Arc::new(Semaphore::new(number.into())))
    }

    /// One more, if one is free.
    pub(super) fn another(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0).try_acquire_owned().ok()
    }

    /// Waits until at least one slot is free, which may be for hours.
    pub(super) async fn one(&self, part: &Part) -> OwnedSemaphorePermit {
        let mut slot = std::pin::pin!(Arc::clone(&self.0).acquire_owned());
        loop {
            match tokio::time::timeout(LOOK, &mut slot).await {
                Ok(Ok(slot)) => return slot,
                // Nobody closes it; were it closed, there would be no slot to wait for.
                Ok(Err(_)) => std::future::pending().await,
                Err(_) => part.moves(),
            }
        }
    }

    /// The slots that are free, up to [`CLAIM`], one of which is at hand. Where the last round filled more, as many are
    /// about to be free again: they are waited for, for a moment, so that one claim serves them all.
    pub(super) async fn all(
        &self,
        slot: OwnedSemaphorePermit,
        last: Option<Full>,
        company: Company,
    ) -> Vec<OwnedSemaphorePermit> {
        let mut free = vec![slot];
        self.add_free(&mut free);
        let Some(last) = last else { return free };
        let (wanted, until) = company.after(last.slots, last.at.into());
        let more = u32::try_from(wanted.saturating_sub(free.len())).unwrap_or_default();
        if more > 0 {
            let all = Arc::clone(&self.0).acquire_many_owned(more);
            if let Ok(Ok(mut slots)) = tokio::time::timeout_at(until, all).await {
                free.extend(std::iter::from_fn(|| slots.split(1)));
            }
            self.add_free(&mut free);
        }
        free
    }

    fn add_free(&self, free: &mut Vec<OwnedSemaphorePermit>) {
        while free.len() < CLAIM
            && let Some(slot) = self.another()
        {
            free.push(slot);
        }
    }
}
