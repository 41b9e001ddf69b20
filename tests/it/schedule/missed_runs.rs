//! What is decided about runs that are due: on time, late, too many, and with the clock put back.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use chrono::{DateTime, TimeDelta, Utc};
use orchestrator::domain::schedule::{
    DEFAULT_GRACE, Decision, Due, Expression, Jitter, Missed, Timetable, Zone, occurrences,
};
use proptest::prelude::*;
use uuid::Uuid;

fn at(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).expect("RFC 3339").to_utc()
}

fn timetable(expression: &str, missed: Missed) -> Timetable {
    Timetable {
        expression: Expression::parse(expression).expect(expression),
        zone: Zone::UTC,
        anchor: at("2026-01-01T00:00:00Z"),
        starts_at: None,
        ends_at: None,
        missed,
        grace: DEFAULT_GRACE,
        jitter: Jitter::NONE,
    }
}

fn all(bound: u16) -> Missed {
    Missed::All(NonZeroU16::new(bound).expect("a bound"))
}

/// Minutes past ten o'clock and what was decided about each.
fn decided(due: &Due) -> Vec<(i64, &'static str)> {
    let ten = at("2026-05-01T10:00:00Z");
    due.occurrences
        .iter()
        .map(|occurrence| {
            (
                (occurrence.due_at - ten).num_minutes(),
                occurrence.decision.code(),
            )
        })
        .collect()
}

#[test]
fn run_on_time_is_run_under_every_policy() {
    for missed in [Missed::Skip, Missed::Once, all(5)] {
        let due = occurrences(
            &timetable("* * * * *", missed),
            at("2026-05-01T10:00:00Z"),
            at("2026-05-01T10:00:00.8Z"),
        );
        assert_eq!(decided(&due), [(0, "on_time")]);
        assert_eq!(due.next_due_at, Some(at("2026-05-01T10:01:00Z")));
    }
}

#[test]
fn nothing_is_due_before_its_time() {
    let due = occurrences(
        &timetable("* * * * *", Missed::Once),
        at("2026-05-01T10:00:00Z"),
        at("2026-05-01T09:59:59.999999Z"),
    );
    assert_eq!(due.occurrences, []);
    assert_eq!(due.next_due_at, Some(at("2026-05-01T10:00:00Z")));
}

#[test]
fn missed_runs_are_met_by_the_policy() {
    let decide = |missed| {
        // The hourly run of 13:00 is ten minutes late, so every one of them was missed.
        let table = timetable("0 * * * *", missed);
        decided(&occurrences(
            &table,
            at("2026-05-01T10:00:00Z"),
            at("2026-05-01T13:10:00Z"),
        ))
    };
    assert_eq!(
        decide(Missed::Skip),
        [(0, "missed"), (60, "missed"), (120, "missed"), (180, "missed")]
    );
    assert_eq!(
        decide(Missed::Once),
        [
            (0, "missed_made_up"),
            (60, "missed_made_up"),
            (120, "missed_made_up"),
            (180, "late")
        ]
    );
    assert_eq!(
        decide(all(9)),
        [(0, "late"), (60, "late"), (120, "late"), (180, "late")]
    );
    assert_eq!(
        decide(all(2)),
        [
            (0, "missed_beyond_bound"),
            (60, "missed_beyond_bound"),
            (120, "late"),
            (180, "late")
        ]
    );
}

#[test]
fn run_on_time_makes_up_for_the_missed_ones() {
    let table = timetable("0 * * * *", Missed::Once);
    let due = occurrences(&table, at("2026-05-01T10:00:00Z"), at("2026-05-01T12:00:01Z"));
    assert_eq!(
        decided(&due),
        [(0, "missed_made_up"), (60, "missed_made_up"), (120, "on_time")]
    );
}

#[test]
fn ten_days_of_every_second_are_a_bounded_answer() {
    for missed in [Missed::Skip, Missed::Once, all(50)] {
        let table = timetable("* * * * * *", missed);
        let due = occurrences(&table, at("2026-05-01T00:00:00Z"), at("2026-05-11T00:00:00Z"));
        assert!(due.occurrences.len() <= 112, "{}", due.occurrences.len());
        let first = due.occurrences[0];
        assert_eq!(first.due_at, at("2026-05-01T00:00:00Z"));
        let Decision::SkipMany {
            count,
            or_more,
            last_due_at,
        } = first.decision
        else {
            panic!("{first:?} should stand for the rest")
        };
        assert_eq!((count, or_more), (10_000, true));
        assert_eq!(due.occurrences[1].due_at, last_due_at + TimeDelta::seconds(1));
        assert_eq!(due.next_due_at, Some(at("2026-05-11T00:00:01Z")));
    }
}

#[test]
fn one_row_for_the_rest_counts_what_it_stands_for() {
    let table = timetable("*/10 * * * *", Missed::Skip);
    let due = occurrences(&table, at("2026-05-01T00:00:00Z"), at("2026-05-02T00:05:00Z"));
    let [rest, singly @ ..] = due.occurrences.as_slice() else {
        panic!("nothing was due")
    };
    assert_eq!(
        rest.decision,
        Decision::SkipMany {
            last_due_at: at("2026-05-01T19:50:00Z"),
            count: 120,
            or_more: false
        }
    );
    assert_eq!(singly.len(), 25);
    assert!(
        singly
            .iter()
            .all(|occurrence| occurrence.decision == Decision::SkipMissed)
    );
}

