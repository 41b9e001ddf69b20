//! A cron line: which wall-clock times it names, whatever the time zone.
//!
//! croner searches the calendar, on wall-clock time without a zone. It never sees the author's
//! text: every field is read and checked here first and handed on as plain numbers, because
//! croner lets through what we refuse (`1,,2`, a seventh field, a month `L` that never comes) and
//! says too little about what it refuses.

use chrono::{Datelike, NaiveDate, NaiveDateTime, Timelike};
use croner::Cron;

use super::error::{Fault, Reason};
use super::field::{self, Field};
use super::members::{Members, Values};

/// The last year a run is looked for in; a search ends there.
pub(super) const LAST_YEAR: i32 = 2999;

/// A cron line that was understood.
#[derive(Debug, Clone)]
pub(super) struct Calendar {
    pub(super) second: Members,
    pub(super) minute: Members,
    pub(super) hour: Members,
    pub(super) day: Members,
    pub(super) month: Members,
    pub(super) weekday: Members,
    cron: Cron,
}

/// A word of the expression and the byte it begins at.
pub(super) type Word<'a> = (usize, &'a str);

impl Calendar {
    /// Reads five or six fields.
    pub(super) fn parse(words: &[Word<'_>]) -> Result<Self, Fault> {
        let with_seconds = words.len() == 6;
        if !with_seconds && words.len() != 5 {
            let at = words.get(6).or(words.last()).map_or(0, |(at, _)| *at);
            return Err(Fault::whole(at, Reason::FieldCount { found: words.len() }));
        }
        let mut words = words.iter();
        let mut read = |field| {
            words
                .next()
                .map_or(Ok(zero()), |(at, text)| field::parse(field, text, *at))
        };
        let second = if with_seconds {
            read(Field::Second)?
        } else {
            zero()
        };
        let [minute, hour] = [read(Field::Minute)?, read(Field::Hour)?];
        let [day, month, weekday] = [
            read(Field::DayOfMonth)?,
            read(Field::Month)?,
            read(Field::DayOfWeek)?,
        ];
        let line = plain_line([&second, &minute, &hour, &day, &month, &weekday]);
        let cron = line
            .parse()
            .map_err(|error: croner::errors::CronError| Fault::whole(0, Reason::Engine(error.to_string())))?;
        Ok(Self {
            second,
            minute,
            hour,
            day,
            month,
            weekday,
            cron,
        })
    }

    /// The first time the line names after `wall`.
    pub(super) fn following(&self, wall: NaiveDateTime) -> Option<NaiveDateTime> {
        // Past its own limit croner would go on year by year for a very long time.
        let found = self.cron.find_next_occurrence(&wall, false).ok()?;
        (found.year() <= LAST_YEAR).then_some(found)
    }

    /// The last time the line names before `wall`.
    pub(super) fn preceding(&self, wall: NaiveDateTime) -> Option<NaiveDateTime> {
        self.cron.find_previous_occurrence(&wall, false).ok()
    }

    /// Of a time the line names: whether a `*` or `*/n` in the time of day is what selects it.
    pub(super) fn is_elapsed(&self, wall: NaiveDateTime) -> bool {
        self.hour.starred.has(wall.hour())
            || self.minute.starred.has(wall.minute())
            || self.second.starred.has(wall.second())
    }

    /// Of a time the line names: whether hour, minute and second are all written out.
    pub(super) fn is_fixed(&self, wall: NaiveDateTime) -> bool {
        self.hour.fixed.has(wall.hour())
            && self.minute.fixed.has(wall.minute())
            && self.second.fixed.has(wall.second())
    }

    /// Whether any time of the line can be fixed.
    pub(super) fn has_fixed(&self) -> bool {
        [&self.hour, &self.minute, &self.second]
            .iter()
            .all(|field| !field.fixed.is_empty())
    }

    /// Whether there is any date the line names.
    ///
    /// 2000 to 2027 hold every pairing of a date, leap years included, with a weekday, so what
    /// does not come in them never comes.
    pub(super) fn ever_comes(&self) -> bool {
        let time = |values: Values| values.iter().next().map(u32::from);
        let (Some(hour), Some(minute), Some(second)) = (
            time(self.hour.values()),
            time(self.minute.values()),
            time(self.second.values()),
        ) else {
            return false;
        };
        NaiveDate::from_ymd_opt(2000, 1, 1)
            .into_iter()
            .flat_map(|first| first.iter_days())
            .take_while(|date| date.year() < 2028)
            .filter(|date| self.month.values().has(date.month()))
            .filter_map(|date| date.and_hms_opt(hour, minute, second))
            .any(|wall| self.cron.is_time_matching(&wall).unwrap_or(false))
    }
}

/// The second of a line that has no field for it.
fn zero() -> Members {
    Members {
        fixed: Values::one(0),
        ..Members::default()
    }
}

/// The line as croner is given it: numbers only, six fields.
fn plain_line(fields: [&Members; 6]) -> String {
    let [_, _, _, day, _, weekday] = fields;
    let mut words = fields.map(plain_field);
    // Vixie cron: the two day fields are alternatives unless one begins with `*`; then both must
    // match. croner knows only the lone `*` by itself and takes `+` for the rest.
    let either_begins_with_star = day.begins_with_star || weekday.begins_with_star;
    if either_begins_with_star && !day.is_any() && !weekday.is_any() {
        words[5].insert(0, '+');
    }
    words.join(" ")
}

fn plain_field(members: &Members) -> String {
    if members.is_any() {
        return "*".to_owned();
    }
    let mut items: Vec<String> = members.values().iter().map(|value| value.to_string()).collect();
    items.extend(members.last.then(|| "L".to_owned()));
    items.extend(members.last_workday.then(|| "LW".to_owned()));
    items.extend(members.nearest_workday.iter().map(|day| format!("{day}W")));
    items.extend(members.last_of.iter().map(|day| format!("{day}L")));
    for (days, count) in members.nth.iter().zip(1..) {
        items.extend(days.iter().map(|day| format!("{day}#{count}")));
    }
    items.join(",")
}
