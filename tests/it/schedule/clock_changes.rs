//! A year of six zones, and the changes of clocks by name. Ten years are for the slow tests.

use chrono::{DateTime, TimeDelta, Utc};
use orchestrator::domain::schedule::{Expression, Zone};

use super::comparison::{fixed_times, frequent_times_around_changes};

fn instant(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).expect("RFC 3339").to_utc()
}

/// From before a spring to behind the next, with a leap day and with the day that Apia left out.
fn year() -> (DateTime<Utc>, DateTime<Utc>) {
    (instant("2011-03-01T00:00:00Z"), instant("2012-04-15T00:00:00Z"))
}

#[test]
fn fixed_times_agree_with_the_oracle_for_a_year() {
    let (from, until) = year();
    fixed_times(from, until);
}

#[test]
fn frequent_times_agree_with_the_oracle_around_every_change_of_clocks() {
    let (from, until) = year();
    let changes = frequent_times_around_changes(from, until);
    assert_eq!(changes, 3 * 3 + 4, "every change of that year was met");
}

/// The runs of a day and the following ones, as the zone's clocks show them.
fn shown(line: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
    let expression = Expression::parse(line).expect(line);
    let zone = Zone::parse(zone).expect("a zone");
    let from = instant(from) - TimeDelta::seconds(1);
    expression
        .after(zone, from, from)
        .take(count)
        .map(|at| zone.local(at).to_rfc3339())
        .collect()
}

#[test]
fn fixed_time_in_the_spring_gap_runs_once_right_after_it() {
    let spring = |line| shown(line, "Europe/Berlin", "2026-03-29T00:00:00+01:00", 2);
    assert_eq!(
        spring("30 2 * * *"),
        ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]
    );
    assert_eq!(
        spring("0,30 2 * * *"),
        ["2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"]
    );
    assert_eq!(
        spring("0 2,3 * * *"),
        ["2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"]
    );
    assert_eq!(
        spring("30 2,14 * * *"),
        ["2026-03-29T03:00:00+02:00", "2026-03-29T14:30:00+02:00"]
    );
}

#[test]
fn fixed_time_in_the_autumn_overlap_runs_once_the_first_time() {
    let autumn = |line| shown(line, "Europe/Berlin", "2026-10-25T00:00:00+02:00", 3);
    assert_eq!(
        autumn("30 2 * * *"),
        [
            "2026-10-25T02:30:00+02:00",
            "2026-10-26T02:30:00+01:00",
            "2026-10-27T02:30:00+01:00"
        ]
    );
    assert_eq!(
        autumn("30 2,14 * * *"),
        [
            "2026-10-25T02:30:00+02:00",
            "2026-10-25T14:30:00+01:00",
            "2026-10-26T02:30:00+01:00"
        ]
    );
}

#[test]
fn stars_and_steps_follow_elapsed_time() {
    assert_eq!(
        shown("*/30 * * * *", "Europe/Berlin", "2026-10-25T02:00:00+02:00", 5),
        [
            "2026-10-25T02:00:00+02:00",
            "2026-10-25T02:30:00+02:00",
            "2026-10-25T02:00:00+01:00",
            "2026-10-25T02:30:00+01:00",
            "2026-10-25T03:00:00+01:00"
        ]
    );
    assert_eq!(
        shown("*/15 2 * * *", "Europe/Berlin", "2026-03-29T00:00:00+01:00", 1),
        ["2026-03-30T02:00:00+02:00"]
    );
}

#[test]
fn half_hour_shift_moves_only_what_falls_into_it() {
    // Lord Howe: 02:00 becomes 02:30 in October, 02:00 becomes 01:30 in April.
    let spring = |line| shown(line, "Australia/Lord_Howe", "2026-10-04T00:00:00+10:30", 1);
    assert_eq!(spring("15 2 * * *"), ["2026-10-04T02:30:00+11:00"]);
    assert_eq!(spring("45 2 * * *"), ["2026-10-04T02:45:00+11:00"]);
    assert_eq!(
        shown(
            "45 1 * * *",
            "Australia/Lord_Howe",
            "2026-04-05T00:00:00+11:00",
            2
        ),
        ["2026-04-05T01:45:00+11:00", "2026-04-06T01:45:00+10:30"]
    );
}

