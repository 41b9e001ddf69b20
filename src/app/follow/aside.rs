//! What follows on an end, done beside whoever ended something: who has no part in a gate or a need does not wait for it.

use std::collections::BTreeSet;

use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{go_on, tell};
use crate::app::gather::{Company, Gather};
use crate::app::hint::Hints;
use crate::domain::id::JobId;
use crate::store::Pool;
use crate::store::ended::Ended;
use crate::store::gate::Gate;

/// How many follow up at once: one may have to wait for a gate.
const WORKERS: usize = 2;
/// Most that is followed up together.
const MOST: usize = 500;

/// What is to be followed up.
#[derive(Debug)]
struct Due {
    needed: Vec<JobId>,
    gates: BTreeSet<Gate>,
    /// Held until it is.
    _open: TaskTrackerToken,
}

/// Where to leave what is to be followed up. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Aside {
    hints: Hints,
    due: Gather<Due, ()>,
    open: TaskTracker,
}

impl Aside {
    /// Follows up on what is left here, for as long as somebody may leave something.
    #[must_use]
    pub fn start(pool: &Pool, hints: &Hints) -> Self {
        let (pool, telling) = (pool.clone(), hints.clone());
        let due = Gather::start(WORKERS, MOST, Company::AsBefore, move |due: Vec<Due>| {
            let (pool, hints) = (pool.clone(), telling.clone());
            async move {
                let needed = due.iter().flat_map(|due| due.needed.iter().copied());
                let gates = due.iter().flat_map(|due| due.gates.iter().cloned());
                if let Err(error) = go_on(&pool, &hints, needed.collect(), gates.collect()).await {
                    tracing::warn!(error = %error, "what waits for room or for a job that ended waits for the scheduler");
                }
                vec![(); due.len()]
            }
        });
        Self {
            hints: hints.clone(),
            due,
            open: TaskTracker::new(),
        }
    }

    /// Waits until what was left so far is followed up, or cannot be.
    pub async fn done(&self) {
        self.open.close();
        self.open.wait().await;
    }

    /// Follows up on what has ended; see [`super::follow`].
    pub fn follow(&self, ended: &[Ended]) {
        tell(&self.hints, ended);
        self.leave(super::needed(ended).collect(), super::gates(ended).collect());
    }

    /// Lets in what there is room for at these gates.
    pub fn admit(&self, gates: BTreeSet<Gate>) {
        self.leave(Vec::new(), gates);
    }

    fn leave(&self, needed: Vec<JobId>, gates: BTreeSet<Gate>) {
        if needed.is_empty() && gates.is_empty() {
            return;
        }
        let due = Due {
            needed,
            gates,
            _open: self.open.token(),
        };
        if !self.due.leave(due) {
            tracing::warn!(
                "more ended than can be followed up at once: what waits for it waits for the scheduler"
            );
        }
    }
}
