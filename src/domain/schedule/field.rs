//! One field of a cron line: numbers, names, ranges, steps, lists and the modifiers of days.

use std::fmt;

use super::error::{Fault, Reason, excerpt};
use super::members::{Members, Values};

/// A field of a cron line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// 0–59; optional, the first of six.
    Second,
    /// 0–59.
    Minute,
    /// 0–23.
    Hour,
    /// 1–31, `L`, `LW` and `15W`.
    DayOfMonth,
    /// 1–12 or JAN–DEC.
    Month,
    /// 0–7 or SUN–SAT, 0 and 7 both Sunday; `5L` and `5#2`.
    DayOfWeek,
}

const MONTHS: [&str; 12] = [
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

impl Field {
    /// The six fields in the order they are written.
    pub const ALL: [Self; 6] = [
        Self::Second,
        Self::Minute,
        Self::Hour,
        Self::DayOfMonth,
        Self::Month,
        Self::DayOfWeek,
    ];

    /// The smallest and the largest value.
    #[must_use]
    pub fn range(self) -> (u8, u8) {
        match self {
            Self::Second | Self::Minute => (0, 59),
            Self::Hour => (0, 23),
            Self::DayOfMonth => (1, 31),
            Self::Month => (1, 12),
            Self::DayOfWeek => (0, 7),
        }
    }

    fn names(self) -> (&'static [&'static str], u8) {
        match self {
            Self::Month => (&MONTHS, 1),
            Self::DayOfWeek => (&WEEKDAYS, 0),
            _ => (&[], 0),
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Self::Month => "a month: write 1 to 12 or JAN to DEC",
            Self::DayOfWeek => "a weekday: write 0 to 7 or SUN to SAT",
            _ => "a number, `*`, a range such as 1-5, or a step such as */5",
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::DayOfMonth => "day-of-month",
            Self::Month => "month",
            Self::DayOfWeek => "day-of-week",
        })
    }
}

/// Reads `text`, which begins at byte `at` of the expression.
pub(super) fn parse(field: Field, text: &str, at: usize) -> Result<Members, Fault> {
    // No field has more than sixty values; a longer list repeats itself or is a mistake.
    const LONGEST_LIST: usize = 64;
    let found = text.split(',').count();
    if found > LONGEST_LIST {
        return Err(Fault::in_field(
            field,
            at,
            Reason::TooManyItems {
                found,
                max: LONGEST_LIST,
            },
        ));
    }
    let mut members = Members {
        begins_with_star: text.starts_with(['*', '?']),
        ..Members::default()
    };
    let mut start = at;
    for item in text.split(',') {
        Item {
            field,
            text: item,
            at: start,
        }
        .read(&mut members)?;
        start += item.len() + 1;
    }
    if found > 1 {
        members.every = None;
    }
    if members.last && members.last_workday {
        return Err(Fault::in_field(
            field,
            at,
            Reason::Modifier("L and LW cannot stand in one list; make two schedules"),
        ));
    }
    if field == Field::DayOfWeek {
        members.starred = members.starred.fold_sunday();
        members.fixed = members.fixed.fold_sunday();
    }
    Ok(members)
}

/// One entry of a list.
struct Item<'a> {
    field: Field,
    text: &'a str,
    at: usize,
}