#[test]
fn clock_put_back_two_hours_yields_nothing_twice() {
    let table = timetable("*/30 * * * *", Missed::Once);
    let noon = occurrences(&table, at("2026-05-01T12:00:00Z"), at("2026-05-01T12:00:01Z"));
    let next = noon.next_due_at.expect("half past");
    let back = occurrences(&table, next, at("2026-05-01T10:00:01Z"));
    assert_eq!(
        back,
        Due {
            occurrences: vec![],
            next_due_at: Some(next),
            next_fire_at: Some(next)
        }
    );
}

#[test]
fn nothing_is_due_outside_the_start_and_end_dates() {
    let mut table = timetable("0 * * * *", all(100));
    table.starts_at = Some(at("2026-05-01T11:00:00Z"));
    table.ends_at = Some(at("2026-05-01T13:00:00Z"));
    assert_eq!(
        table.next_after(at("2026-01-01T00:00:00Z")),
        Some(at("2026-05-01T11:00:00Z"))
    );
    assert_eq!(table.next_after(at("2026-05-01T12:00:00Z")), None);
    let due = occurrences(&table, at("2026-05-01T09:00:00Z"), at("2026-05-01T23:30:00Z"));
    assert_eq!(decided(&due), [(60, "late"), (120, "late")]);
    assert_eq!((due.next_due_at, due.next_fire_at), (None, None));
}

#[test]
fn jitter_delays_the_release_and_not_the_occurrence() {
    let mut table = timetable("0 * * * *", Missed::Skip);
    table.jitter = Jitter::of(Uuid::from_u128(42), TimeDelta::minutes(10));
    let delay = table.jitter.delay();
    assert!(delay > TimeDelta::seconds(1), "the test needs a delay");
    let ten = at("2026-05-01T10:00:00Z");
    let early = occurrences(&table, ten, ten + delay - TimeDelta::milliseconds(1));
    assert_eq!(
        (early.occurrences.len(), early.next_fire_at),
        (0, Some(ten + delay))
    );
    let due = occurrences(&table, ten, ten + delay);
    assert_eq!(decided(&due), [(0, "on_time")]);
    assert_eq!(due.occurrences[0].fire_at, ten + delay);
    assert_eq!(due.next_due_at, Some(at("2026-05-01T11:00:00Z")));
    assert_eq!(due.next_fire_at, Some(at("2026-05-01T11:00:00Z") + delay));
}

#[test]
fn what_was_missed_while_paused_is_passed_over_unless_asked_for() {
    let table = timetable("0 * * * *", Missed::Once);
    let (stood, now) = (at("2026-05-01T10:00:00Z"), at("2026-05-03T08:30:00Z"));
    assert_eq!(table.resume(stood, now, false), Some(at("2026-05-03T09:00:00Z")));
    assert_eq!(table.resume(stood, now, true), Some(stood));
    // Paused and resumed with the clock put back: what was decided stays decided.
    assert_eq!(
        table.resume(stood, at("2026-05-01T08:30:00Z"), false),
        Some(stood)
    );
}

#[test]
fn changed_expression_needs_no_due_instant_of_its_own() {
    let table = timetable("30 * * * *", Missed::Once);
    let due = occurrences(&table, at("2026-05-01T10:00:00Z"), at("2026-05-01T10:00:05Z"));
    assert_eq!(due.occurrences, []);
    assert_eq!(due.next_due_at, Some(at("2026-05-01T10:30:00Z")));
}

/// Steps of the scheduler's clock in seconds: mostly small, at times hours or days either way.
fn steps() -> impl Strategy<Value = Vec<i64>> {
    let step = prop_oneof![8 => 0_i64..120, 2 => -7_200_i64..7_200, 1 => -200_000_i64..400_000];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_instant_is_decided_exactly_once_whatever_the_clock_does(
        steps in steps(),
        line in prop::sample::select(vec!["*/5 * * * *", "30 2 * * *", "*/15 2 * * *", "0,30 1-3 * * *", "every 7m"]),
        missed in prop::sample::select(vec![Missed::Skip, Missed::Once, all(3), all(1000)]),
        jitter in 0_i64..600,
    ) {
        let mut table = timetable(line, missed);
        table.zone = Zone::parse("Europe/Berlin").expect("a zone");
        table.jitter = Jitter::of(Uuid::from_u128(9), TimeDelta::seconds(jitter));
        let start = at("2026-03-28T23:00:00Z");
        let mut next = table.next_after(start).expect("a run");
        let (mut now, mut latest, mut decided) = (start, start, BTreeMap::new());
        for step in steps {
            now += TimeDelta::seconds(step);
            latest = latest.max(now);
            let due = occurrences(&table, next, now);
            for occurrence in due.occurrences {
                prop_assert!(occurrence.fire_at <= now);
                // A row for many stands for each of them.
                let last = match occurrence.decision {
                    Decision::SkipMany { last_due_at, .. } => last_due_at,
                    _ => occurrence.due_at,
                };
                let covered = table.expression.after(table.zone, occurrence.due_at - TimeDelta::seconds(1), table.anchor);
                for instant in covered.take_while(|instant| *instant <= last) {
                    prop_assert_eq!(decided.insert(instant, occurrence.decision), None, "{} decided twice", instant);
                }
            }
            let following = due.next_due_at.expect("no end");
            prop_assert!(following >= next);
            next = following;
        }
        let expected: Vec<_> = table
            .expression
            .after(table.zone, start, table.anchor)
            .take_while(|due| *due + table.jitter.delay() <= latest)
            .collect();
        prop_assert_eq!(decided.into_keys().collect::<Vec<_>>(), expected);
    }
}
