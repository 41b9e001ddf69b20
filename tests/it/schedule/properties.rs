//! What holds for every expression, zone and moment.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};
use orchestrator::domain::schedule::{Expression, Zone};
use proptest::prelude::*;

use super::oracle::Oracle;

fn field(min: u32, max: u32) -> impl Strategy<Value = String> {
    let value = min..=max;
    let single = value.clone().prop_map(|value| value.to_string());
    let range =
        (value.clone(), value).prop_map(|(one, other)| format!("{}-{}", one.min(other), one.max(other)));
    let stepped = (range.clone(), 1..=max).prop_map(|(range, step)| format!("{range}/{step}"));
    let star = Just("*".to_owned());
    let every = (1..=max).prop_map(|step| format!("*/{step}"));
    let item = prop_oneof![3 => single, 1 => range, 1 => stepped, 1 => every.clone()];
    prop_oneof![3 => star, 2 => every, 5 => prop::collection::vec(item, 1..4).prop_map(|items| items.join(","))]
}

fn day() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => Just("*".to_owned()),
        4 => field(1, 31),
        1 => Just("L".to_owned()),
        1 => Just("LW".to_owned()),
        1 => (1..=31).prop_map(|day| format!("{day}W")),
    ]
}

fn weekday() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => Just("*".to_owned()),
        4 => field(0, 6),
        1 => (0..=6).prop_map(|day| format!("{day}L")),
        1 => (0..=6, 1..=5).prop_map(|(day, nth)| format!("{day}#{nth}")),
    ]
}

/// Lines of five or six fields; seconds are few, to keep the oracle's work bounded.
fn line() -> impl Strategy<Value = String> {
    let second = prop_oneof![
        6 => Just(String::new()),
        1 => (0..60).prop_map(|second| format!("{second} ")),
        1 => Just("*/20 ".to_owned()),
        1 => Just("0,30 ".to_owned()),
    ];
    let month = prop_oneof![4 => Just("*".to_owned()), 1 => field(1, 12)];
    (second, field(0, 59), field(0, 23), day(), month, weekday()).prop_map(
        |(second, minute, hour, day, month, weekday)| {
            format!("{second}{minute} {hour} {day} {month} {weekday}")
        },
    )
}

fn zone() -> impl Strategy<Value = Tz> {
    prop::sample::select(TZ_VARIANTS.as_slice())
}

/// A moment from 1971 to 2037, half of the time on a day on which the zone's clocks change.
fn moment(zone: Tz) -> impl Strategy<Value = DateTime<Utc>> {
    let any = (31_536_000_i64..2_114_380_800)
        .prop_map(|second| DateTime::from_timestamp(second, 0).expect("a time"));
    (any, any_bool()).prop_map(move |(moment, near)| if near { change_after(zone, moment) } else { moment })
}

fn any_bool() -> impl Strategy<Value = bool> {
    prop::bool::ANY
}

fn change_after(zone: Tz, moment: DateTime<Utc>) -> DateTime<Utc> {
    let ahead = |at: DateTime<Utc>| at.with_timezone(&zone).naive_local() - at.naive_utc();
    let days = (0..400).map(|day| moment + TimeDelta::days(day));
    days.into_iter()
        .find(|day| ahead(*day) != ahead(*day + TimeDelta::days(1)))
        .unwrap_or(moment)
}

fn case() -> impl Strategy<Value = (String, Tz, DateTime<Utc>)> {
    (line(), zone()).prop_flat_map(|(line, zone)| (Just(line), Just(zone), moment(zone)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_line_in_any_zone_agrees_with_the_oracle((line, zone, from) in case()) {
        // A date that never comes is refused; the oracle finds nothing for it in any case.
        let Ok(expression) = Expression::parse(&line) else { return Ok(()) };
        let until = from + TimeDelta::days(3);
        let expected = Oracle::new(&line).between(zone, from, until);
        let named = Zone::parse(zone.name()).expect("a zone");
        let found: Vec<_> = expression.after(named, from, from).take_while(|at| *at < until).collect();
        prop_assert_eq!(&found, &expected);
        let mut back: Vec<_> = expression.before(named, until, from).take_while(|at| *at > from).collect();
        back.reverse();
        prop_assert_eq!(&back, &expected);
    }

    #[test]
    fn search_resumed_at_any_run_goes_on_with_the_next((line, zone, from) in case()) {
        let Ok(expression) = Expression::parse(&line) else { return Ok(()) };
        let zone = Zone::parse(zone.name()).expect("a zone");
        let runs: Vec<_> = expression.after(zone, from, from).take(40).collect();
        let mut resumed = vec![];
        let mut at = from;
        while resumed.len() < runs.len() {
            at = expression.after(zone, at, from).next().expect("a run");
            resumed.push(at);
        }
        prop_assert_eq!(runs, resumed);
    }

    #[test]
    fn runs_rise_and_never_repeat((line, zone, from) in case()) {
        let Ok(expression) = Expression::parse(&line) else { return Ok(()) };
        let zone = Zone::parse(zone.name()).expect("a zone");
        let runs: Vec<_> = expression.after(zone, from, from).take(60).collect();
        prop_assert!(runs.first().is_none_or(|first| *first > from));
        prop_assert!(runs.is_sorted_by(|one, other| one < other));
    }

    #[test]
    fn normalised_text_means_the_same(line in line(), spaces in "[ \t]{1,3}") {
        let Ok(expression) = Expression::parse(&line) else { return Ok(()) };
        let stretched = Expression::parse(&format!("{spaces}{}{spaces}", line.replace(' ', &spaces)));
        prop_assert_eq!(stretched.as_ref(), Ok(&expression));
        prop_assert_eq!(Expression::parse(expression.as_str()), Ok(expression));
    }

    #[test]
    fn every_line_is_one_sentence(line in line()) {
        let Ok(expression) = Expression::parse(&line) else { return Ok(()) };
        let sentence = expression.describe();
        prop_assert!(sentence.starts_with(|first: char| first.is_uppercase()), "{}", sentence);
        prop_assert_eq!(sentence.find('.'), Some(sentence.len() - 1), "{}", sentence);
        prop_assert!(!sentence.contains("  ") && !sentence.contains(" ,"), "{}", sentence);
    }

    #[test]
    fn any_text_is_read_or_refused_at_a_place_in_it(text in "\\PC{0,60}|[-0-9*/,#LWA-Z@ \t?]{0,40}") {
        if let Err(error) = Expression::parse(&text) {
            prop_assert!(error.position >= 1 && error.position <= text.chars().count() + 1);
        }
    }
}

proptest! {
    // Each is compared with the name of every zone, to say which may have been meant.
    #![proptest_config(ProptestConfig { cases: 50, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_a_zone_or_refused(text in "\\PC{0,60}") {
        let _ = Zone::parse(&text);
    }
}
