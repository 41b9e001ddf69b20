//! One English sentence for every expression.
//!
//! croner's own description knows nothing of our rules, calls `30 2,14 * * *` "At minute 30, of
//! hour 2 and 14" and spells steps out as numbers, so the sentence is made here.

mod words;

use self::words::{capitalised, counted, listed, named, numbered, ordinal, spans};
use super::calendar::Calendar;
use super::interval::Interval;
use super::members::{Members, Values};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

pub(super) fn interval(interval: Interval) -> String {
    let mut parts: Vec<String> = interval
        .parts()
        .map(|(count, _, unit)| counted(count, unit))
        .collect();
    if let [only] = parts.as_mut_slice() {
        *only = only.trim_start_matches("1 ").to_owned(); // every week, not every 1 week
    }
    format!(
        "Every {}, counted from the schedule's creation.",
        listed(&parts, "and")
    )
}

pub(super) fn calendar(line: &Calendar) -> String {
    let mut sentence = time(line);
    if let Some(days) = days(line) {
        sentence.push_str(&days);
    }
    if !line.month.is_any() {
        sentence.push_str(", in ");
        sentence.push_str(&months(&line.month));
    }
    sentence.push('.');
    sentence
}

/// When in the day.
fn time(line: &Calendar) -> String {
    if let Some(times) = clock_times(line) {
        return format!("At {times}");
    }
    let sentence = match (seconds(&line.second), minutes(&line.minute)) {
        (None, Minutes::Pace(pace)) => format!("{pace}{}", within_hours(&line.hour)),
        (None, Minutes::At(at)) if at.is_empty() => format!("{}, on the hour", hour_pace(&line.hour)),
        (None, Minutes::At(at)) => format!("{} {at}", hour_pace(&line.hour)),
        (Some(seconds), Minutes::Pace(pace)) if line.minute.is_any() => match seconds {
            Seconds::Pace(seconds) => format!("{seconds}{}", within_hours(&line.hour)),
            Seconds::At(at) => format!("{pace} {at}{}", within_hours(&line.hour)),
        },
        (Some(seconds), Minutes::Pace(pace)) => match seconds {
            Seconds::Pace(seconds) => format!("{pace}, {seconds} of that minute{}", within_hours(&line.hour)),
            Seconds::At(at) => format!("{pace} {at}{}", within_hours(&line.hour)),
        },
        (Some(seconds), Minutes::At(at)) => {
            let at = if at.is_empty() {
                "at minute 0".to_owned()
            } else {
                at
            };
            let seconds = match seconds {
                Seconds::Pace(pace) => format!("{pace} of that minute"),
                Seconds::At(at) => at,
            };
            format!("{} {at}, {seconds}", hour_pace(&line.hour))
        }
    };
    capitalised(&sentence)
}

/// `02:30 and 14:30`, when the times are few enough to be written out.
fn clock_times(line: &Calendar) -> Option<String> {
    const MOST: usize = 8;
    let [hours, minutes, seconds] = [&line.hour, &line.minute, &line.second].map(|field| field.fixed);
    let all_fixed = [&line.hour, &line.minute, &line.second]
        .iter()
        .all(|field| field.starred.is_empty());
    if !all_fixed || seconds.len() != 1 || hours.len() * minutes.len() > MOST {
        return None;
    }
    let second = seconds
        .iter()
        .next()
        .filter(|second| *second > 0)
        .map(|second| format!(":{second:02}"));
    let second = second.unwrap_or_default();
    let times: Vec<String> = hours
        .iter()
        .flat_map(|hour| minutes.iter().map(move |minute| (hour, minute)))
        .map(|(hour, minute)| format!("{hour:02}:{minute:02}{second}"))
        .collect();
    Some(listed(&times, "and"))
}

enum Seconds {
    Pace(String),
    At(String),
}

/// `None` for a line that has no seconds, or writes 0.
fn seconds(field: &Members) -> Option<Seconds> {
    match field.every {
        _ if field.values() == Values::one(0) => None,
        Some(step) => Some(Seconds::Pace(pace(step, 60, "second", "minute"))),
        None => Some(Seconds::At(format!("at {}", numbered("second", field.values())))),
    }
}

enum Minutes {
    Pace(String),
    /// Empty for minute 0, which is "on the hour".
    At(String),
}

fn minutes(field: &Members) -> Minutes {
    match field.every {
        Some(step) => Minutes::Pace(pace(step, 60, "minute", "hour")),
        None if field.values() == Values::one(0) => Minutes::At(String::new()),
        None => Minutes::At(format!("at {}", numbered("minute", field.values()))),
    }
}

/// `every 15 minutes`; a step that does not divide its field starts afresh, and says so.
fn pace(step: u8, of: u8, unit: &str, larger: &str) -> String {
    match step {
        1 => format!("every {unit}"),
        step if of.is_multiple_of(step) => format!("every {step} {unit}s"),
        step => format!("every {step} {unit}s from the start of each {larger}"),
    }
}

/// The hours as the pace of something that happens once or a few times in each.
fn hour_pace(field: &Members) -> String {
    match field.every {
        Some(step) => pace(step, 24, "hour", "day"),
        None => format!("in {}", numbered("hour", field.values())),
    }
}

/// The hours as bounds of something that goes on within them.
fn within_hours(field: &Members) -> String {
    match field.every {
        Some(1) => String::new(),
        Some(step) => format!(" of every {} hour", ordinal(step)),
        None => {
            let spans: Vec<String> = spans(field.values())
                .map(|(from, to)| format!("{from:02}:00 to {to:02}:59"))
                .collect();
            format!(" from {}", listed(&spans, "and from"))
        }
    }
}

