//! Many schedules, several schedulers.

use chrono::TimeDelta;
use orchestrator::app::fire_due::fire_due;
use orchestrator::app::follow::Sweep;
use orchestrator::app::hint::Hints;
use orchestrator::app::submit::submit;
use orchestrator::app::tick::tick;
use orchestrator::domain::spec::JobSpec;
use orchestrator::store::database as pools;
use serde_json::json;

use super::{Clockwork, at};
use crate::support::{Wire, tell};

#[tokio::test(flavor = "multi_thread")]
async fn two_schedulers_fire_each_occurrence_of_ten_minutes_once() {
    let clock = Clockwork::new().await;
    let start = at("2030-01-01T00:00:00Z");
    let allow = json!({ "overlap": "allow" });
    for number in 0..20 {
        clock
            .schedule(start, &format!("minute-{number}"), "* * * * *", &allow)
            .await;
    }
    clock.schedule(start, "five", "*/5 * * * *", &allow).await;
    clock.schedule(start, "seconds", "every 15s", &allow).await;
    for step in 0..=60 {
        let now = Some(start + TimeDelta::seconds(10 * step));
        let (hints, others) = (Hints::default(), Hints::default());
        let (one, other) = tokio::join!(
            fire_due(&clock.pool, &hints, now),
            fire_due(&clock.pool, &others, now)
        );
        one.unwrap();
        other.unwrap();
    }
    // The first run is the first instant after the schedule was made.
    let fired = "select string_agg(name || ' ' || fired, ', ' order by name) from
                    (select name, count(*) as fired from occurrence join schedule on schedule.id = schedule_id
                      where decision = 'fired' and name in ('minute-0', 'minute-19', 'five', 'seconds') group by name) as counted";
    assert_eq!(
        clock.ask(fired).await,
        "five 2, minute-0 10, minute-19 10, seconds 40"
    );
    assert_eq!(
        clock.ask("select count(*) from job").await,
        (20 * 10 + 2 + 40).to_string()
    );
    let kept = "select count(distinct job_id) = (select count(*) from job) and bool_and(job_id is not null) from occurrence";
    assert_eq!(clock.ask(kept).await, "true");
}

#[tokio::test]
async fn schedule_that_cannot_be_fired_keeps_no_other_from_its_time_and_is_fired_when_it_can() {
    let clock = Clockwork::new().await;
    let start = at("2030-01-01T00:00:00Z");
    let mut made = Vec::new();
    for number in 0..9 {
        let queue = if number == 4 { "refused" } else { "default" };
        let job = json!({ "goal": "g", "project_id": "demo", "queue": queue, "steps": [{ "step_id": "a", "agent": "noop" }] });
        let fields = json!({ "job": job, "overlap": "allow" });
        let name = format!("schedule-{number}");
        made.push(clock.schedule(start, &name, "@hourly", &fields).await);
    }
    tell(
        &clock.pool,
        "create function refuse() returns trigger language plpgsql as $$ begin raise 'not this one'; end $$;
         create trigger refuse before insert on job for each row when (new.queue = 'refused') execute function refuse()",
    )
    .await;
    let count = "select count(*) filter (where queue = 'default') || ' ' || count(*) filter (where queue = 'refused') from job";
    for (hour, count_then) in [(1, "8 0"), (2, "16 0")] {
        let now = Some(start + TimeDelta::hours(hour));
        let fired = fire_due(&clock.pool, &Hints::default(), now).await.unwrap();
        let [(schedule, error)] = &fired.failed[..] else {
            panic!("{:?}", fired.failed)
        };
        assert_eq!((fired.made, *schedule), (8, made[4]));
        assert!(error.to_string().contains("not this one"), "{error}");
        assert_eq!(clock.ask(count).await, count_then);
    }
    tell(&clock.pool, "drop trigger refuse on job").await;
    // The last instant that was missed, as its policy says.
    assert_eq!(clock.fire(start + TimeDelta::minutes(150)).await, 1);
    assert_eq!(clock.ask(count).await, "16 1");
}

#[tokio::test]
async fn more_than_a_batch_that_is_due_at_once_is_fired_whole() {
    let clock = Clockwork::new().await;
    let start = at("2030-01-01T00:00:00Z");
    clock.schedule(start, "first", "@hourly", &json!({})).await;
    tell(
        &clock.pool,
        "insert into schedule (id, project_id, name, expression, zone, anchor, spec, next_due_at, fire_at)
         select gen_random_uuid(), project_id, 'copy-' || n, expression, zone, anchor, spec, next_due_at, fire_at
           from schedule, generate_series(1, 1200) as n",
    )
    .await;
    assert_eq!(clock.fire(at("2030-01-01T01:00:00.2Z")).await, 1201);
    assert_eq!(
        clock
            .ask("select count(distinct job_id) from occurrence where decision = 'fired' and reason = 'on_time'")
            .await,
        "1201"
    );
    assert_eq!(clock.fire(at("2030-01-01T01:00:00.3Z")).await, 0);
}

