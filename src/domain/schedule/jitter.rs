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
