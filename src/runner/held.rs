//! The attempts a session holds just now, and how each is told to stop.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::domain::attempt::Fence;
use crate::runner::process::{self, Bound, Lease};

/// Why an attempt is to stop before its steps are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Somebody asked for it.
    Cancelled,
    /// The runner stops; another goes on with the job.
    Draining,
    /// The lease has passed or is about to: whatever comes of the attempt is another's to say.
    LeaseLost,
}

/// The way to stop one attempt. The first reason stays, unless the lease is lost: nothing else matters then.
#[derive(Clone, Debug)]
pub(super) struct Brake {
    token: CancellationToken,
    reason: Arc<Mutex<Option<Reason>>>,
    lease: Lease,
}

impl Brake {
    fn new(lease: Lease) -> Self {
        Self {
            token: CancellationToken::new(),
            reason: Arc::default(),
            lease,
        }
    }

    /// What children are bounded by.
    pub(super) fn bound(&self) -> Bound {
        self.bound_by(self.token.clone())
    }

    /// The same with another word to stop.
    pub(super) fn bound_by(&self, stop: CancellationToken) -> Bound {
        let lease = Some(self.lease.clone());
        Bound { stop, lease }
    }

    pub(super) fn pull(&self, reason: Reason) {
        {
            let mut first = self.lock();
            if first.is_none() || reason == Reason::LeaseLost {
                *first = Some(reason);
            }
        }
        self.token.cancel();
    }

    /// What children listen to.
    pub(super) fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Whether children may not run any more, as far as is known here.
    pub(super) fn is_over(&self) -> bool {
        process::is_over(&self.lease)
    }

    /// Why it was pulled, if it was.
    pub(super) fn reason(&self) -> Option<Reason> {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Reason>> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every attempt of the session that runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    state: Arc<Mutex<State>>,
    lease: watch::Sender<Option<Duration>>,
}

#[derive(Debug, Default)]
struct State {
    running: HashMap<Fence, Brake>,
    /// What was begun and whose end is not in the table yet.
    known: HashSet<Fence>,
    /// Attempts that were to stop and are not known yet: the answer to their claim is under way.
    stopped_before: HashMap<Fence, Reason>,
    /// Why everything was stopped: an attempt that was claimed meanwhile must stop as well.
    all_stopped: Option<Reason>,
}

impl Held {
    /// Notes an attempt that begins.
    pub(super) fn begin(&self, fence: Fence) -> Brake {
        let brake = Brake::new(self.lease.subscribe());
        let mut state = self.lock();
        let before = state.stopped_before.remove(&fence);
        if let Some(reason) = state.all_stopped.or(before) {
            brake.pull(reason);
        }
        state.running.insert(fence, brake.clone());
        state.known.insert(fence);
        brake
    }

    /// Forgets how to stop an attempt whose end is on its way to the table.
    pub(super) fn let_go(&self, fence: Fence) {
        self.lock().running.remove(&fence);
    }

    /// Forgets an attempt whose end is in the table, or is another's to say. By then its job may be held again.
    pub(super) fn forget(&self, fence: Fence) {
        self.lock().known.remove(&fence);
    }

    /// Forgets an attempt that ended without anything to be said.
    pub(super) fn end(&self, fence: Fence) {
        self.let_go(fence);
        self.forget(fence);
    }

    /// The attempts that the session has begun, but for those whose end is in the table.
    pub(super) fn known(&self) -> Vec<Fence> {
        self.lock().known.iter().copied().collect()
    }

    /// Stops these attempts, which are all of this session that are to stop for that reason.
    pub(super) fn stop(&self, attempts: &[Fence], reason: Reason) {
        let mut state = self.lock();
        state.stopped_before.clear();
        for fence in attempts {
            match state.running.get(fence) {
                Some(brake) => brake.pull(reason),
                None => drop(state.stopped_before.insert(*fence, reason)),
            }
        }
    }

    /// The attempts that run, as far as is known here.
    pub(super) fn running(&self) -> Vec<Fence> {
        self.lock().running.keys().copied().collect()
    }

    /// Stops those of `asked` that run still and are not `ours` any more; answers with them. What runs is not on its way to the
    /// table, so whoever took it from there was another.
    pub(super) fn stop_taken(&self, asked: &[Fence], ours: &HashSet<Fence>) -> Vec<Fence> {
        let state = self.lock();
        let gone = asked.iter().filter(|fence| !ours.contains(fence));
        let taken = gone.filter_map(|fence| Some((fence, state.running.get(fence)?)));
        taken
            .map(|(fence, brake)| {
                brake.pull(Reason::LeaseLost);
                *fence
            })
            .collect()
    }

    /// Notes until when children may run, by [`crate::domain::clock::since_boot`].
    pub(super) fn lasts_until(&self, until: Duration) {
        self.lease.send_replace(Some(until));
    }

    /// Stops everything, also what begins from now on.
    pub(super) fn stop_all(&self, reason: Reason) {
        let mut state = self.lock();
        state.all_stopped = Some(reason);
        state.running.values().for_each(|brake| brake.pull(reason));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::JobId;

    const FENCE: Fence = Fence {
        job: JobId(uuid::Uuid::nil()),
        attempt: 1,
    };

    #[test]
    fn a_job_that_is_to_stop_before_its_claim_is_heard_stops_when_it_is() {
        let held = Held::default();
        held.stop(&[FENCE], Reason::Cancelled);
        assert_eq!(held.begin(FENCE).reason(), Some(Reason::Cancelled));
        // Nor another attempt at the job, whether the one is known or not.
        for known in [true, false] {
            let held = Held::default();
            if known {
                held.begin(FENCE);
                held.end(FENCE);
            }
            held.stop(&[FENCE], Reason::Cancelled);
            let again = Fence { attempt: 2, ..FENCE };
            assert_eq!(held.begin(again).reason(), None);
        }
    }

    #[test]
    fn what_another_took_is_stopped_and_nothing_else() {
        let held = Held::default();
        let fence = |job, attempt| Fence {
            job: JobId(uuid::Uuid::from_u128(job)),
            attempt,
        };
        let (kept, taken, settling, later) = (fence(1, 1), fence(2, 1), fence(3, 1), fence(4, 1));
        let brakes = [kept, taken, settling].map(|fence| held.begin(fence));
        let asked = held.running();
        // Its end is on its way, and it may be begun again; another is begun while the answer is under way.
        held.let_go(settling);
        let brakes = [&brakes[..], &[held.begin(fence(3, 2)), held.begin(later)]].concat();
        assert_eq!(held.stop_taken(&asked, &[kept].into()), [taken]);
        let reasons: Vec<_> = brakes.iter().map(Brake::reason).collect();
        assert_eq!(reasons, [None, Some(Reason::LeaseLost), None, None, None]);
    }

    #[test]
    fn the_first_reason_stays_unless_the_lease_is_lost() {
        let brake = Held::default().begin(FENCE);
        assert_eq!(brake.reason(), None);
        for (pulled, stays) in [
            (Reason::Draining, Reason::Draining),
            (Reason::Cancelled, Reason::Draining),
            (Reason::LeaseLost, Reason::LeaseLost),
            (Reason::Cancelled, Reason::LeaseLost),
        ] {
            brake.pull(pulled);
            assert_eq!(brake.reason(), Some(stays));
        }
    }
}
