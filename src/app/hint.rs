//! Hints that work has come, told after the commit and gathered on the way.
//!
//! `NOTIFY` takes a lock of the whole database when its transaction commits, so it never travels with
//! an insert. One task a process says everything gathered since it last spoke, and pauses *after*
//! speaking: a hint given during the pause is the first of the next round, so none is dropped.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::store::{Pool, listen};

/// Shortest time between two notifications of one process.
const PAUSE: Duration = Duration::from_millis(2);

/// Where hints are left. Cheap to clone; the task behind it ends with the last clone's runtime.
#[derive(Clone, Debug)]
pub struct Hints(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queues: Mutex<BTreeSet<String>>,
    waiting: Notify,
}

impl Hints {
    /// Starts the task that speaks on `pool`.
    #[must_use]
    pub fn start(pool: Pool) -> Self {
        let shared = Arc::new(Shared::default());
        tokio::spawn(speak(pool, Arc::clone(&shared)));
        Self(shared)
    }

    /// There may be work in `queue`. Never waits and never fails: whoever listens polls as well.
    pub fn work(&self, queue: &str) {
        let mut queues = self.0.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if !queues.contains(queue) {
            queues.insert(queue.to_owned());
        }
        drop(queues);
        self.0.waiting.notify_one();
    }
}

async fn speak(pool: Pool, shared: Arc<Shared>) {
    loop {
        shared.waiting.notified().await;
        let queues = std::mem::take(&mut *shared.queues.lock().unwrap_or_else(PoisonError::into_inner));
        if queues.is_empty() {
            continue;
        }
        let queues: Vec<String> = queues.into_iter().collect();
        if let Err(error) = listen::notify(&pool, listen::WORK, &queues).await {
            tracing::debug!(error = %error, "a hint was lost; runners find the work when they poll");
        }
        tokio::time::sleep(PAUSE).await;
    }
}
