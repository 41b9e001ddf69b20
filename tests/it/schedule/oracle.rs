//! The rules of `domain::schedule`, implemented again and differently.
//!
//! Slow and plain: every wall-clock time an expression names is written down, day by day, and then
//! looked up in the zone. It shares nothing with the code under test but the zone database: the
//! fields are read here, days are matched here, and changes of clocks are met one wall-clock time
//! at a time instead of one stretch at a time.

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike, MappedLocalTime, NaiveDate, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

/// A value of a field, and whether a `*` or `*/n` selects it.
type Member = (u32, bool);

pub(crate) struct Oracle {
    seconds: Vec<Member>,
    minutes: Vec<Member>,
    hours: Vec<Member>,
    days: String,
    months: Vec<Member>,
    weekdays: String,
}

impl Oracle {
    pub(crate) fn new(line: &str) -> Self {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        if words.len() == 5 {
            words.insert(0, "0");
        }
        Self {
            seconds: members(words[0], 0, 59),
            minutes: members(words[1], 0, 59),
            hours: members(words[2], 0, 23),
            days: words[3].to_owned(),
            months: members(words[4], 1, 12),
            weekdays: words[5].to_owned(),
        }
    }

    /// Every instant in `(from, until)`.
    pub(crate) fn between(&self, zone: Tz, from: DateTime<Utc>, until: DateTime<Utc>) -> Vec<DateTime<Utc>> {
        let mut found = BTreeSet::new();
        // A day more on either side: a zone is up to 14 hours from UTC, and Apia lost a whole day.
        let mut date = from.date_naive() - TimeDelta::days(2);
        while date <= until.date_naive() + TimeDelta::days(1) {
            if self.has_date(date) {
                self.runs_of(date, zone, &mut found);
            }
            date = date.succ_opt().expect("the test's years exist");
        }
        found.into_iter().filter(|at| *at > from && *at < until).collect()
    }

    fn runs_of(&self, date: NaiveDate, zone: Tz, found: &mut BTreeSet<DateTime<Utc>>) {
        for (hour, hour_star) in &self.hours {
            for (minute, minute_star) in &self.minutes {
                for (second, second_star) in &self.seconds {
                    let wall = date.and_hms_opt(*hour, *minute, *second).expect("a time of day");
                    let elapsed = *hour_star || *minute_star || *second_star;
                    found.extend(instants(zone, wall, elapsed));
                }
            }
        }
    }

    fn has_date(&self, date: NaiveDate) -> bool {
        if !self.months.iter().any(|(month, _)| *month == date.month()) {
            return false;
        }
        let day = self.days.split(',').any(|item| match item {
            "L" => (date + TimeDelta::days(1)).day() == 1,
            "LW" => date == last_workday(date),
            item if item.ends_with('W') => {
                let wanted = item[..item.len() - 1].parse().expect("a day");
                nearest_workday(date, wanted) == Some(date)
            }
            item => members(item, 1, 31).iter().any(|(day, _)| *day == date.day()),
        });
        let weekday = self.weekdays.split(',').any(|item| {
            let today = date.weekday().num_days_from_sunday();
            if let Some(wanted) = item.strip_suffix('L') {
                wanted == today.to_string() && (date + TimeDelta::days(7)).month() != date.month()
            } else if let Some((wanted, nth)) = item.split_once('#') {
                wanted == today.to_string() && nth == date.day().div_ceil(7).to_string()
            } else {
                members(item, 0, 7).iter().any(|(day, _)| day % 7 == today)
            }
        });
        if self.days.starts_with('*') || self.weekdays.starts_with('*') {
            day && weekday
        } else {
            day || weekday
        }
    }
}

fn instants(zone: Tz, wall: NaiveDateTime, elapsed: bool) -> Vec<DateTime<Utc>> {
    match zone.from_local_datetime(&wall) {
        MappedLocalTime::Single(at) => vec![at.to_utc()],
        MappedLocalTime::Ambiguous(first, second) if elapsed => vec![first.to_utc(), second.to_utc()],
        MappedLocalTime::Ambiguous(first, _) => vec![first.to_utc()],
        MappedLocalTime::None if elapsed => vec![],
        MappedLocalTime::None => {
            let mut later = wall;
            loop {
                later += TimeDelta::seconds(1);
                if let Some(at) = zone.from_local_datetime(&later).earliest() {
                    return vec![at.to_utc()];
                }
            }
        }
    }
}

fn members(field: &str, min: u32, max: u32) -> Vec<Member> {
    let number = |text: &str| text.parse::<u32>().expect("the oracle reads numbers only");
    let mut members = BTreeSet::new();
    for item in field.split(',') {
        let (base, step) = item
            .split_once('/')
            .map_or((item, 1), |(base, step)| (base, number(step)));
        let (from, to) = match base.split_once('-') {
            Some((from, to)) => (number(from), number(to)),
            None if base == "*" => (min, max),
            None => (number(base), number(base)),
        };
        members.extend(
            (from..=to)
                .filter(|value| (value - from) % step == 0)
                .map(|value| (value, base == "*")),
        );
    }
    members.into_iter().collect()
}

fn is_workday(date: NaiveDate) -> bool {
    date.weekday().num_days_from_monday() < 5
}

fn last_workday(date: NaiveDate) -> NaiveDate {
    let in_month = date.iter_days().take_while(|day| day.month() == date.month());
    let from_first = date
        .with_day(1)
        .expect("a first")
        .iter_days()
        .take_while(|day| day.month() == date.month());
    from_first
        .chain(in_month)
        .filter(|day| is_workday(*day))
        .max()
        .expect("a workday in the month")
}

/// The workday of the month closest to day `wanted`; the earlier of two, and never out of the month.
fn nearest_workday(date: NaiveDate, wanted: i64) -> Option<NaiveDate> {
    let target = date.with_day(u32::try_from(wanted).ok()?)?;
    let month = date
        .with_day(1)?
        .iter_days()
        .take_while(|day| day.month() == date.month());
    month
        .filter(|day| is_workday(*day))
        .min_by_key(|day| (*day - target).num_days().abs())
}
