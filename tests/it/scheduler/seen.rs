//! What a real scheduler's metrics say is what the tables say.

use chrono::{DateTime, TimeDelta, Utc};
use nix::sys::signal::Signal::SIGTERM;
use serde_json::json;
use sqlx::Executor as _;

use super::Clockwork;
use crate::metrics::{address, scrape, value};
use crate::support::{Program, ask, tell, until};

/// Every counter of runs, by reason, as the tables have it; a run that stands for many counts as many.
const DECIDED: &str = "select string_agg(series, ' ' order by series) from (
    select case when decision = 'fired' then 'fired' when reason like 'missed%' then 'missed' else 'skipped' end
           || '/' || reason || '/' || sum(stands_for) as series
      from occurrence group by decision, reason) as counted";

/// The database's clock, in whole seconds.
async fn now(clock: &Clockwork) -> DateTime<Utc> {
    let now = clock.ask("select extract(epoch from now())::bigint").await;
    DateTime::from_timestamp(now.parse().unwrap(), 0).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_and_lag_of_a_real_scheduler_are_what_the_tables_say() {
    let clock = Clockwork::new().await;
    let now = now(&clock).await;
    let made = now - TimeDelta::hours(5);
    let keyed = json!({ "goal": "g", "project_id": "demo", "unique_key": "one", "steps": [{ "step_id": "a", "agent": "noop" }] });
    for (name, expression, fields) in [
        ("none", "@hourly", json!({ "missed": "skip", "grace_sec": 0 })),
        ("once", "@hourly", json!({ "missed": "once", "grace_sec": 0 })),
        (
            "all",
            "@hourly",
            json!({ "missed": "all", "missed_limit": 3, "grace_sec": 0 }),
        ),
        ("many", "* * * * *", json!({ "missed": "skip", "grace_sec": 0 })),
        ("keyed", "@hourly", json!({ "job": keyed })),
        ("keyed-too", "@hourly", json!({ "job": keyed })),
    ] {
        clock.schedule(made, name, expression, &fields).await;
    }
    // On time, once, while the scheduler runs.
    let soon = json!({ "ends_at": now + TimeDelta::seconds(4), "grace_sec": 900 });
    clock
        .schedule(now + TimeDelta::seconds(2), "soon", "* * * * * *", &soon)
        .await;
    // Somebody holds them for a while: nobody can fire them, and that is seen.
    let mut held = clock.pool.acquire().await.unwrap();
    held.execute("begin; select from schedule for update")
        .await
        .unwrap();
    let environment = [
        ("DATABASE_URL", clock.database.url.expose()),
        ("METRICS_BIND", "127.0.0.1:0"),
        ("LOG_JSON", "true"),
        ("SCHEDULER_TICK_SEC", "0.1"),
    ];
    let mut scheduler = Program::start(&["scheduler"], &environment);
    let metrics = address(&mut scheduler);
    let lag = async || value(&scrape(&metrics).await, "orchestrator_scheduler_lag_seconds");
    until(async || lag().await.filter(|lag| *lag > 3600.0)).await;
    held.execute("commit").await.unwrap();
    let fired = "select count(*) from occurrence join schedule on schedule.id = schedule_id where name = 'soon' and decision = 'fired'";
    until(async || (ask(&clock.pool, fired).await == "1").then_some(())).await;
    // So that nothing more becomes due while the figures are compared.
    tell(
        &clock.pool,
        "update schedule set paused_at = now() where paused_at is null",
    )
    .await;
    until(async || (lag().await == Some(0.0)).then_some(())).await;
    let decided = clock.ask(DECIDED).await;
    let seen = scrape(&metrics).await;
    for reason in [
        "fired/late/",
        "fired/on_time/1",
        "missed/missed/",
        "missed/missed_many/",
        "missed/missed_made_up/",
        "missed/missed_beyond_bound/",
        "skipped/overlap/2",
        "skipped/unique_key_held/1",
    ] {
        assert!(decided.contains(reason), "{reason} in {decided}");
    }
    for series in decided.split(' ') {
        let [what, reason, count] = series.split('/').collect::<Vec<_>>()[..] else {
            panic!("{series}")
        };
        let name = format!("orchestrator_schedule_{what}_total{{reason=\"{reason}\"}}");
        assert_eq!(
            value(&seen, &name),
            Some(count.parse().unwrap()),
            "{name} in\n{seen}"
        );
    }
    scheduler.signal(SIGTERM);
    assert!(scheduler.end().success(), "{}", scheduler.said());
}

#[tokio::test]
async fn report_says_of_every_instant_why_it_did_not_run_also_before_anybody_decided() {
    let clock = Clockwork::new().await;
    let now = now(&clock).await;
    let made = now - TimeDelta::hours(30);
    let id = clock
        .schedule(made, "nightly", "every 1h", &json!({ "overlap": "skip" }))
        .await;
    let due = made + TimeDelta::hours(1);
    let why = async |at: DateTime<Utc>| {
        let question = format!(
            "select coalesce(string_agg(decision || ' ' || reason || ': ' || detail, '; '), 'nothing')
               from report.schedule_runs where name = 'nightly' and '{at}' between due_at and last_due_at"
        );
        clock.ask(&question).await
    };
    // Nobody has come to it.
    assert!(
        why(due)
            .await
            .starts_with("undecided not_released: It was to be released at "),
        "{}",
        why(due).await
    );
    clock.fire(due + TimeDelta::seconds(1)).await;
    assert_eq!(why(due).await, "fired on_time: Released on time.");
    // Half an hour past is no instant of it.
    assert_eq!(why(due + TimeDelta::minutes(30)).await.find("undecided"), None);
    clock.fire(due + TimeDelta::hours(1)).await;
    let second = why(due + TimeDelta::hours(1)).await;
    assert!(
        second.starts_with("skipped overlap: Job ") && second.ends_with(" has not ended (overlap: skip)."),
        "{second}"
    );
    let pause = orchestrator::app::schedules::steer::pause;
    pause(&clock.pool, &clock.operator, id, Some("new disk"), None)
        .await
        .unwrap();
    let third = why(due + TimeDelta::hours(2)).await;
    assert!(
        third.starts_with("undecided paused: Paused since ") && third.contains(" (new disk). What is due"),
        "{third}"
    );
    let resume = orchestrator::app::schedules::steer::resume;
    resume(&clock.pool, &clock.operator, id, false, None, Some(now))
        .await
        .unwrap();
    assert_eq!(
        why(due + TimeDelta::hours(2)).await,
        "skipped paused: It was due while the schedule was paused."
    );
    assert_eq!(
        why(due + TimeDelta::hours(28)).await,
        "skipped paused: It was due while the schedule was paused."
    );
    assert_eq!(why(now + TimeDelta::hours(2)).await, "nothing");
}
