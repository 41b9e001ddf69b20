//! Ten years of six zones: all kinds of times against the oracle of the fast tests, and most of them against a third
//! implementation, whose zones and calendar are PostgreSQL's.

#[path = "../../it/schedule/oracle.rs"]
pub(super) mod oracle;

#[path = "../../it/schedule/comparison.rs"]
mod comparison;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use orchestrator::domain::schedule::{Expression, Zone};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use self::comparison::{ZONES, fixed_times, frequent_times_around_changes};
use self::oracle::Oracle;
use crate::support::database;

/// Lists, ranges and mixtures of both kinds, up to twenty-six thousand runs a year.
const FREQUENT: [&str; 6] = [
    "0,20,40 0-23 * * *",
    "*/15 9-17 * * 1-5",
    "*/30 1-3 * * *",
    "0-59/15 0-6 * * *",
    "*/20,7 2 * * *",
    "7 */2,3 * * *",
];

/// Lines that are wholly fixed or wholly elapsed, with what they select as PostgreSQL writes it: minutes, hours, and a
/// condition on the local date `day`.
const LINES: [(&str, bool, &str, &str, &str); 14] = [
    (
        "*/5 * * * *",
        true,
        "select generate_series(0, 55, 5)",
        "select generate_series(0, 23)",
        "true",
    ),
    (
        "*/7 * * * *",
        true,
        "select generate_series(0, 56, 7)",
        "select generate_series(0, 23)",
        "true",
    ),
    (
        "5 * * * *",
        true,
        "select 5",
        "select generate_series(0, 23)",
        "true",
    ),
    (
        "0 */2 * * *",
        true,
        "select 0",
        "select generate_series(0, 22, 2)",
        "true",
    ),
    (
        "*/15 2 * * *",
        true,
        "select generate_series(0, 45, 15)",
        "select 2",
        "true",
    ),
    (
        "*/30 1-3 * * *",
        true,
        "values (0), (30)",
        "values (1), (2), (3)",
        "true",
    ),
    (
        "* 2 * * 0",
        true,
        "select generate_series(0, 59)",
        "select 2",
        "extract(dow from day) = 0",
    ),
    ("30 2 * * *", false, "select 30", "select 2", "true"),
    ("15 2 * * *", false, "select 15", "select 2", "true"),
    ("0,30 2 * * *", false, "values (0), (30)", "select 2", "true"),
    ("15 1-3 * * *", false, "select 15", "values (1), (2), (3)", "true"),
    (
        "0-59/15 0-3 * * *",
        false,
        "select generate_series(0, 45, 15)",
        "select generate_series(0, 3)",
        "true",
    ),
    (
        "0 0 13 * 5",
        false,
        "select 0",
        "select 0",
        "extract(day from day) = 13 or extract(dow from day) = 5",
    ),
    (
        "30 2 */2 * 1",
        false,
        "select 30",
        "select 2",
        "extract(day from day)::int % 2 = 1 and extract(dow from day) = 1",
    ),
];

fn decade() -> (DateTime<Utc>, DateTime<Utc>) {
    (
        "2010-01-01T00:00:00Z".parse().unwrap(),
        "2020-01-01T00:00:00Z".parse().unwrap(),
    )
}

/// What the program says of the ten years, as seconds.
fn ours(line: &str, zone: Tz) -> Vec<i64> {
    let (from, until) = decade();
    let expression = Expression::parse(line).unwrap();
    let zone = Zone::parse(zone.name()).unwrap();
    let runs = expression.after(zone, from, from).take_while(|at| *at < until);
    runs.map(|at| at.timestamp()).collect()
}

fn compare(ours: &[i64], theirs: &[i64], line: &str, zone: Tz) {
    let shown = |second: Option<&i64>| second.map(|second| DateTime::from_timestamp(*second, 0).unwrap());
    let place = ours.iter().zip(theirs).position(|(one, other)| one != other);
    if let Some(place) = place {
        panic!(
            "{line} in {zone}: {:?} here, {:?} there",
            shown(ours.get(place)),
            shown(theirs.get(place))
        );
    }
    assert_eq!(ours.len(), theirs.len(), "{line} in {zone}");
}

