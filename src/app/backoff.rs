//! Waiting before trying again: longer each time, and never in step with others.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// Doubles from 100 ms to 5 s; each wait is drawn between half of that and all of it.
#[derive(Debug)]
pub struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(SHORTEST)
    }
}

impl Backoff {
    /// Waits, or returns early when `stop` is told.
    pub async fn wait(&mut self, stop: &CancellationToken) {
        let wait = self.0.mul_f64(rand::random_range(0.5..=1.0));
        self.0 = (self.0 * 2).min(LONGEST);
        let _ = tokio::time::timeout(wait, stop.cancelled()).await;
    }
}
