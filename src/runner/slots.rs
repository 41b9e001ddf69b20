//! The slots of a runner: each runs one job at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::alive::Part;
use crate::app::gather::{Company, Going, Last, Present};

/// Most jobs one claim takes.
///
/// A claim costs something before its first job; beyond this that is little, and claims and settles no longer go side by side.
const CLAIM: usize = 500;

/// Time between two looks at whether a full runner still goes on.
const LOOK: Duration = Duration::from_secs(5);

/// A slot that runs something, for the metrics and for whoever waits for company.
pub(super) struct Busy {
    _present: Present,
}

impl Busy {
    pub(super) fn begin(going: &Going) -> Self {
        metrics::gauge!("orchestrator_runner_slots_busy").increment(1.0);
        Self {
            _present: going.enter(),
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        metrics::gauge!("orchestrator_runner_slots_busy").decrement(1.0);
    }
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

    /// The slots that are free, up to [`CLAIM`], one of which is at hand. Where the `last` round of claims filled all that
    /// were free, and more than these, as many are about to be free again: they are waited for, as [`Company`] says, so that
    /// one claim serves them all.
    pub(super) async fn all(
        &self,
        slot: OwnedSemaphorePermit,
        last: Option<Last>,
        going: &Going,
    ) -> Vec<OwnedSemaphorePermit> {
        let mut free = vec![slot];
        self.add_free(&mut free);
        let Some(last) = last else { return free };
        let company = Company::Paced(going.clone()).after(last, Instant::now());
        while free.len() < CLAIM
            && let Some(until) = company.until(free.len())
        {
            let one = Arc::clone(&self.0).acquire_owned();
            let Ok(Ok(one)) = tokio::time::timeout_at(until, one).await else {
                break;
            };
            free.push(one);
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

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBER: u16 = 600;

    #[tokio::test]
    async fn a_claim_is_for_all_slots_that_are_free_up_to_a_bound_and_none_is_lost() {
        let (slots, going) = (Slots::new(NUMBER), Going::default());
        for last in [None, Some(Last::now(1)), Some(Last::now(CLAIM * 2))] {
            let one = slots.another().unwrap();
            let free = slots.all(one, last, &going).await;
            assert_eq!(free.len(), CLAIM);
            drop(free);
            assert_eq!(slots.0.available_permits(), usize::from(NUMBER));
        }
    }

    #[tokio::test]
    async fn slots_that_are_about_to_be_free_are_waited_for_and_those_that_are_not_are_not() {
        let (slots, going) = (Slots::new(8), Going::default());
        let mut busy: Vec<_> = std::iter::from_fn(|| slots.another()).take(7).collect();
        let full = Some(Last::now(4));
        let last = slots.another().unwrap();
        // None of the seven is let go: a moment ends it.
        let free = slots.all(last, full, &going).await;
        assert_eq!(free.len(), 1);
        drop(free);
        let _going: Vec<_> = (0..8).map(|_| going.enter()).collect();
        // A quarter of eight, however long it takes them: the time for it is far ahead.
        let at = Instant::now() + Duration::from_secs(60);
        let last = slots.another().unwrap();
        let waiting = slots.all(last, Some(Last { number: 2, at }), &going);
        let (free, ()) = tokio::join!(waiting, async {
            tokio::task::yield_now().await;
            busy.truncate(5);
        });
        assert!(free.len() >= 2);
        drop((free, busy));
        assert_eq!(slots.0.available_permits(), 8);
    }
}
