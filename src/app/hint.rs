//! Hints that work has come, told after the commit and gathered on the way.
//!
//! `NOTIFY` takes a lock of the whole database when its transaction commits, so it never travels with
//! an insert. One task a process says everything gathered since it last spoke, and pauses *after*
//! speaking: a hint given during the pause is the first of the next round, so none is dropped.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::store::{Pool, listen};

/// Shortest time between two notifications of one process. Who comes alone is told of at once; where jobs come one after the
/// other each notification is a commit that takes from them: at 2 ms an API under load took a twentieth less webhooks.
const PAUSE: Duration = Duration::from_millis(5);

/// Where hints are left. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Hints(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queues: Mutex<BTreeSet<String>>,
    waiting: Notify,
}

impl Hints {
    /// Starts a task that tells what is gathered, for as long as the process runs.
    #[must_use]
    pub fn start(pool: Pool) -> Self {
        let hints = Self::default();
        let gathered = hints.clone();
        tokio::spawn(async move {
            loop {
                gathered.0.waiting.notified().await;
                gathered.tell(&pool).await;
                tokio::time::sleep(PAUSE).await;
            }
        });
        hints
    }

    /// There may be work in `queue`. Never waits and never fails: whoever listens polls as well.
    pub fn work(&self, queue: &str) {
        let mut queues = self.lock();
        if !queues.contains(queue) {
            queues.insert(queue.to_owned());
        }
        drop(queues);
        self.0.waiting.notify_one();
    }

    /// The same of a job with a priority: runners that work off many jobs in order look at the first ones again for
    /// one that goes before most.
    pub fn job(&self, queue: &str, priority: i16) {
        match priority > 0 {
            true => self.work(&format!("{queue}!")),
            false => self.work(queue),
        }
    }

    /// Tells what is gathered now; what cannot be told is left to polling.
    pub async fn tell(&self, pool: &Pool) {
        let queues: Vec<String> = std::mem::take(&mut *self.lock()).into_iter().collect();
        if queues.is_empty() {
            return;
        }
        if let Err(error) = listen::notify(pool, listen::WORK, &queues).await {
            tracing::debug!(error = %error, "a hint was lost; runners find the work when they poll");
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
