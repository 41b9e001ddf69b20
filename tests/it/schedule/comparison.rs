//! Every kind of expression beside the oracle, for as long as is asked for: the fast tests ask for a year, the slow ones for ten.

use chrono::{DateTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use orchestrator::domain::schedule::{Expression, Zone};

use super::oracle::Oracle;

/// The first has a shift of an hour at 02:00; the second the same in the other half of the year's
/// calendar; Lord Howe shifts by half an hour; Kathmandu is 45 minutes off and never shifts; Apia
/// went from 29 to 31 December 2011.
pub(crate) const ZONES: [Tz; 6] = [
    chrono_tz::Europe::Berlin,
    chrono_tz::America::New_York,
    chrono_tz::Australia::Lord_Howe,
    chrono_tz::Asia::Kathmandu,
    chrono_tz::Pacific::Apia,
    chrono_tz::UTC,
];

/// A few runs a day at most: compared over all of the time.
const SPARSE: [&str; 27] = [
    "30 2 * * *",
    "0 2 * * *",
    "0 3 * * *",
    "0 0 * * *",
    "59 23 * * *",
    "0,30 2 * * *",
    "30 2,14 * * *",
    "15 1-3 * * *",
    "0 2,3 * * *",
    "0 */6 * * *",
    "0 0 * * 0",
    "30 2 * * 7",
    "30 2 L * *",
    "0 12 15W * *",
    "0 3 LW * *",
    "15 2 * * 0L",
    "45 1 * * 0#2",
    "0 0 13 * 5",
    "0 9 */2 * 1",
    "0 0 29 2 *",
    "30 10 30 12 *",
    "30 30 2 * 3,10 0",
    // Once a year, on the very day: the search must not step over the summer.
    "30 2 * 10 0L",
    "30 2 * 3 0L",
    "*/30 2 * 10 0L",
    "*/30 1 * 11 0#1",
    "45 1 * 4 0#1",
];

/// Many runs a day: compared for the days around every change of clocks.
const DENSE: [&str; 14] = [
    "* * * * *",
    "*/15 * * * *",
    "*/7 * * * *",
    "5 * * * *",
    "0 * * * *",
    "*/15 2 * * *",
    "*/30 1-3 * * *",
    "0 */2 * * *",
    "0,20,40 0-23 * * *",
    "0-59/15 2 * * *",
    "*/20,7 2 * * *",
    "7 */2,3 * * *",
    "* 2 * * 0",
    "*/10 30 1-3 * * *",
];

fn compare(line: &str, zone: Tz, from: DateTime<Utc>, until: DateTime<Utc>) {
    let expression = Expression::parse(line).expect(line);
    let expected = Oracle::new(line).between(zone, from, until);
    let named = Zone::parse(zone.name()).expect("a zone");
    let forwards: Vec<_> = expression
        .after(named, from, from)
        .take_while(|at| *at < until)
        .collect();
    let difference = forwards
        .iter()
        .zip(&expected)
        .find(|(ours, theirs)| ours != theirs);
    assert_eq!(difference, None, "{line} in {zone}");
    assert_eq!(forwards.len(), expected.len(), "{line} in {zone}");
    let mut backwards: Vec<_> = expression
        .before(named, until, from)
        .take_while(|at| *at > from)
        .collect();
    backwards.reverse();
    assert_eq!(backwards, forwards, "{line} in {zone}, backwards");
}

/// Holds the runs of fixed times against the oracle's.
pub(crate) fn fixed_times(from: DateTime<Utc>, until: DateTime<Utc>) {
    for zone in ZONES {
        for line in SPARSE {
            compare(line, zone, from, until);
        }
    }
}

/// Holds frequent times against the oracle's in the days around every change of clocks, and answers how many changes
/// there were.
pub(crate) fn frequent_times_around_changes(from: DateTime<Utc>, until: DateTime<Utc>) -> usize {
    let mut changes = 0;
    for zone in ZONES {
        let ahead = |at: &DateTime<Utc>| zone.offset_from_utc_datetime(&at.naive_utc()).fix();
        let mut day = from;
        while day < until {
            let next = day + TimeDelta::days(1);
            if ahead(&day) != ahead(&next) {
                changes += 1;
                for line in DENSE {
                    compare(line, zone, day - TimeDelta::days(1), next + TimeDelta::days(2));
                }
            }
            day = next;
        }
    }
    changes
}
