//! What can wait: sums for reports, and the end of what is too old. Beside the tick, so that neither
//! holds up a schedule.

use std::time::{Duration, Instant};

use strum::IntoEnumIterator as _;

use crate::app::retain::Sweep;
use crate::app::roll_up::roll_up;
use crate::domain::retention::{Kept, Retention};
use crate::objects::Objects;
use crate::shutdown::Stop;
use crate::store::{Pool, Result};

/// Time between two looks at what can be added up.
const ROLL_UP: Duration = Duration::from_secs(10);
/// How much longer than a batch the pause after it is: a fifth of one connection at most, and the rest of
/// the processors and the disk is the queue's.
const REST: u32 = 4;

/// Adds up and deletes until `stop`. Any number may run at once.
pub async fn run(pool: Pool, objects: Objects, retention: Retention, stop: Stop) {
    tokio::join!(sums(&pool, &stop), sweeps(&pool, &objects, &retention, &stop));
}

async fn sums(pool: &Pool, stop: &Stop) {
    let mut said = Said::default();
    while !stop.soft.is_cancelled() {
        said.about("reports wait", &roll_up_all(pool, stop).await);
        rest(ROLL_UP, stop).await;
    }
}

async fn sweeps(pool: &Pool, objects: &Objects, retention: &Retention, stop: &Stop) {
    let mut said = Said::default();
    while !stop.soft.is_cancelled() {
        said.about(
            "what is too old stays",
            &sweep_all(pool, objects, retention, stop).await,
        );
        rest(retention.every, stop).await;
    }
}

/// What fails is said once, not each time for as long as it lasts.
#[derive(Default)]
struct Said(bool);

impl Said {
    fn about(&mut self, what: &str, done: &Result<()>) {
        match done {
            Err(error) if self.0 => tracing::debug!(error = %error, "{what} still"),
            Err(error) => tracing::warn!(error = %error, "{what}; trying again"),
            Ok(()) => {}
        }
        self.0 = done.is_err();
    }
}

/// Waits a time drawn around the set one, so that several schedulers do not meet each time.
async fn rest(every: Duration, stop: &Stop) {
    let wait = every.mul_f64(rand::random_range(0.75..=1.25));
    let _ = tokio::time::timeout(wait, stop.soft.cancelled()).await;
}

async fn roll_up_all(pool: &Pool, stop: &Stop) -> Result<()> {
    loop {
        let asked = Instant::now();
        if !roll_up(pool).await? || pause(asked.elapsed(), stop).await {
            return Ok(());
        }
    }
}

/// Rests after a batch that took so long; answers whether it is time to stop.
async fn pause(took: Duration, stop: &Stop) -> bool {
    tokio::time::timeout(took * REST, stop.soft.cancelled())
        .await
        .is_ok()
}

async fn sweep_all(pool: &Pool, objects: &Objects, retention: &Retention, stop: &Stop) -> Result<()> {
    for kept in Kept::iter() {
        let mut sweep = Sweep::of(kept);
        let (begun, mut rows) = (Instant::now(), 0);
        loop {
            let asked = Instant::now();
            let swept = sweep.batch(pool, objects, retention, None).await?;
            rows += swept.rows;
            metrics::counter!("orchestrator_retention_rows_total", "kind" => <&str>::from(kept))
                .increment(swept.rows);
            if !swept.more {
                break;
            }
            if pause(asked.elapsed(), stop).await {
                return Ok(());
            }
        }
        if rows > 0 {
            let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            tracing::info!(
                kind = <&str>::from(kept),
                rows,
                duration_ms,
                "deleted what is too old"
            );
        }
    }
    Ok(())
}
