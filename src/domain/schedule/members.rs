//! What a field of a cron line selects.

/// A set of the values 0–63.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Values(u64);

impl Values {
    pub(super) fn one(value: u8) -> Self {
        Self(1 << value)
    }

    pub(super) fn stepped(from: u8, to: u8, step: u8) -> Self {
        (from..=to)
            .step_by(usize::from(step))
            .fold(Self::default(), |set, value| set.with(Self::one(value)))
    }

    pub(super) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn has(self, value: u32) -> bool {
        value < 64 && self.0 >> value & 1 == 1
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn iter(self) -> impl Iterator<Item = u8> {
        (0..64).filter(move |value| self.has(u32::from(*value)))
    }

    pub(super) fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Weekdays with Sunday as 7 where Saturday is there too, so that a weekend reads as one.
    pub(super) fn with_sunday_after_saturday(self) -> Self {
        if self.has(0) && self.has(6) {
            Self(self.0 & !1 | 1 << 7)
        } else {
            self
        }
    }

    /// Sunday is written 0 or 7 and kept as 0.
    pub(super) fn fold_sunday(self) -> Self {
        Self((self.0 | self.0 >> 7) & 0x7f)
    }
}

/// What a field selects, with what was written kept apart from what was expanded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Members {
    /// Values selected by `*` and `*/n`: they follow elapsed time.
    pub(super) starred: Values,
    /// Values written out, alone, in a range or in a list: each is a fixed time.
    pub(super) fixed: Values,
    /// The step when the whole field is `*` (1) or `*/n`.
    pub(super) every: Option<u8>,
    /// The field begins with `*`, which decides how the two day fields combine.
    pub(super) begins_with_star: bool,
    /// `L`: the last day of the month.
    pub(super) last: bool,
    /// `LW`: the last day of the month that is not a Saturday or Sunday.
    pub(super) last_workday: bool,
    /// `15W`: the days whose nearest workday is meant.
    pub(super) nearest_workday: Values,
    /// `5#2`: weekdays by their count in the month, the first at index 0.
    pub(super) nth: [Values; 5],
    /// `5L`: weekdays meant on their last date in the month.
    pub(super) last_of: Values,
}

impl Members {
    pub(super) fn values(&self) -> Values {
        self.starred.with(self.fixed)
    }

    /// The field is exactly `*`.
    pub(super) fn is_any(&self) -> bool {
        self.every == Some(1)
    }
}
