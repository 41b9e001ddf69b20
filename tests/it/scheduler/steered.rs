//! Paused, resumed, run at once.

use chrono::TimeDelta;
use orchestrator::app::hint::Hints;
use orchestrator::app::schedules::steer::{pause, resume};
use orchestrator::app::schedules::trigger::trigger;
use orchestrator::app::schedules::{Error, delete};
use serde_json::json;

use super::{Clockwork, at, claim};

#[tokio::test]
async fn what_was_due_while_paused_is_recorded_and_not_run_unless_asked_for() {
    let clock = Clockwork::new().await;
    let start = at("2030-01-01T00:30:00Z");
    let id = clock
        .schedule(start, "hourly", "@hourly", &json!({ "overlap": "allow" }))
        .await;
    clock.fire(at("2030-01-01T01:00:00Z")).await;
    let paused = pause(&clock.pool, &clock.operator, id, Some("new disk"), None)
        .await
        .unwrap();
    assert_eq!(
        (paused.version, paused.pause_reason.as_deref()),
        (2, Some("new disk"))
    );
    assert_eq!(clock.fire(at("2030-01-01T03:30:00Z")).await, 0);
    let now = Some(at("2030-01-01T03:30:00Z"));
    let resumed = resume(&clock.pool, &clock.operator, id, false, None, now)
        .await
        .unwrap();
    assert_eq!(resumed.next_due_at, Some(at("2030-01-01T04:00:00Z")));
    assert_eq!(clock.fire(at("2030-01-01T04:00:00Z")).await, 1);
    assert_eq!(
        clock.history("hourly").await,
        "01:00:00 fired on_time, 02:00:00 skipped paused, 03:00:00 skipped paused, 04:00:00 fired on_time"
    );
    pause(&clock.pool, &clock.operator, id, None, None).await.unwrap();
    let now = Some(at("2030-01-01T06:30:00Z"));
    resume(&clock.pool, &clock.operator, id, true, None, now)
        .await
        .unwrap();
    assert_eq!(clock.fire(at("2030-01-01T06:30:00Z")).await, 1);
    assert!(
        clock
            .history("hourly")
            .await
            .ends_with("05:00:00 skipped missed_made_up, 06:00:00 fired late")
    );
}

#[tokio::test]
async fn run_that_waits_is_given_up_when_its_schedule_is_paused() {
    let clock = Clockwork::new().await;
    let start = at("2030-01-01T00:00:00Z");
    let id = clock
        .schedule(start, "queue", "* * * * *", &json!({ "overlap": "queue_one" }))
        .await;
    clock.fire(start + TimeDelta::minutes(1)).await;
    claim(&clock.session().await).await;
    clock.fire(start + TimeDelta::minutes(2)).await;
    pause(&clock.pool, &clock.operator, id, None, None).await.unwrap();
    assert_eq!(
        clock.history("queue").await,
        "00:01:00 fired on_time, 00:02:00 skipped paused"
    );
}

#[tokio::test]
async fn triggered_run_is_one_more_and_takes_no_instant_away() {
    let clock = Clockwork::new().await;
    let start = at("2030-01-01T00:00:00Z");
    let id = clock
        .schedule(start, "minute", "* * * * *", &json!({ "overlap": "allow" }))
        .await;
    let hints = Hints::default();
    // At the very instant the expression names, twice.
    let now = Some(at("2030-01-01T00:01:00Z"));
    for _ in 0..2 {
        let made = trigger(&clock.pool, &hints, &clock.operator, id, None, now)
            .await
            .unwrap();
        assert_eq!(
            (made.decision.as_str(), made.reason.as_str()),
            ("fired", "triggered")
        );
        assert_eq!(made.detail, "Triggered by test.");
    }
    assert_eq!(clock.fire(at("2030-01-01T00:01:00Z")).await, 1);
    assert_eq!(
        clock
            .ask("select count(*) || ' ' || count(distinct job_id) from occurrence")
            .await,
        "3 3"
    );
    assert_eq!(
        clock
            .ask("select next_due_at = '2030-01-01 00:02Z' from schedule")
            .await,
        "true"
    );
}

#[tokio::test]
async fn triggered_run_meets_the_policy_for_overlaps_and_a_repeat_of_its_key_the_first_run() {
    let clock = Clockwork::new().await;
    let start = at("2030-01-01T00:00:00Z");
    let id = clock.schedule(start, "daily", "@daily", &json!({})).await;
    let hints = Hints::default();
    let ask = async |key: Option<&'static str>| {
        let made = trigger(&clock.pool, &hints, &clock.operator, id, key, Some(start))
            .await
            .unwrap();
        (made.decision, made.reason, made.job_id)
    };
    let first = ask(Some("deploy-7")).await;
    assert_eq!(first.0, "fired");
    assert_eq!(ask(Some("deploy-7")).await, first);
    let second = ask(None).await;
    assert_eq!(
        (second.0.as_str(), second.1.as_str(), second.2),
        ("skipped", "overlap", None)
    );
    assert_eq!(clock.ask("select count(*) from job").await, "1");
}

#[tokio::test]
async fn paused_schedule_can_be_triggered_and_stays_paused() {
    let clock = Clockwork::new().await;
    let start = at("2030-01-01T00:00:00Z");
    let id = clock
        .schedule(start, "daily", "@daily", &json!({ "enabled": false }))
        .await;
    let made = trigger(
        &clock.pool,
        &Hints::default(),
        &clock.operator,
        id,
        None,
        Some(start),
    )
    .await
    .unwrap();
    assert!(made.job_id.is_some());
    assert_eq!(
        clock.ask("select paused_at is not null from schedule").await,
        "true"
    );
}

#[tokio::test]
async fn version_that_was_not_seen_is_not_acted_upon() {
    let clock = Clockwork::new().await;
    let start = at("2030-01-01T00:00:00Z");
    let id = clock.schedule(start, "daily", "@daily", &json!({})).await;
    pause(&clock.pool, &clock.operator, id, None, Some(&[1]))
        .await
        .unwrap();
    let late = resume(&clock.pool, &clock.operator, id, false, Some(&[1]), None).await;
    assert!(matches!(late, Err(Error::Stale(2))), "{late:?}");
    assert!(matches!(
        delete(&clock.pool, &clock.operator, id, Some(&[1])).await,
        Err(Error::Stale(2))
    ));
    delete(&clock.pool, &clock.operator, id, Some(&[1, 2]))
        .await
        .unwrap();
    assert_eq!(clock.ask("select count(*) from schedule").await, "0");
}

#[tokio::test]
async fn deleted_schedule_leaves_its_jobs_and_every_act_is_in_the_audit_log() {
    let clock = Clockwork::new().await;
    let start = at("2030-01-01T00:00:00Z");
    let id = clock.schedule(start, "minute", "* * * * *", &json!({})).await;
    clock.fire(start + TimeDelta::minutes(1)).await;
    pause(&clock.pool, &clock.operator, id, None, None).await.unwrap();
    resume(&clock.pool, &clock.operator, id, false, None, None)
        .await
        .unwrap();
    trigger(&clock.pool, &Hints::default(), &clock.operator, id, None, None)
        .await
        .unwrap();
    delete(&clock.pool, &clock.operator, id, None).await.unwrap();
    assert_eq!(clock.ask("select count(*) from job").await, "1");
    assert_eq!(
        clock
            .ask("select string_agg(kind, ' ' order by id) from event where actor = 'test'")
            .await,
        "schedule.created schedule.paused schedule.resumed schedule.triggered schedule.deleted"
    );
}
