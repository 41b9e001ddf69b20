//! Ten thousand schedules with a long history: what a scheduler does reads none of these tables whole.
//!
//! As in `store/plans.rs`, PostgreSQL itself counts; and often enough that generic plans come into use,
//! before and after there are statistics.

use chrono::{DateTime, TimeDelta, Utc};
use orchestrator::app::fire_due::fire_due;
use orchestrator::app::follow::{Sweep, sweep};
use orchestrator::app::hint::Hints;
use orchestrator::app::schedules::steer::{pause, resume};
use orchestrator::app::schedules::trigger::trigger;
use orchestrator::app::tick::tick;
use orchestrator::domain::attempt::Ending;
use orchestrator::domain::id::ScheduleId;
use orchestrator::store::schedule::occurrence::{self, Filter};
use orchestrator::store::{Pool, database as pools, stats};
use serde_json::json;

use super::{Clockwork, at, claim, end, session};
use crate::support::{ask, tell};

/// Copies of three schedules, one for each policy that looks at what has not ended; the first few are due in turn.
/// Most occurrences have a job that ended long ago.
const FILL: &str = "
    alter table schedule set (autovacuum_enabled = false);
    alter table occurrence set (autovacuum_enabled = false);
    alter table job set (autovacuum_enabled = false);
    insert into schedule (id, project_id, name, expression, zone, anchor, spec, overlap, next_due_at, fire_at)
    select gen_random_uuid(), project_id, name || '-' || n, '0 0 1 1 *', zone, anchor, spec, overlap, due, due
      from (select schedule.*, n, timestamptz '2031-01-01 00:00Z' + n * interval '1 hour' as due
              from schedule, generate_series(1, 3333) as n) as copied;
    insert into job (id, project_id, queue, state, priority, run_at, max_attempts, attempt, started_at, finished_at)
    select ('01980000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, project.id, 'old', 'succeeded', 0, now(), 3, 1, now(), now()
      from generate_series(1, 100000) as n, project;
    insert into job (id, project_id, queue, state, priority, run_at, max_attempts)
    select ('01980000-0000-7000-8001-' || lpad(to_hex(n), 12, '0'))::uuid, project.id, 'later', 'scheduled', 0, timestamptz '2040-01-01 00:00Z', 3
      from generate_series(1, 20000) as n, project;
    insert into job_spec select id, '{}', sha256('') from job on conflict do nothing;
    insert into occurrence (schedule_id, due_at, fire_at, decision, reason, job_id, outcome)
    select schedule.id, due_at, due_at, 'fired', 'on_time', job.id, 'succeeded'
      from (select id, row_number() over (order by id) as place from schedule) as schedule
      join (select id, row_number() over (order by id) as place from job where state = 'succeeded') as job
        on schedule.place = (job.place - 1) / 10 + 1,
           lateral (select timestamptz '2029-01-01 00:00Z' + job.place % 10 * interval '1 day' as due_at) as due;";

struct Tables {
    pool: Pool,
    clock: Clockwork,
    one: ScheduleId,
    now: DateTime<Utc>,
}

impl Tables {
    async fn scans(&self) -> String {
        ask(&self.pool, "select pg_stat_force_next_flush()").await;
        let counts =
            "select string_agg(relname || ' ' || seq_scan, ', ' order by relname) from pg_stat_user_tables
                       where relname in ('schedule', 'occurrence', 'job', 'job_spec', 'event')";
        ask(&self.pool, counts).await
    }

    async fn hold(&mut self, what: &str, call: impl AsyncFn(&Self)) {
        let before = self.scans().await;
        for _ in 0..8 {
            self.now += TimeDelta::minutes(1);
            call(self).await;
        }
        assert_eq!(self.scans().await, before, "{what} reads a whole table");
    }

    async fn hold_all(&mut self) {
        self.hold("a tick with nothing due", async |t| {
            assert_eq!(
                tick(
                    &t.pool,
                    &Hints::default(),
                    &mut Sweep::default(),
                    Some(at("2029-12-31T23:00:00Z"))
                )
                .await
                .unwrap()
                .made,
                0
            );
        })
        .await;
        // Three are due in every minute.
        self.hold("a firing", async |t| {
            assert!(
                fire_due(&t.pool, &Hints::default(), Some(t.now))
                    .await
                    .unwrap()
                    .made
                    > 0
            );
        })
        .await;
        self.hold("a firing while earlier runs go on", async |t| {
            let session = session(&t.pool).await;
            let running = claim(&session).await;
            fire_due(&t.pool, &Hints::default(), Some(t.now)).await.unwrap();
            end(&session, &running, &Ending::Succeeded).await;
            sweep(&t.pool, &Hints::default()).await.unwrap();
        })
        .await;
        self.hold("pause, resume and trigger", async |t| {
            let operator = &t.clock.operator;
            pause(&t.pool, operator, t.one, None, None).await.unwrap();
            resume(&t.pool, operator, t.one, false, None, Some(t.now))
                .await
                .unwrap();
            trigger(&t.pool, &Hints::default(), operator, t.one, None, Some(t.now))
                .await
                .unwrap();
        })
        .await;
        self.hold("the history of one", async |t| {
            occurrence::history(&t.pool, t.one, Filter::default(), 50)
                .await
                .unwrap();
            occurrence::last_decided(&t.pool, t.one).await.unwrap();
        })
        .await;
        self.hold("the lag", async |t| {
            stats::scheduler_lag_sec(&t.pool).await.unwrap();
        })
        .await;
    }
}

#[tokio::test]
async fn no_step_of_a_scheduler_reads_a_whole_table_of_10_000_schedules() {
    let clock = Clockwork::new().await;
    let pool = pools::pool(&clock.database.url, "test", 1).unwrap();
    let start = at("2030-01-01T00:00:00Z");
    let mut one = None;
    for overlap in ["skip", "queue_one", "cancel_running"] {
        one = Some(
            clock
                .schedule(start, overlap, "* * * * *", &json!({ "overlap": overlap }))
                .await,
        );
    }
    let mut tables = Tables {
        pool,
        clock,
        one: one.unwrap(),
        now: start,
    };
    tell(&tables.pool, FILL).await;
    // As in the minutes before autovacuum has looked for the first time.
    tables.hold_all().await;
    tell(&tables.pool, "analyze").await;
    tell(&tables.pool, "discard plans").await;
    tables.hold_all().await;
}
