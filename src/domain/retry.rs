//! How long to wait before a step is tried again.

use std::time::Duration;

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(3600);

/// The wait before retry number `retries + 1`: `first`, doubled each time, at most an hour, then
/// drawn between three quarters and five quarters of that, so that what failed together is not
/// tried together. `chance` is between 0 and 1.
#[must_use]
pub fn backoff(first: Duration, retries: u32, chance: f64) -> Duration {
    let doubled = first.saturating_mul(1 << retries.min(16)).min(LONGEST);
    doubled.mul_f64(0.75 + chance.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_doubles_up_to_an_hour_and_is_spread() {
        let first = Duration::from_secs(2);
        assert_eq!(backoff(first, 0, 0.5), first);
        assert_eq!(backoff(first, 3, 0.5), Duration::from_secs(16));
        assert_eq!(backoff(first, 1000, 0.5), LONGEST);
        assert_eq!(backoff(first, 0, 0.0), Duration::from_millis(1500));
        assert_eq!(backoff(first, 0, 1.0), Duration::from_millis(2500));
        assert_eq!(backoff(Duration::ZERO, 9, 0.3), Duration::ZERO);
    }
}