impl Item<'_> {
    fn fault(&self, offset: usize, reason: Reason) -> Fault {
        Fault::in_field(self.field, self.at + offset, reason)
    }

    fn read(&self, into: &mut Members) -> Result<(), Fault> {
        if self.text.is_empty() {
            return Err(self.fault(0, Reason::EmptyItem));
        }
        if self.read_modifier(into)? {
            return Ok(());
        }
        let (base, step) = match self.text.split_once('/') {
            Some((base, step)) => (base, Some((self.step(base.len() + 1, step)?, step))),
            None => (self.text, None),
        };
        let every = step.map_or(1, |(step, _)| step);
        let (min, max) = self.field.range();
        if base == "*" || (base == "?" && matches!(self.field, Field::DayOfMonth | Field::DayOfWeek)) {
            // Sunday counts once: a step over the weekdays runs from 0 to 6.
            let last = if self.field == Field::DayOfWeek { 6 } else { max };
            into.starred = into.starred.with(Values::stepped(min, last, every));
            into.every = Some(every);
        } else if let Some((from, to)) = base.split_once('-') {
            let (first, last) = self.range(from, to)?;
            into.fixed = into.fixed.with(Values::stepped(first, last, every));
        } else {
            let value = self.value(0, base)?;
            if let Some((_, step)) = step {
                let reason = Reason::StepOnValue {
                    value: excerpt(base),
                    step: excerpt(step),
                    max,
                };
                return Err(self.fault(0, reason));
            }
            into.fixed = into.fixed.with(Values::one(value));
        }
        Ok(())
    }

    fn range(&self, from: &str, to: &str) -> Result<(u8, u8), Fault> {
        let first = self.value(0, from)?;
        let mut last = self.value(from.len() + 1, to)?;
        if self.field == Field::DayOfWeek && last == 0 && first > 0 {
            last = 7; // SAT-SUN ends on the Sunday after the Saturday
        }
        if first > last {
            return Err(self.fault(
                0,
                Reason::Backwards {
                    from: excerpt(from),
                    to: excerpt(to),
                    min: self.field.range().0,
                    // Sunday is 0 or 7, and once is enough.
                    max: if self.field == Field::DayOfWeek {
                        6
                    } else {
                        self.field.range().1
                    },
                },
            ));
        }
        Ok((first, last))
    }

    fn value(&self, offset: usize, text: &str) -> Result<u8, Fault> {
        let (min, max) = self.field.range();
        let (names, first) = self.field.names();
        if let Some(index) = names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
            return Ok(first + u8::try_from(index).unwrap_or(max));
        }
        if text.is_empty() {
            let expected = self.field.expected();
            return Err(self.fault(offset, Reason::Missing { expected }));
        }
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            let reason = Reason::Unknown {
                text: excerpt(text),
                expected: self.field.expected(),
            };
            return Err(self.fault(offset, reason));
        }
        match text.parse::<u8>() {
            Ok(value) if (min..=max).contains(&value) => Ok(value),
            _ => Err(self.fault(
                offset,
                Reason::OutOfRange {
                    value: excerpt(text),
                    min,
                    max,
                },
            )),
        }
    }

    fn step(&self, offset: usize, text: &str) -> Result<u8, Fault> {
        let (_, max) = self.field.range();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            let reason = Reason::Unknown {
                text: excerpt(text),
                expected: "a step: write a number after the `/`",
            };
            return Err(self.fault(offset, reason));
        }
        match text.parse::<u8>() {
            Ok(0) => Err(self.fault(offset, Reason::ZeroStep)),
            Ok(step) if step <= max => Ok(step),
            _ => Err(self.fault(
                offset,
                Reason::StepTooLarge {
                    step: excerpt(text),
                    max,
                },
            )),
        }
    }

    /// Reads `L`, `LW`, `15W`, `5L` and `5#2`; false when the entry is none of them.
    fn read_modifier(&self, into: &mut Members) -> Result<bool, Fault> {
        let text = self.text.to_ascii_uppercase();
        match self.field {
            Field::DayOfMonth if text == "L" => into.last = true,
            Field::DayOfMonth if text == "LW" => into.last_workday = true,
            Field::DayOfMonth if text.ends_with('W') => {
                let day = self.value(0, &self.text[..text.len() - 1])?;
                into.nearest_workday = into.nearest_workday.with(Values::one(day));
            }
            Field::DayOfWeek if text == "L" => {
                return Err(self.fault(
                    0,
                    Reason::Modifier("L needs its weekday: write 5L for the last Friday"),
                ));
            }
            Field::DayOfWeek if text.ends_with('L') => {
                let day = self.value(0, &self.text[..text.len() - 1])?;
                into.last_of = into.last_of.with(Values::one(day)).fold_sunday();
            }
            Field::DayOfWeek if text.contains('#') => self.read_nth(into)?,
            _ => return self.refuse_stray_modifier(&text).map(|()| false),
        }
        Ok(true)
    }

    fn read_nth(&self, into: &mut Members) -> Result<(), Fault> {
        let (day, nth) = self.text.split_once('#').unwrap_or((self.text, ""));
        let value = self.value(0, day)?;
        let Some(count @ 1..=5) = nth.parse::<usize>().ok() else {
            let reason = Reason::Modifier("write 1 to 5 after the `#`: 5#2 is the second Friday");
            return Err(self.fault(day.len() + 1, reason));
        };
        into.nth[count - 1] = into.nth[count - 1].with(Values::one(value)).fold_sunday();
        Ok(())
    }

    fn refuse_stray_modifier(&self, text: &str) -> Result<(), Fault> {
        let reason = match self.field {
            Field::DayOfMonth if text.starts_with('L') => "after L only W may stand: L or LW",
            Field::DayOfMonth if text.contains('#') => "`#` belongs to the day-of-week field: 5#2",
            Field::DayOfWeek if text.ends_with('W') => "W belongs to the day-of-month field: 15W or LW",
            Field::DayOfMonth | Field::DayOfWeek | Field::Month => return Ok(()),
            _ if text.contains('#') || text.ends_with('L') || text.ends_with('W') => {
                "L, W and # belong to the day fields"
            }
            _ => return Ok(()),
        };
        Err(self.fault(0, Reason::Modifier(reason)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_sunday_are_read_in_every_form() {
        let weekdays = |text: &str| {
            let members = parse(Field::DayOfWeek, text, 0)
                .map_err(|_| text)
                .expect("weekdays");
            members.values().iter().collect::<Vec<_>>()
        };
        assert_eq!(weekdays("sun"), [0]);
        assert_eq!(weekdays("7"), [0]);
        assert_eq!(weekdays("Fri-Sun"), [0, 5, 6]);
        assert_eq!(weekdays("5-7"), [0, 5, 6]);
        assert_eq!(weekdays("SUN-TUE"), [0, 1, 2]);
        assert_eq!(weekdays("0-7"), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(weekdays("*/2"), [0, 2, 4, 6]);
        assert_eq!(weekdays("1-5/2"), [1, 3, 5]);
    }
}
