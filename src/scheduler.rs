//! The scheduler: what time does. Every scheduler does all of it, and any number may run at once:
//! rows are locked and occurrences are keyed, so nobody has to be the leader.

pub mod deliver;
pub mod upkeep;

use std::time::{Duration, Instant};

use crate::alive::Alive;
use crate::app::hint::Hints;
use crate::app::{fire_due, follow, maintain};
use crate::domain::clock;
use crate::shutdown::Stop;
use crate::store::{Pool, Result};

/// How long one look may take beyond the time between two. The largest backlog is worked off in less,
/// and a connection that died without a word holds a statement for longer.
const PATIENCE: Duration = Duration::from_secs(300);

/// Looks at what is due once each `every`, until `stop`.
pub async fn run(pool: Pool, hints: Hints, every: Duration, alive: Alive, stop: Stop) {
    let part = alive.part("the tick", every * 2 + PATIENCE);
    tracing::info!(
        tick_ms = u64::try_from(every.as_millis()).unwrap_or(u64::MAX),
        "scheduler running"
    );
    alive.ready("running");
    let mut away = false;
    while !stop.soft.is_cancelled() {
        match tick(&pool, &hints).await {
            Ok(()) if away => {
                tracing::info!("the database is back");
                away = false;
            }
            Ok(()) => {}
            // Said once, not every second for as long as it lasts.
            Err(error) if away => tracing::debug!(error = %error, "still nothing could be done"),
            Err(error) => {
                tracing::warn!(error = %error, "nothing could be done about what is due; trying again");
                away = true;
            }
        }
        part.moves();
        let wait = every.mul_f64(rand::random_range(0.9..=1.1));
        let _ = tokio::time::timeout(wait, stop.soft.cancelled()).await;
    }
    tracing::info!("scheduler stopped");
}

async fn tick(pool: &Pool, hints: &Hints) -> Result<()> {
    let begun = Instant::now();
    let made = fire_due::fire_due(pool, hints, None).await?;
    let promoted = maintain::promote(pool, hints, None).await?;
    let expired = maintain::expire(pool, hints, None).await?;
    follow::sweep(pool, hints).await?;
    for lost in &expired {
        tracing::warn!(job.id = %lost.job, attempt = lost.attempt, over = lost.over, "a runner vanished with a job");
    }
    metrics::counter!("orchestrator_attempts_lost_total").increment(expired.len() as u64);
    metrics::histogram!("orchestrator_scheduler_tick_seconds").record(begun.elapsed());
    metrics::gauge!("orchestrator_scheduler_tick_timestamp_seconds")
        .set(clock::now().timestamp_micros() as f64 / 1e6);
    if made + promoted > 0 {
        tracing::debug!(made, promoted, "jobs became due");
    }
    Ok(())
}