#[tokio::test]
async fn schedule_that_cannot_be_read_is_paused_and_said_and_the_others_fire() {
    let clock = Clockwork::new().await;
    let start = at("2030-01-01T00:00:00Z");
    clock.schedule(start, "broken", "1 * * * *", &json!({})).await;
    tell(&clock.pool, "update schedule set expression = '61 * * * *'").await;
    clock.schedule(start, "whole", "* * * * *", &json!({})).await;
    assert_eq!(clock.fire(at("2030-01-01T00:01:00Z")).await, 1);
    assert_eq!(
        clock
            .ask("select name || ': ' || pause_reason from schedule where paused_at is not null")
            .await,
        "broken: it cannot be read: its expression: minute field, character 1: 61 is out of range; allowed are 0 to 59"
    );
    assert_eq!(
        clock
            .ask("select kind || ' ' || (detail ->> 'name') from event where kind = 'schedule.paused'")
            .await,
        "schedule.paused broken"
    );
}

#[tokio::test]
async fn template_whose_unique_key_is_held_makes_no_second_job_and_says_so() {
    let clock = Clockwork::new().await;
    let start = at("2030-01-01T00:00:00Z");
    let fields = json!({
        "overlap": "allow",
        "job": { "goal": "g", "project_id": "demo", "unique_key": "one", "steps": [{ "step_id": "a", "agent": "noop" }] },
    });
    clock.schedule(start, "keyed", "* * * * *", &fields).await;
    assert_eq!(clock.fire(at("2030-01-01T00:01:00Z")).await, 1);
    assert_eq!(clock.fire(at("2030-01-01T00:02:00Z")).await, 0);
    assert_eq!(
        clock.history("keyed").await,
        "00:01:00 fired on_time, 00:02:00 skipped unique_key_held"
    );
}

#[tokio::test]
async fn scheduler_with_nothing_to_do_makes_one_statement_and_knows_when_to_look_again() {
    let clock = Clockwork::new().await;
    let start = at("2030-01-01T00:00:00Z");
    clock.schedule(start, "daily", "@daily", &json!({})).await;
    let now = Some(at("2030-01-01T23:59:30Z"));
    let done = tick(&clock.pool, &Hints::default(), &mut Sweep::default(), now)
        .await
        .unwrap();
    assert_eq!((done.made, done.next.unwrap().as_secs()), (0, 30));
    // A way of its own, on which statements are counted.
    let wire = Wire::to(&clock.database.url).await;
    let alone = pools::pool(wire.url(), "alone", 1).unwrap();
    tick(&alone, &Hints::default(), &mut Sweep::default(), now)
        .await
        .unwrap();
    let before = wire.statements();
    tick(&alone, &Hints::default(), &mut Sweep::default(), now)
        .await
        .unwrap();
    assert_eq!(wire.statements() - before, 1);
}

#[tokio::test]
async fn what_one_part_of_a_tick_cannot_do_keeps_no_other_from_its_work() {
    let clock = Clockwork::new().await;
    let start = at("2030-01-01T00:00:00Z");
    clock
        .schedule(start, "minutely", "* * * * *", &json!({ "overlap": "allow" }))
        .await;
    let due = json!({ "run_at": "2030-01-01T00:00:30Z", "goal": "g", "project_id": "demo",
                      "steps": [{ "step_id": "a", "agent": "noop" }] });
    let due = JobSpec::read(due.to_string().as_bytes()).unwrap();
    let job = submit(&clock.pool, &Hints::default(), &clock.operator, &due)
        .await
        .unwrap()
        .job;
    tell(
        &clock.pool,
        "create function refuse() returns trigger language plpgsql as $$ begin raise 'not today'; end $$",
    )
    .await;
    let refuse = async |what: &str| {
        let trigger = format!("create trigger refuse before {what} for each row execute function refuse()");
        tell(&clock.pool, &trigger).await;
    };
    let tick = async |minute| {
        let now = Some(start + TimeDelta::minutes(minute));
        tick(&clock.pool, &Hints::default(), &mut Sweep::default(), now).await
    };
    let state = format!("select state from job where id = '{job}'");
    let fired = "select count(*) from occurrence";

    // What is due cannot become available, and the schedule is fired.
    refuse("update of state on job").await;
    let refused = tick(1).await.unwrap_err();
    assert!(format!("{refused:?}").contains("not today"), "{refused:?}");
    assert_eq!(
        (clock.ask(&state).await, clock.ask(fired).await),
        ("scheduled".to_owned(), "1".to_owned())
    );
    tell(&clock.pool, "drop trigger refuse on job").await;

    // The other way round.
    refuse("insert on occurrence").await;
    let done = tick(2).await.unwrap();
    assert_eq!((done.made, done.promoted), (0, 1));
    let [(_, why)] = &done.failed[..] else {
        panic!("{done:?}")
    };
    assert!(why.to_string().contains("not today"), "{why}");
    assert_eq!(
        (clock.ask(&state).await, clock.ask(fired).await),
        ("available".to_owned(), "1".to_owned())
    );
    tell(&clock.pool, "drop trigger refuse on occurrence").await;
    assert_eq!(tick(2).await.unwrap().made, 1);
}
