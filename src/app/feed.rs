//! How far the log of events is settled: up to which id nothing can come in any more.
//!
//! An event gets its id when it is written and is seen when its transaction commits, so a higher id may
//! be seen before a lower one. Who followed the highest seen would miss the lower ones for ever. Here
//! an id counts as settled when every transaction that was writing events when it was seen has ended:
//! whoever begins later draws a higher one. One task a process looks, however many follow.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;

use crate::store::{Pool, Result, event};

/// Shortest and longest pause between two looks.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// Where followers of the log get to know how far it is settled. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Feed {
    pool: Pool,
    shared: Arc<Mutex<Weak<watch::Sender<i64>>>>,
}

/// Somebody who follows. The looking ends when the last of them is gone.
#[derive(Debug)]
pub struct Following {
    settled: watch::Receiver<i64>,
    _looking: Arc<watch::Sender<i64>>,
}

impl Feed {
    /// A feed that nobody follows yet.
    #[must_use]
    pub fn new(pool: Pool) -> Self {
        Self {
            pool,
            shared: Arc::default(),
        }
    }

    /// Begins to follow; starts the looking when nobody else does.
    ///
    /// # Errors
    ///
    /// [`crate::store::Error`] when PostgreSQL is away.
    pub async fn follow(&self) -> Result<Following> {
        if let Some(looking) = self.running() {
            return Ok(Following::of(looking));
        }
        let begin = settled(&self.pool).await?;
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody else may have been faster.
        let looking = shared.upgrade().unwrap_or_else(|| {
            let looking = Arc::new(watch::Sender::new(begin));
            tokio::spawn(look(self.pool.clone(), Arc::downgrade(&looking)));
            *shared = Arc::downgrade(&looking);
            looking
        });
        Ok(Following::of(looking))
    }

    fn running(&self) -> Option<Arc<watch::Sender<i64>>> {
        self.shared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .upgrade()
    }
}

impl Following {
    fn of(looking: Arc<watch::Sender<i64>>) -> Self {
        Self {
            settled: looking.subscribe(),
            _looking: looking,
        }
    }

    /// The highest settled id.
    #[must_use]
    pub fn settled(&self) -> i64 {
        *self.settled.borrow()
    }

    /// Waits until more is settled than `seen`, and answers with how much is.
    pub async fn beyond(&mut self, seen: i64) -> i64 {
        let settled = self.settled.wait_for(|settled| *settled > seen).await;
        match settled.map(|settled| *settled) {
            Ok(settled) => settled,
            // The looking lasts as long as this does.
            Err(_) => std::future::pending().await,
        }
    }
}

/// Looks until nobody follows.
async fn look(pool: Pool, looking: Weak<watch::Sender<i64>>) {
    let mut pause = PAUSES.0;
    loop {
        let before = match looking.upgrade() {
            Some(looking) => *looking.borrow(),
            None => return,
        };
        match settled(&pool).await {
            Ok(now) if now > before => {
                pause = PAUSES.0;
                if let Some(looking) = looking.upgrade() {
                    looking.send_replace(now);
                }
            }
            Ok(_) => pause = (pause * 2).min(PAUSES.1),
            Err(error) => {
                tracing::debug!(error = %error, "a look at the log of events failed");
                pause = PAUSES.1;
            }
        }
        tokio::time::sleep(pause).await;
    }
}

/// The highest id seen now, when every transaction that may hold a lower one has ended.
async fn settled(pool: &Pool) -> Result<i64> {
    let highest = event::highest(pool).await?;
    let mut open: BTreeSet<String> = event::writers(pool).await?.into_iter().collect();
    let mut pause = Duration::from_millis(1);
    while !open.is_empty() {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSES.0 * 5);
        let still: BTreeSet<String> = event::writers(pool).await?.into_iter().collect();
        open.retain(|writer| still.contains(writer));
    }
    Ok(highest)
}