/// Which days; `None` for all of them.
fn days(line: &Calendar) -> Option<String> {
    let [day, weekday] = [dates(&line.day), weekdays(&line.weekday)];
    match (line.day.is_any(), line.weekday.is_any()) {
        (true, true) => None,
        (false, true) => Some(format!(" on {day}")),
        (true, false) if weekday.contains(" to ") => Some(format!(", {weekday}")),
        (true, false) => Some(format!(" on {weekday}")),
        (false, false) if line.day.begins_with_star || line.weekday.begins_with_star => {
            Some(format!(" on {day} when that is also {weekday}"))
        }
        (false, false) => Some(format!(" on {day} or on {weekday}")),
    }
}

fn dates(field: &Members) -> String {
    if let Some(step) = field.every {
        return format!("every {} day of the month from the 1st", ordinal(step));
    }
    let mut parts = Vec::new();
    if !field.values().is_empty() {
        parts.push(format!("{} of the month", numbered("day", field.values())));
    }
    parts.extend(
        field
            .nearest_workday
            .iter()
            .map(|day| format!("the weekday nearest the {}", ordinal(day))),
    );
    parts.extend(field.last.then(|| "the last day of the month".to_owned()));
    parts.extend(
        field
            .last_workday
            .then(|| "the last weekday of the month".to_owned()),
    );
    listed(&parts, "and")
}

fn weekdays(field: &Members) -> String {
    let name = |day: u8| WEEKDAYS[usize::from(day) % 7];
    let mut parts = named(field.values().with_sunday_after_saturday(), name);
    for (days, count) in field.nth.iter().zip(1..) {
        parts.extend(
            days.iter()
                .map(|day| format!("the {} {} of the month", ordinal(count), name(day))),
        );
    }
    parts.extend(
        field
            .last_of
            .iter()
            .map(|day| format!("the last {} of the month", name(day))),
    );
    listed(&parts, "and")
}

fn months(field: &Members) -> String {
    listed(
        &named(field.values(), |month| {
            MONTHS[usize::from(month.saturating_sub(1)) % 12]
        }),
        "and",
    )
}

#[cfg(test)]
mod tests {
    use super::super::expression::Expression;

    fn described(line: &str) -> String {
        Expression::parse(line).expect(line).describe()
    }

    #[test]
    fn times_few_enough_are_written_out() {
        assert_eq!(described("30 2,14 * * *"), "At 02:30 and 14:30.");
        assert_eq!(described("30 0 9 * * *"), "At 09:00:30.");
        assert_eq!(described("@daily"), "At 00:00.");
        assert_eq!(
            described("0,10,20 1-20 * * *"),
            "In hours 1 to 20 at minutes 0, 10 and 20."
        );
    }

    #[test]
    fn steps_are_paces() {
        assert_eq!(described("* * * * *"), "Every minute.");
        assert_eq!(described("*/10 * * * * *"), "Every 10 seconds.");
        assert_eq!(
            described("*/7 * * * *"),
            "Every 7 minutes from the start of each hour."
        );
        assert_eq!(described("0 */2 * * *"), "Every 2 hours, on the hour.");
        assert_eq!(described("@hourly"), "Every hour, on the hour.");
        assert_eq!(described("0,30 * * * *"), "Every hour at minutes 0 and 30.");
        assert_eq!(
            described("*/15 9-17 * * MON-FRI"),
            "Every 15 minutes from 09:00 to 17:59, Monday to Friday."
        );
        assert_eq!(described("* */2 * * *"), "Every minute of every 2nd hour.");
        assert_eq!(
            described("* 0 * * * *"),
            "Every hour at minute 0, every second of that minute."
        );
    }

    #[test]
    fn days_are_named_as_they_are_spoken() {
        assert_eq!(
            described("0 9 1,15 * *"),
            "At 09:00 on days 1 and 15 of the month."
        );
        assert_eq!(described("0 0 L * *"), "At 00:00 on the last day of the month.");
        assert_eq!(
            described("0 0 15W * *"),
            "At 00:00 on the weekday nearest the 15th."
        );
        assert_eq!(
            described("0 0 * * 5L"),
            "At 00:00 on the last Friday of the month."
        );
        assert_eq!(
            described("0 0 * * 5#2"),
            "At 00:00 on the 2nd Friday of the month."
        );
        assert_eq!(described("0 0 * * SAT-SUN"), "At 00:00 on Saturday and Sunday.");
        assert_eq!(
            described("0 0 * 1-3,6 SUN-TUE"),
            "At 00:00, Sunday to Tuesday, in January to March and June."
        );
    }

    #[test]
    fn two_day_fields_say_how_they_combine() {
        assert_eq!(
            described("0 0 13 * 5"),
            "At 00:00 on day 13 of the month or on Friday."
        );
        assert_eq!(
            described("0 0 */2 * MON"),
            "At 00:00 on every 2nd day of the month from the 1st when that is also Monday."
        );
    }

    #[test]
    fn intervals_name_their_anchor() {
        assert_eq!(
            described("every 15m"),
            "Every 15 minutes, counted from the schedule's creation."
        );
        assert_eq!(
            described("every 1w"),
            "Every week, counted from the schedule's creation."
        );
        assert_eq!(
            described("every 90m"),
            "Every 1 hour and 30 minutes, counted from the schedule's creation."
        );
    }
}
