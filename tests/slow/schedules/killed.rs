//! Two real schedulers, killed and frozen at random moments while every second is due.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use orchestrator::app::authenticate::Caller;
use orchestrator::app::schedules::create;
use orchestrator::store::project;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;

use super::{definition, seed};
use crate::support::{Database, Program, ask, database, until};

/// How long they are killed and frozen.
const DISORDER: Duration = Duration::from_secs(25);
const SCHEDULES: usize = 20;

/// Seconds from the first that was due to the next one that will be, of every schedule, which are not there as one
/// row with one job: none may be.
const WRONG: &str = "select count(*) from schedule
      join lateral generate_series(date_trunc('second', anchor) + interval '1 s', next_due_at - interval '1 s', interval '1 s') as second on true
      left join occurrence on schedule_id = schedule.id and due_at = second
      left join job on job.id = job_id
     where decision is distinct from 'fired' or job.id is null";

#[tokio::test(flavor = "multi_thread")]
async fn every_second_is_fired_once_whoever_is_killed() {
    let mut random = StdRng::seed_from_u64(seed());
    let database = database().await;
    let pool = database.pool();
    project::put(&pool, "demo", "/srv/demo", "administrator")
        .await
        .unwrap();
    let fields = json!({ "overlap": "allow", "missed": "all", "missed_limit": 1000 });
    for number in 0..SCHEDULES {
        let name = format!("second-{number}");
        let definition = definition(&name, "* * * * * *", "UTC", &fields);
        create(&pool, &Caller::operator("test"), &definition, None)
            .await
            .unwrap();
    }
    let mut schedulers = [scheduler(&database), scheduler(&database)];
    let (began, mut killed) = (Instant::now(), 0);
    while began.elapsed() < DISORDER {
        tokio::time::sleep(Duration::from_millis(random.random_range(5..400))).await;
        let one = random.random_range(0..schedulers.len());
        if random.random_bool(0.7) {
            schedulers[one].signal(Signal::SIGKILL);
            schedulers[one].end();
            killed += 1;
            // Sometimes nobody is there for a while.
            if random.random_bool(0.2) {
                let other = 1 - one;
                schedulers[other].signal(Signal::SIGKILL);
                schedulers[other].end();
                tokio::time::sleep(Duration::from_millis(random.random_range(0..3000))).await;
                schedulers[other] = scheduler(&database);
            }
            schedulers[one] = scheduler(&database);
        } else {
            // What it has in hand, its transaction too, stands still meanwhile.
            schedulers[one].signal(Signal::SIGSTOP);
            tokio::time::sleep(Duration::from_millis(random.random_range(0..1500))).await;
            schedulers[one].signal(Signal::SIGCONT);
        }
    }
    println!("{killed} times killed");
    assert!(killed > 10, "{killed}");
    // The last one killed is there again, and has made up for everything.
    let now = ask(&pool, "select now()").await;
    let behind = format!("select count(*) from schedule where next_due_at <= '{now}'");
    until(async || (ask(&pool, &behind).await == "0").then_some(())).await;
    for scheduler in &mut schedulers {
        scheduler.signal(Signal::SIGKILL);
        scheduler.end();
    }
    assert_eq!(ask(&pool, WRONG).await, "0");
    let counted =
        "select (select count(*) from job) = count(*) and count(*) = count(distinct job_id) from occurrence";
    assert_eq!(ask(&pool, counted).await, "true");
    // Nothing but these seconds is there.
    let all = "select (select count(*) from occurrence) = sum(extract(epoch from next_due_at - date_trunc('second', anchor)) - 1) from schedule";
    assert_eq!(ask(&pool, all).await, "true");
}

fn scheduler(database: &Database) -> Program {
    let environment = [
        ("DATABASE_URL", database.url.expose()),
        ("SCHEDULER_TICK_SEC", "0.2"),
    ];
    Program::start(&["scheduler"], &environment)
}
