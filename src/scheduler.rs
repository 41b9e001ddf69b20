//! The scheduler: what time does. Every scheduler does all of it, and any number may run at once:
//! rows are locked and occurrences are keyed, so nobody has to be the leader.

pub mod deliver;
pub mod upkeep;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::alive::Alive;
use crate::app::backoff::Backoff;
use crate::app::follow::Sweep;
use crate::app::hint::Hints;
use crate::app::tick::{Tick, tick};
use crate::domain::id::ScheduleId;
use crate::shutdown::Stop;
use crate::store::{Error, Pool};

/// Shortest time between two looks, however much is due.
const SHORTEST: Duration = Duration::from_millis(5);

/// How long one look may take beyond the time between two. The largest backlog is worked off in less,
/// and a connection that died without a word holds a statement for longer.
const PATIENCE: Duration = Duration::from_secs(300);

/// Looks at what is due once each `every`, and when the next instant has come, until `stop`. Whoever delivers
/// callbacks is told of them through `callbacks`, and need not look.
pub async fn run(
    pool: Pool,
    hints: Hints,
    every: Duration,
    callbacks: Option<Arc<Notify>>,
    alive: Alive,
    stop: Stop,
) {
    let part = alive.part("the tick", every * 2 + PATIENCE);
    tracing::info!(
        tick_ms = u64::try_from(every.as_millis()).unwrap_or(u64::MAX),
        "scheduler running"
    );
    alive.ready("running");
    let (mut away, mut pause, mut sweep) = (false, Backoff::default(), Sweep::default());
    let mut failing = BTreeSet::new();
    while !stop.soft.is_cancelled() {
        // More than the time between two, so that an idle scheduler, with its roll-ups, costs one statement in it
        // at most; drawn, so that several do not look together.
        let mut wait = every.mul_f64(rand::random_range(1.1..=1.3));
        let came = tick(&pool, &hints, &mut sweep, None).await;
        // Where a part could not do its work, it is not known whether callbacks are due: they look for themselves.
        let callbacks_due = match &came {
            Ok(done) => done.callbacks,
            Err(error) => !error.is_away(),
        };
        if let Some(callbacks) = callbacks.as_ref().filter(|_| callbacks_due) {
            callbacks.notify_one();
        }
        let gone = matches!(&came, Err(error) if error.is_away());
        match came {
            Ok(done) => {
                if away {
                    tracing::info!("all that is due can be done again");
                    alive.status("running");
                    away = false;
                }
                wait = until_next(&done, wait);
                failing = said(&done.failed, &failing);
            }
            // Said once, not every second for as long as it lasts.
            Err(error) if away => tracing::debug!(error = %error, "still not all that is due could be done"),
            Err(error) => {
                tracing::warn!(error = %error, "not all that is due could be done; trying again");
                alive.status(&format!("not all that is due can be done: {error}"));
                away = true;
            }
        }
        match gone {
            true => wait = wait.max(pause.draw()),
            false => pause = Backoff::default(),
        }
        part.moves();
        let _ = tokio::time::timeout(wait, stop.soft.cancelled()).await;
    }
    tracing::info!("scheduler stopped");
}

/// Says which schedules cannot be fired, each once for as long as it cannot; answers with them.
fn said(failed: &[(ScheduleId, Error)], before: &BTreeSet<ScheduleId>) -> BTreeSet<ScheduleId> {
    for (schedule, error) in failed.iter().filter(|(schedule, _)| !before.contains(schedule)) {
        tracing::warn!(schedule.id = %schedule, error = %error, "a schedule cannot be fired; trying again");
    }
    failed.iter().map(|(schedule, _)| *schedule).collect()
}

/// How long to wait: `most`, or until the next instant; after work, only until a breath was drawn.
fn until_next(done: &Tick, most: Duration) -> Duration {
    if done.made + done.promoted > 0 {
        return SHORTEST;
    }
    // A millisecond more, so that the instant has come by the database's clock as well.
    let next = done.next.map(|next| next + Duration::from_millis(1));
    next.map_or(most, |next| next.clamp(SHORTEST, most.max(SHORTEST)))
}
