//! A constant delay of each schedule's own, so that a thousand `@hourly` do not stampede.

use chrono::TimeDelta;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// How long after its due instant a schedule's run is released.
///
/// The delay is the same for every run of a schedule, so the distance between its runs is kept;
/// it never changes which occurrence a run belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Jitter {
    delay: TimeDelta,
}

impl Jitter {
    /// Released at the due instant itself.
    pub const NONE: Self = Self {
        delay: TimeDelta::zero(),
    };

    /// The delay of the schedule `id` in whole milliseconds: at least 0, less than `window`.
    ///
    /// It depends on nothing else, so every scheduler of every release works out the same. A
    /// window of less than a millisecond, or a negative one, is no delay.
    #[must_use]
    pub fn of(id: Uuid, window: TimeDelta) -> Self {
        let digest = Sha256::digest(id.as_bytes());
        let number = digest
            .iter()
            .take(8)
            .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        let delay = u64::try_from(window.num_milliseconds())
            .ok()
            .and_then(|window| number.checked_rem(window))
            .and_then(|delay| i64::try_from(delay).ok())
            .and_then(TimeDelta::try_milliseconds);
        Self {
            delay: delay.unwrap_or_default(),
        }
    }

    /// The delay itself.
    #[must_use]
    pub fn delay(self) -> TimeDelta {
        self.delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delay_is_the_schedules_own_and_stays() {
        // Worked out once by another SHA-256; every release must come to the same.
        let id = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);
        assert_eq!(
            Jitter::of(id, TimeDelta::minutes(5)).delay(),
            TimeDelta::milliseconds(92_127)
        );
    }

    #[test]
    fn delays_are_spread_over_the_window_and_less_than_it() {
        let window = TimeDelta::seconds(60);
        let mut seconds = [0_u32; 60];
        for number in 0..6_000 {
            let delay = Jitter::of(Uuid::from_u128(number), window).delay();
            assert!(delay >= TimeDelta::zero() && delay < window);
            seconds[usize::try_from(delay.num_seconds()).expect("a second of the window")] += 1;
        }
        assert!(
            seconds.iter().all(|schedules| (50..=160).contains(schedules)),
            "{seconds:?}"
        );
    }

    #[test]
    fn no_window_is_no_delay() {
        for window in [
            TimeDelta::zero(),
            TimeDelta::microseconds(999),
            TimeDelta::seconds(-5),
        ] {
            assert_eq!(Jitter::of(Uuid::from_u128(7), window), Jitter::NONE);
        }
        assert_eq!(
            Jitter::of(Uuid::from_u128(7), TimeDelta::milliseconds(1)),
            Jitter::NONE
        );
    }
}
