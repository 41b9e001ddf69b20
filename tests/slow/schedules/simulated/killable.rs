//! A scheduler that may not live to see the end of what it does.

use std::time::Duration;

use chrono::{DateTime, Utc};
use orchestrator::app::fire_due::fire_due;
use orchestrator::app::hint::Hints;
use orchestrator::store::{Pool, database as pools};
use rand::RngExt as _;
use rand::rngs::StdRng;

use crate::support::{Cut, Database, Wire};

/// A scheduler with a way to the database of its own, on which it can be killed at any message.
pub(super) struct Killable {
    wire: Wire,
    pool: Pool,
}

impl Killable {
    pub(super) async fn start(database: &Database) -> Self {
        let wire = Wire::to(&database.url).await;
        let pool = pools::pool(wire.url(), "killable", 1).unwrap();
        Self { wire, pool }
    }

    /// Fires what is due, unless it is killed or cut off before; answers whether it was.
    pub(super) async fn fire(&mut self, now: DateTime<Utc>, fate: Fate) -> bool {
        let hints = Hints::default();
        let firing = fire_due(&self.pool, &hints, Some(now));
        match fate {
            Fate::Lives => firing.await.map_or(true, |_| false),
            // The transaction is given up in the middle of whatever it does.
            Fate::Aborted(after) => tokio::time::timeout(after, firing).await.is_err(),
            Fate::Killed(number, cut) => {
                self.wire.break_at(number, cut);
                let fired = firing.await;
                let killed = self.wire.mend();
                assert!(killed || fired.is_ok(), "{fired:?}");
                // A process of its own each time: it prepares its statements anew.
                self.pool.close().await;
                self.pool = pools::pool(self.wire.url(), "killable", 1).unwrap();
                killed
            }
        }
    }
}

/// What becomes of a scheduler while it fires.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    Lives,
    Killed(usize, Cut),
    Aborted(Duration),
}

pub(super) fn fate(random: &mut StdRng) -> Fate {
    match random.random_range(0..100) {
        0..15 => Fate::Killed(
            random.random_range(1..60),
            if random.random_bool(0.5) {
                Cut::Before
            } else {
                Cut::After
            },
        ),
        15..25 => Fate::Aborted(Duration::from_micros(random.random_range(100..15_000))),
        _ => Fate::Lives,
    }
}
