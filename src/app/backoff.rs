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
        let _ = tokio::time::timeout(self.draw(), stop.cancelled()).await;
    }

    /// How long to wait next.
    pub fn draw(&mut self) -> Duration {
        let wait = self.0.mul_f64(rand::random_range(0.5..=1.0));
        self.0 = (self.0 * 2).min(LONGEST);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_no_two_go_in_step() {
        let (mut one, mut other) = (Backoff::default(), Backoff::default());
        let mut bound = SHORTEST;
        let mut apart = 0;
        for _ in 0..20 {
            let waits = [one.draw(), other.draw()];
            assert!(
                waits.iter().all(|wait| (bound / 2..=bound).contains(wait)),
                "{waits:?} of {bound:?}"
            );
            apart += usize::from(waits[0] != waits[1]);
            bound = (bound * 2).min(LONGEST);
        }
        assert!(apart > 10, "{apart} of 20 differ");
        assert_eq!(bound, LONGEST);
    }
}