#[test]
fn day_that_never_was_runs_its_fixed_times_once_when_the_next_begins() {
    let apia = |line, count| shown(line, "Pacific/Apia", "2011-12-29T10:00:00-10:00", count);
    assert_eq!(
        apia("30 2 * * *", 3),
        [
            "2011-12-31T00:00:00+14:00",
            "2011-12-31T02:30:00+14:00",
            "2012-01-01T02:30:00+14:00"
        ]
    );
    assert_eq!(
        apia("30 10 30 12 *", 2),
        ["2011-12-31T00:00:00+14:00", "2012-12-30T10:30:00+14:00"]
    );
    assert_eq!(
        apia("0 */12 * * *", 3),
        [
            "2011-12-29T12:00:00-10:00",
            "2011-12-31T00:00:00+14:00",
            "2011-12-31T12:00:00+14:00"
        ]
    );
}

#[test]
fn gap_that_ends_at_midnight_does_not_lose_the_day_before() {
    // Nuuk, 2024-03-30: 23:00 on Saturday becomes 00:00 on Sunday.
    assert_eq!(
        shown("30 23 * * 6", "America/Nuuk", "2024-03-30T12:00:00-02:00", 1),
        ["2024-03-31T00:00:00-01:00"]
    );
}

/// The runs of one day in Berlin, as its clocks show them: `+` for summer time, `-` for winter time.
fn day(line: &str, date: &str) -> String {
    let zone = Zone::parse("Europe/Berlin").expect("a zone");
    let date = date.parse().expect("a date");
    let from = instant("2026-01-01T00:00:00Z");
    let expression = Expression::parse(line).expect(line);
    let runs = expression.after(zone, from, from).map(|at| zone.local(at));
    let runs = runs
        .skip_while(|at| at.date_naive() < date)
        .take_while(|at| at.date_naive() == date);
    let shown = |at: DateTime<chrono::FixedOffset>| {
        let season = if at.offset().local_minus_utc() == 7_200 {
            '+'
        } else {
            '-'
        };
        format!("{}{season}", at.format("%H:%M"))
    };
    runs.map(shown).collect::<Vec<_>>().join(" ")
}

#[test]
fn table_in_the_documentation_is_what_happens() {
    let table = [
        ("30 2 * * *", "03:00+", "02:30+"),
        ("0,30 2 * * *", "03:00+", "02:00+ 02:30+"),
        ("30 2,14 * * *", "03:00+ 14:30+", "02:30+ 14:30-"),
        ("0 2,3 * * *", "03:00+", "02:00+ 03:00-"),
        ("0 1-3 * * *", "01:00- 03:00+", "01:00+ 02:00+ 03:00-"),
        ("0-59/15 2 * * *", "03:00+", "02:00+ 02:15+ 02:30+ 02:45+"),
        (
            "*/15 2 * * *",
            "",
            "02:00+ 02:15+ 02:30+ 02:45+ 02:00- 02:15- 02:30- 02:45-",
        ),
        (
            "*/30 1-3 * * *",
            "01:00- 01:30- 03:00+ 03:30+",
            "01:00+ 01:30+ 02:00+ 02:30+ 02:00- 02:30- 03:00- 03:30-",
        ),
        (
            "*/20,7 2 * * *",
            "03:00+",
            "02:00+ 02:07+ 02:20+ 02:40+ 02:00- 02:20- 02:40-",
        ),
    ];
    for (line, spring, autumn) in table {
        assert_eq!(day(line, "2026-03-29"), spring, "{line} in spring");
        assert_eq!(day(line, "2026-10-25"), autumn, "{line} in autumn");
    }
    let starts = |line, date, expected: &str| {
        assert!(
            day(line, date).starts_with(expected),
            "{line} on {date}: {}",
            day(line, date)
        );
    };
    starts("5 * * * *", "2026-03-29", "00:05- 01:05- 03:05+");
    starts("5 * * * *", "2026-10-25", "00:05+ 01:05+ 02:05+ 02:05- 03:05-");
    starts("*/30 * * * *", "2026-03-29", "00:00- 00:30- 01:00- 01:30- 03:00+");
    starts("0 */2 * * *", "2026-03-29", "00:00- 04:00+");
    starts("0 */2 * * *", "2026-10-25", "00:00+ 02:00+ 02:00- 04:00-");
}
