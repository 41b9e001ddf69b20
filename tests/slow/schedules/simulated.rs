//! Nine days of simulated time around a change of clocks: two schedulers, killed and cut off at random, a clock that
//! jumps by hours, people who pause, resume and trigger, and runners that take their time.
//!
//! In the end a second implementation says what was due, and every one of these instants must be in the tables once.

mod judge;
mod killable;

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use orchestrator::app::authenticate::Caller;
use orchestrator::app::fire_due::fire_due;
use orchestrator::app::follow::sweep;
use orchestrator::app::hint::Hints;
use orchestrator::app::lease::Session;
use orchestrator::app::schedules::steer::{pause, resume};
use orchestrator::app::schedules::{create, trigger::trigger};
use orchestrator::domain::attempt::{Ending, Failure, Fence};
use orchestrator::domain::id::{RunnerId, ScheduleId};
use orchestrator::domain::job::Code;
use orchestrator::store::runner::NewSession;
use orchestrator::store::settle::Settlement;
use orchestrator::store::{Pool, project};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;

use self::killable::{Killable, fate};
use super::{definition, seed};
use crate::support::{Database, ask, database, until};

/// Name, expression, zone, policy for missed runs, policy for overlaps.
const SCHEDULES: [(&str, &str, Tz, &str, &str); 12] = [
    ("minute", "* * * * *", chrono_tz::UTC, "all", "allow"),
    (
        "minute-skip",
        "* * * * *",
        chrono_tz::Europe::Berlin,
        "skip",
        "skip",
    ),
    (
        "half-minute",
        "0,30 */10 * * * *",
        chrono_tz::UTC,
        "once",
        "queue_one",
    ),
    (
        "quarter",
        "*/15 * * * *",
        chrono_tz::Europe::Berlin,
        "all",
        "allow",
    ),
    ("night", "30 2 * * *", chrono_tz::Europe::Berlin, "all", "allow"),
    (
        "nights",
        "0,30 2 * * *",
        chrono_tz::America::New_York,
        "once",
        "allow",
    ),
    ("both", "*/20,7 2 * * *", chrono_tz::Europe::Berlin, "all", "skip"),
    (
        "hours",
        "0 */2 * * *",
        chrono_tz::America::New_York,
        "once",
        "queue_one",
    ),
    (
        "howe",
        "15 2 * * *",
        chrono_tz::Australia::Lord_Howe,
        "all",
        "cancel_running",
    ),
    (
        "five-past",
        "5 * * * *",
        chrono_tz::Australia::Lord_Howe,
        "once",
        "cancel_running",
    ),
    (
        "office",
        "45 9-17 * * 1-5",
        chrono_tz::Asia::Kathmandu,
        "skip",
        "queue_one",
    ),
    (
        "thirteenth",
        "0 */3 13 * 5",
        chrono_tz::Pacific::Apia,
        "all",
        "cancel_running",
    ),
];
const DAYS: i64 = 9;

/// Berlin goes forwards, Lord Howe back.
#[tokio::test(flavor = "multi_thread")]
async fn nine_days_of_spring_are_decided_once_each() {
    Days::begin("2026-03-28T00:00:00Z").await.pass().await;
}

/// Berlin and New York go back.
#[tokio::test(flavor = "multi_thread")]
async fn nine_days_of_autumn_are_decided_once_each() {
    Days::begin("2026-10-24T00:00:00Z").await.pass().await;
}

struct Days {
    random: StdRng,
    database: Database,
    pool: Pool,
    operator: Caller,
    ids: Vec<ScheduleId>,
    start: DateTime<Utc>,
    /// What the clock shows, and the latest it ever showed.
    now: DateTime<Utc>,
    latest: DateTime<Utc>,
    session: Session,
    running: Vec<Fence>,
}

impl Days {
    async fn begin(start: &str) -> Self {
        let start: DateTime<Utc> = start.parse().unwrap();
        let database = database().await;
        let pool = database.pool();
        project::put(&pool, "demo", "/srv/demo", "administrator")
            .await
            .unwrap();
        let operator = Caller::operator("test");
        let mut ids = Vec::new();
        for (place, (name, expression, zone, missed, overlap)) in SCHEDULES.into_iter().enumerate() {
            let fields = json!({
                "missed": missed, "missed_limit": 1000, "overlap": overlap,
                // Some are released later, and some pause themselves.
                "jitter_sec": if place % 3 == 0 { 600 } else { 0 },
                "failure_budget": if place % 4 == 1 { Some(3) } else { None },
            });
            let definition = definition(name, expression, zone.name(), &fields);
            let made = create(&pool, &operator, &definition, Some(start)).await.unwrap();
            ids.push(ScheduleId(made.id));
        }
        let session = session(&pool).await;
        Self {
            random: StdRng::seed_from_u64(seed()),
            database,
            pool,
            operator,
            ids,
            start,
            now: start,
            latest: start,
            session,
            running: Vec::new(),
        }
    }

