//! `every 15m`: intervals of elapsed time, counted from an anchor.

use std::fmt;

use chrono::{DateTime, Datelike, SubsecRound, TimeDelta, Utc};

use super::calendar::LAST_YEAR;
use super::error::{Fault, Reason};

/// A length of elapsed time in whole seconds, from one second to 366 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interval {
    seconds: i64,
}

/// Units, largest first, and their seconds. A day is 24 hours, whatever the clocks do.
pub(super) const UNITS: [(char, i64, &str); 5] = [
    ('w', 604_800, "week"),
    ('d', 86_400, "day"),
    ('h', 3_600, "hour"),
    ('m', 60, "minute"),
    ('s', 1, "second"),
];
const LONGEST: i64 = 366 * 86_400;

impl Interval {
    /// Reads `1h30m`, which begins at byte `at` of the expression.
    pub(super) fn parse(text: &str, at: usize) -> Result<Self, Fault> {
        let fault = |rest: &str, reason| Fault::whole(at + text.len() - rest.len(), reason);
        let mut rest = text;
        let mut seconds: i64 = 0;
        let mut units = UNITS.as_slice();
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let unit = rest[digits..]
                .chars()
                .next()
                .map(|unit| unit.to_ascii_lowercase());
            let Some(index) = units.iter().position(|(name, ..)| Some(*name) == unit) else {
                return Err(fault(rest, Reason::Interval));
            };
            if digits == 0 {
                return Err(fault(rest, Reason::Interval));
            }
            let part = rest[..digits]
                .parse::<i64>()
                .ok()
                .and_then(|count| count.checked_mul(units[index].1));
            seconds = part
                .and_then(|part| seconds.checked_add(part))
                .filter(|sum| *sum <= LONGEST)
                .ok_or_else(|| fault(rest, Reason::IntervalLength))?;
            // Each unit once and in order, so that `10m5m` is seen as the slip it is.
            units = &units[index + 1..];
            rest = &rest[digits + 1..];
        }
        match seconds {
            0 if text.is_empty() => Err(fault(rest, Reason::Interval)),
            0 => Err(fault(text, Reason::IntervalLength)),
            seconds => Ok(Self { seconds }),
        }
    }

    /// The parts that are not zero, largest unit first: how many, and of what.
    pub(super) fn parts(self) -> impl Iterator<Item = (i64, char, &'static str)> {
        let mut rest = self.seconds;
        UNITS.into_iter().filter_map(move |(letter, length, name)| {
            let count = rest / length;
            rest %= length;
            (count > 0).then_some((count, letter, name))
        })
    }

    /// The first instant after `from`. The anchor itself is not one: the first comes an interval later.
    pub(super) fn following(self, from: DateTime<Utc>, anchor: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let anchor = anchor.trunc_subsecs(0); // runs are at whole seconds
        let passed = from.signed_duration_since(anchor).num_seconds();
        self.nth(anchor, (passed.div_euclid(self.seconds)).checked_add(1)?.max(1))
            .filter(|found| found.year() <= LAST_YEAR)
    }

    /// The last instant before `from`.
    pub(super) fn preceding(self, from: DateTime<Utc>, anchor: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let anchor = anchor.trunc_subsecs(0); // runs are at whole seconds
        let passed = from.signed_duration_since(anchor);
        let mut count = passed.num_seconds().div_euclid(self.seconds);
        if self.nth(anchor, count)? >= from {
            count -= 1;
        }
        (count >= 1).then(|| self.nth(anchor, count)).flatten()
    }

    fn nth(self, anchor: DateTime<Utc>, count: i64) -> Option<DateTime<Utc>> {
        anchor.checked_add_signed(TimeDelta::try_seconds(self.seconds.checked_mul(count)?)?)
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts()
            .try_for_each(|(count, letter, _)| write!(f, "{count}{letter}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::expression::Expression;
    use super::super::zone::Zone;
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 500_000_000).expect("a time")
    }

    #[test]
    fn first_run_comes_one_interval_after_the_anchor() {
        let expression = Expression::parse("every 1h30m").expect("an interval");
        let runs: Vec<i64> = expression
            .after(Zone::UTC, at(0), at(0))
            .take(3)
            .map(|run| run.timestamp())
            .collect();
        assert_eq!(runs, [5_400, 10_800, 16_200]);
        let early = expression.after(Zone::UTC, at(-100_000), at(0)).next();
        assert_eq!(early.map(|run| run.timestamp()), Some(5_400));
        let resumed = expression.after(Zone::UTC, at(10_799), at(0)).next();
        assert_eq!(resumed.map(|run| run.timestamp()), Some(10_800));
    }

    #[test]
    fn runs_before_are_the_runs_after_in_reverse() {
        let expression = Expression::parse("every 7s").expect("an interval");
        for end in 0..40 {
            let mut back: Vec<_> = expression.before(Zone::UTC, at(end), at(0)).collect();
            back.reverse();
            let forth: Vec<_> = expression
                .after(Zone::UTC, at(0), at(0))
                .take_while(|run| *run < at(end))
                .collect();
            assert_eq!(back, forth, "before second {end}.5");
        }
    }

    #[test]
    fn interval_that_is_no_interval_is_refused() {
        for text in [
            "every",
            "every 15",
            "every m",
            "every 5m10m",
            "every 10s5m",
            "every 15 m",
            "every 1.5h",
            "every -5m",
            "every 5µ",
        ] {
            let error = Expression::parse(text).expect_err(text);
            assert_eq!(error.reason, Reason::Interval, "{text}");
        }
        for text in [
            "every 0s",
            "every 0h0m",
            "every 367d",
            "every 99999999999999999999s",
            "every 52w9d",
        ] {
            let error = Expression::parse(text).expect_err(text);
            assert_eq!(error.reason, Reason::IntervalLength, "{text}");
        }
        assert_eq!(Expression::parse("every 1h5x").expect_err("no unit").position, 9);
    }
}
