//! What the tables must hold when the days are over.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::super::decade::oracle::Oracle;
use super::{Days, SCHEDULES};
use crate::support::ask;

impl Days {
    /// Compares what was due by the second implementation with the rows, and looks for what must not be there.
    pub(super) async fn judge(&self) {
        let mut rows: HashMap<Uuid, Vec<Row>> = HashMap::new();
        for row in self.rows("origin = 'schedule'").await {
            rows.entry(row.0).or_default().push(row);
        }
        for (id, (name, expression, zone, ..)) in self.ids.iter().zip(SCHEDULES) {
            let next = ask(
                &self.pool,
                &format!(
                    "select extract(epoch from next_due_at)::bigint from schedule where id = '{}'",
                    id.0
                ),
            )
            .await;
            let next = DateTime::from_timestamp(next.parse().unwrap(), 0).unwrap();
            assert!(
                next > self.now - TimeDelta::seconds(600),
                "{name} came to {next} by {}",
                self.now
            );
            let due = Oracle::new(expression).between(zone, self.start, next + TimeDelta::seconds(1));
            let (last, due) = due.split_last().unwrap();
            assert_eq!(*last, next, "{name} is due next");
            tiles(name, due, &rows[&id.0]);
        }
        for (what, wrong) in WRONG {
            assert_eq!(
                ask(&self.pool, &format!("select count(*) from ({wrong}) as wrong")).await,
                "0",
                "{what}"
            );
        }
        let counted = "select count(*) filter (where decision = 'fired') || ' fired, ' || count(*) filter (where decision = 'skipped')
                         || ' skipped, ' || coalesce(sum(stands_for) filter (where stands_for > 1), 0) || ' stood for by others' from occurrence";
        println!("{}", ask(&self.pool, counted).await);
    }

    async fn rows(&self, which: &str) -> Vec<Row> {
        let question = format!(
            "select schedule_id, due_at, last_due_at, stands_for from occurrence where {which} order by due_at"
        );
        sqlx::query_as(AssertSqlSafe(question))
            .fetch_all(&self.pool)
            .await
            .unwrap()
    }
}

/// Schedule, instant, the last one it stands for, how many these are.
type Row = (Uuid, DateTime<Utc>, Option<DateTime<Utc>>, i32);

/// Every instant is in one row, and every row is of such: laid side by side they cover one another.
fn tiles(name: &str, due: &[DateTime<Utc>], rows: &[Row]) {
    let mut place = 0;
    for (_, due_at, last_due_at, stands_for) in rows {
        assert_eq!(
            due.get(place),
            Some(due_at),
            "{name}: of the instants, and of the rows"
        );
        place += usize::try_from(*stands_for).unwrap();
        assert_eq!(
            due.get(place - 1),
            Some(&last_due_at.unwrap_or(*due_at)),
            "{name}: a row for many"
        );
    }
    assert_eq!(place, due.len(), "{name}: instants without a row");
}

/// What must not be there.
const WRONG: [(&str, &str); 8] = [
    (
        "fired without a job of its own",
        "select from occurrence where decision = 'fired' and not exists (select from job where job.id = job_id)",
    ),
    (
        "two of one job",
        "select job_id from occurrence where job_id is not null group by job_id having count(*) > 1",
    ),
    (
        "a job of no occurrence",
        "select from job where not exists (select from occurrence where job_id = job.id)",
    ),
    (
        "a decision without a reason",
        "select from occurrence where reason = '' or detail = '' or actor = ''",
    ),
    (
        "an end nobody heard of",
        "select from occurrence join job on job.id = job_id where outcome is distinct from job.state::text",
    ),
    (
        "made up for by one that skips",
        "select from occurrence join schedule on schedule.id = schedule_id where missed = 'skip' and reason = 'late'",
    ),
    (
        "missed by one that makes up for all, up to its bound",
        "select from occurrence join schedule on schedule.id = schedule_id where missed = 'all' and reason in ('missed', 'missed_made_up')",
    ),
    (
        "an overlap where they are allowed",
        "select from occurrence join schedule on schedule.id = schedule_id where overlap = 'allow' and reason like 'overlap%'",
    ),
];