    async fn pass(mut self) {
        let mut schedulers = [
            Killable::start(&self.database).await,
            Killable::start(&self.database).await,
        ];
        let (mut steps, mut ended) = (0, 0);
        while self.latest < self.start + TimeDelta::days(DAYS) {
            self.tick();
            let [one, other] = &mut schedulers;
            let fates = [fate(&mut self.random), fate(&mut self.random)];
            // The clocks of two hosts, if these were asked, would differ; the database's does not.
            let (first, second) = tokio::join!(one.fire(self.now, fates[0]), other.fire(self.now, fates[1]));
            ended += usize::from(first) + usize::from(second);
            self.people().await;
            self.runner().await;
            steps += 1;
            if steps % 100 == 0 {
                self.overlaps_are_kept().await;
            }
        }
        println!("{steps} steps, {ended} times killed or cut off");
        assert!(ended > 50, "{ended}");
        self.come_to_rest().await;
        self.judge().await;
    }

    /// Time goes on by minutes; now and then the clock is set, by hours, and set right again.
    fn tick(&mut self) {
        let random = &mut self.random;
        let by = match random.random_range(0..100) {
            0..4 => TimeDelta::seconds(random.random_range(3_600..21_600)),
            4..8 => -TimeDelta::seconds(random.random_range(3_600..18_000)),
            8..30 => TimeDelta::milliseconds(random.random_range(0..90_000)),
            _ => TimeDelta::milliseconds(random.random_range(0..600_000)),
        };
        self.now += by;
        if self.now < self.latest && random.random_bool(0.3) {
            self.now = self.latest;
        }
        self.latest = self.latest.max(self.now);
    }

    /// Somebody pauses, resumes or triggers one.
    async fn people(&mut self) {
        let one = self.ids[self.random.random_range(0..self.ids.len())];
        let now = Some(self.now);
        match self.random.random_range(0..100) {
            0..2 => drop(pause(&self.pool, &self.operator, one, None, None).await.unwrap()),
            2..20 => {
                let catch_up = self.random.random_bool(0.5);
                resume(&self.pool, &self.operator, one, catch_up, None, now)
                    .await
                    .unwrap();
            }
            20..22 => drop(
                trigger(&self.pool, &Hints::default(), &self.operator, one, None, now)
                    .await
                    .unwrap(),
            ),
            _ => {}
        }
    }

    /// A runner claims, and some of what it has ends.
    async fn runner(&mut self) {
        if self.random.random_bool(0.4) {
            let claimed = self.session.claim("default", &[], 500).await.unwrap();
            self.running
                .extend(claimed.into_iter().map(|claimed| claimed.fence));
        }
        if self.random.random_bool(0.4) {
            let keep = self.random.random_range(0..=self.running.len().min(20));
            let over: Vec<Fence> = self.running.drain(keep..).collect();
            self.end(&over).await;
        }
    }

    async fn end(&mut self, over: &[Fence]) {
        let batch: Vec<Settlement> = over
            .iter()
            .map(|fence| Settlement {
                fence: *fence,
                ending: if self.random.random_bool(0.8) {
                    Ending::Succeeded
                } else {
                    Ending::Failed(Failure::new(Code::ExitNonzero, "It failed."))
                },
                step: None,
            })
            .collect();
        self.session.settle(&batch).await.unwrap();
    }

    /// Whoever does not allow it never has two that run, and one waits at most.
    async fn overlaps_are_kept(&self) {
        let question = "select count(*) from (
            select schedule.id from schedule join occurrence on schedule_id = schedule.id join job on job.id = job_id
             where overlap <> 'allow' and state in ('available', 'running', 'awaiting_approval') group by schedule.id having count(*) > 1
             union all
            select schedule_id from occurrence where decision = 'waiting' group by schedule_id having count(*) > 1) as wrong";
        assert_eq!(ask(&self.pool, question).await, "0");
    }

    /// Everything goes on, is released, runs and ends.
    async fn come_to_rest(&mut self) {
        self.now = self.latest + TimeDelta::hours(1);
        for id in self.ids.clone() {
            resume(&self.pool, &self.operator, id, true, None, Some(self.now))
                .await
                .unwrap();
        }
        // A transaction that was cut off last may hold some still, which are passed over until the server gives it up.
        let due = format!(
            "exists (select from schedule where paused_at is null and fire_at <= '{}')",
            self.now
        );
        until(async || {
            fire_due(&self.pool, &Hints::default(), Some(self.now))
                .await
                .unwrap();
            (ask(&self.pool, &due).await == "false").then_some(())
        })
        .await;
        let open = "exists (select from job where state not in ('succeeded', 'failed', 'cancelled'))
                    or exists (select from occurrence where decision = 'waiting')";
        while ask(&self.pool, open).await == "true" {
            let claimed = self.session.claim("default", &[], 1000).await.unwrap();
            let mut over = std::mem::take(&mut self.running);
            over.extend(claimed.into_iter().map(|claimed| claimed.fence));
            self.end(&over).await;
            sweep(&self.pool, &Hints::default()).await.unwrap();
        }
        sweep(&self.pool, &Hints::default()).await.unwrap();
    }
}

async fn session(pool: &Pool) -> Session {
    let new = NewSession {
        id: RunnerId::generate(),
        instance: "test",
        host: "here",
        pid: 1,
        slots: 1000,
        queues: &["default".to_owned()],
        labels: &[],
        lease: Duration::from_secs(36_000),
    };
    Session::open(pool.clone(), Hints::default(), &new).await.unwrap()
}