#[test]
fn fixed_times_agree_with_the_oracle_for_ten_years() {
    let (from, until) = decade();
    fixed_times(from, until);
}

#[test]
fn frequent_times_agree_with_the_oracle_around_every_change_of_ten_years() {
    let (from, until) = decade();
    let changes = frequent_times_around_changes(from, until);
    assert_eq!(changes, 4 * 20, "every change of ten years was met");
}

#[test]
fn frequent_times_agree_with_the_oracle_for_all_of_ten_years() {
    let (from, until) = decade();
    std::thread::scope(|scope| {
        for zones in ZONES.chunks(3) {
            scope.spawn(move || {
                for zone in zones {
                    for line in FREQUENT {
                        let theirs = Oracle::new(line).between(*zone, from, until);
                        let theirs: Vec<i64> = theirs.iter().map(DateTime::timestamp).collect();
                        compare(&ours(line, *zone), &theirs, line, *zone);
                    }
                }
            });
        }
    });
}

/// Every minute of the ten years, and two days more on either side, as the zone's clocks show it.
async fn minutes(connection: &mut PgConnection, zone: Tz) {
    let statements = format!(
        "drop table if exists minute;
         create unlogged table minute as select at, at at time zone '{zone}' as shown
           from generate_series(timestamptz '2009-12-30 00:00Z', '2020-01-03 00:00Z', '1 minute') as at;
         alter table minute add primary key (at);
         analyze minute"
    );
    sqlx::raw_sql(AssertSqlSafe(statements))
        .execute(connection)
        .await
        .unwrap();
}

/// Elapsed: every minute that shows a time. Fixed: of each time the first minute that shows it, or a later one; that
/// is the first showing in an overlap, and the end of the gap in one.
async fn theirs(
    connection: &mut PgConnection,
    (elapsed, minutes, hours, days): (bool, &str, &str, &str),
) -> Vec<i64> {
    let question = if elapsed {
        format!(
            "select at from (select at, shown, shown::date as day from minute) as minute
              where extract(minute from shown)::int in ({minutes}) and extract(hour from shown)::int in ({hours}) and ({days})"
        )
    } else {
        format!(
            "select first.at
               from (select day::date as day from generate_series(timestamp '2009-12-31', '2020-01-01', '1 day') as day) as day,
                    ({hours}) as hour (hour), ({minutes}) as minute (minute),
                    lateral (select day + make_interval(hours => hour, mins => minute) as wanted) as wanted,
                    lateral (select at from minute
                              where at >= (wanted at time zone 'UTC') - interval '15 hours' and shown >= wanted
                              order by at limit 1) as first
              where {days}"
        )
    };
    let question = format!(
        "select distinct extract(epoch from at)::bigint as at from ({question}) as run
          where at > '2010-01-01 00:00Z' and at < '2020-01-01 00:00Z' order by at"
    );
    sqlx::query_scalar(AssertSqlSafe(question))
        .fetch_all(connection)
        .await
        .unwrap()
}

#[tokio::test]
async fn times_agree_with_the_zones_and_the_calendar_of_postgresql_for_ten_years() {
    let database = database().await;
    let mut connection = PgConnection::connect(database.url.expose()).await.unwrap();
    sqlx::raw_sql("set jit = off")
        .execute(&mut connection)
        .await
        .unwrap();
    for zone in ZONES {
        minutes(&mut connection, zone).await;
        for (line, elapsed, minutes, hours, days) in LINES {
            let theirs = theirs(&mut connection, (elapsed, minutes, hours, days)).await;
            compare(&ours(line, zone), &theirs, line, zone);
        }
    }
}
