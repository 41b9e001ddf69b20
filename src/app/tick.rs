//! One tick of a scheduler: a look at what there is to do, and that.

use std::time::{Duration, Instant as Moment};

use super::follow::{Sweep, Tried};
use super::hint::Hints;
use super::{fire_due, maintain};
use crate::domain::clock::{self, Instant};
use crate::domain::id::ScheduleId;
use crate::store::look::look;
use crate::store::{Error, Pool, Result};

/// What a tick did.
#[derive(Debug, Default)]
pub struct Tick {
    /// Jobs made by schedules.
    pub made: usize,
    /// Schedules that could not be fired, and why.
    pub failed: Vec<(ScheduleId, Error)>,
    /// Jobs that became available.
    pub promoted: usize,
    /// Callbacks are to be tried, which is not for a tick to wait for.
    pub callbacks: bool,
    /// How long until something is due, as far as the look before knew.
    pub next: Option<Duration>,
}

/// Looks, and does what is to be done. With nothing to do it is one statement.
///
/// # Errors
///
/// [`crate::store::Error`] when PostgreSQL is away; the next tick does what is left.
pub async fn tick(pool: &Pool, hints: &Hints, sweep: &mut Sweep, now: Instant) -> Result<Tick> {
    let begun = Moment::now();
    let look = look(pool, now).await?;
    metrics::gauge!("orchestrator_scheduler_lag_seconds").set(look.lag);
    let mut done = Tick {
        next: look.next,
        callbacks: look.callbacks,
        ..Tick::default()
    };
    // What a part cannot do is not to keep the others from what they can.
    let mut tried = Tried::default();
    if look.schedules {
        let fired = tried.part(fire_due::fire_due(pool, hints, now).await)?;
        (done.made, done.failed) = (fired.made, fired.failed);
    }
    if look.jobs {
        done.promoted = tried.part(maintain::promote(pool, hints, now).await)?;
    }
    if look.lost {
        tried.part(maintain::expire(pool, hints, now).await)?;
    }
    if look.waiting {
        tried.part(sweep.part(pool, hints).await)?;
    }
    tried.over()?;
    metrics::histogram!("orchestrator_scheduler_tick_seconds").record(begun.elapsed());
    metrics::gauge!("orchestrator_scheduler_tick_timestamp_seconds")
        .set(clock::now().timestamp_micros() as f64 / 1e6);
    if done.made + done.promoted > 0 {
        tracing::debug!(made = done.made, promoted = done.promoted, "jobs became due");
    }
    Ok(done)
}
