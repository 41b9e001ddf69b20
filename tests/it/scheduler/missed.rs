//! What nobody released in time, when the clock jumps, jitter, and the failure budget.

use chrono::TimeDelta;
use orchestrator::domain::attempt::Ending;
use serde_json::json;

use super::{Clockwork, at, claim, end, failed};

#[tokio::test]
async fn missed_runs_are_met_by_each_policy_and_every_row_says_why() {
    let clock = Clockwork::new().await;
    let start = at("2030-01-01T00:30:00Z");
    for (name, fields) in [
        ("skip", json!({ "missed": "skip", "overlap": "allow" })),
        ("once", json!({ "missed": "once", "overlap": "allow" })),
        (
            "all",
            json!({ "missed": "all", "missed_limit": 2, "overlap": "allow" }),
        ),
    ] {
        clock.schedule(start, name, "@hourly", &fields).await;
    }
    // Down from 01:00 to 04:10: four runs were missed.
    assert_eq!(clock.fire(at("2030-01-01T04:10:00Z")).await, 3);
    assert_eq!(
        clock.history("skip").await,
        "01:00:00 skipped missed, 02:00:00 skipped missed, 03:00:00 skipped missed, 04:00:00 skipped missed"
    );
    assert_eq!(
        clock.history("once").await,
        "01:00:00 skipped missed_made_up, 02:00:00 skipped missed_made_up, 03:00:00 skipped missed_made_up, 04:00:00 fired late"
    );
    assert_eq!(
        clock.history("all").await,
        "01:00:00 skipped missed_beyond_bound, 02:00:00 skipped missed_beyond_bound, 03:00:00 fired late, 04:00:00 fired late"
    );
    let why = "select detail from occurrence join schedule on schedule.id = schedule_id where name = 'once' and decision = 'fired'";
    assert_eq!(
        clock.ask(why).await,
        "Missed, and made up for 600 s after it was to be released (missed: once)."
    );
    // On time again.
    assert_eq!(clock.fire(at("2030-01-01T05:00:01Z")).await, 3);
}

#[tokio::test]
async fn ten_days_of_every_second_become_a_bounded_number_of_rows() {
    let clock = Clockwork::new().await;
    let start = at("2030-01-01T00:00:00Z");
    clock
        .schedule(
            start,
            "second",
            "* * * * * *",
            &json!({ "missed": "skip", "grace_sec": 0 }),
        )
        .await;
    clock.fire(start + TimeDelta::days(10)).await;
    assert_eq!(
        clock
            .ask("select count(*) || ' ' || max(stands_for) from occurrence")
            .await,
        "27 10000"
    );
    let many = "select detail from occurrence where stands_for > 1";
    assert!(
        clock.ask(many).await.starts_with("10000 or more runs up to "),
        "{}",
        clock.ask(many).await
    );
}

#[tokio::test]
async fn clock_that_jumps_hours_back_and_forth_doubles_nothing() {
    let clock = Clockwork::new().await;
    let start = at("2030-01-01T00:00:00Z");
    let fields = json!({ "overlap": "allow", "missed": "all", "missed_limit": 1000 });
    clock.schedule(start, "minute", "* * * * *", &fields).await;
    // Minutes after midnight, as a clock shows them that nobody keeps.
    for minute in [1, 2, 240, 3, 60, 239, 240, 241, 120, 242, 600, 1, 599, 601] {
        clock.fire(start + TimeDelta::minutes(minute)).await;
    }
    let question = "select count(*) || ' ' || count(distinct due_at) || ' ' || count(distinct job_id) || ' ' || bool_and(decision = 'fired')
                      from occurrence";
    assert_eq!(clock.ask(question).await, "601 601 601 true");
    assert_eq!(clock.ask("select count(*) from job").await, "601");
}

#[tokio::test]
async fn jitter_delays_the_release_and_keeps_the_instant() {
    let clock = Clockwork::new().await;
    let start = at("2030-01-01T00:30:00Z");
    for number in 0..20 {
        let name = format!("jittered-{number}");
        clock
            .schedule(start, &name, "@hourly", &json!({ "jitter_sec": 600 }))
            .await;
    }
    clock.fire(at("2030-01-01T01:00:00Z")).await;
    let early: usize = clock
        .ask("select count(*) from occurrence")
        .await
        .parse()
        .unwrap();
    assert!(early < 10, "{early} of 20 were not delayed");
    let mut fired = early;
    for second in (0..=600).step_by(10) {
        fired += clock
            .fire(at("2030-01-01T01:00:00Z") + TimeDelta::seconds(second))
            .await;
    }
    assert_eq!(fired, 20);
    let spread =
        "select count(distinct fire_at) > 15 and min(due_at) = max(due_at) and bool_and(reason = 'on_time')
                         and max(fire_at - due_at) < interval '600 s' from occurrence";
    assert_eq!(clock.ask(spread).await, "true");
}

#[tokio::test]
async fn nothing_is_due_outside_the_start_and_end_dates() {
    let clock = Clockwork::new().await;
    let dates =
        json!({ "starts_at": "2030-01-01T02:00:00Z", "ends_at": "2030-01-01T04:00:00Z", "overlap": "allow" });
    clock
        .schedule(at("2030-01-01T00:00:00Z"), "dated", "@hourly", &dates)
        .await;
    for hour in 1..=5 {
        clock
            .fire(at("2030-01-01T00:00:00Z") + TimeDelta::hours(hour))
            .await;
    }
    assert_eq!(
        clock.history("dated").await,
        "02:00:00 fired on_time, 03:00:00 fired on_time"
    );
    assert_eq!(
        clock.ask("select next_due_at is null from schedule").await,
        "true"
    );
}

#[tokio::test]
async fn schedule_is_paused_after_so_many_failures_in_a_row_and_says_so() {
    let clock = Clockwork::new().await;
    let start = at("2030-01-01T00:00:00Z");
    let id = clock
        .schedule(start, "frail", "* * * * *", &json!({ "failure_budget": 3 }))
        .await;
    let session = clock.session().await;
    let failures = async || clock.ask("select failures from schedule").await;
    for (minute, ending, counted) in [
        (1, failed(), "1"),
        (2, failed(), "2"),
        (3, Ending::Succeeded, "0"),
        (4, failed(), "1"),
        (5, failed(), "2"),
        (6, failed(), "3"),
    ] {
        assert_eq!(clock.fire(start + TimeDelta::minutes(minute)).await, 1);
        end(&session, &claim(&session).await, &ending).await;
        assert_eq!(failures().await, counted, "after minute {minute}");
    }
    assert_eq!(clock.fire(start + TimeDelta::minutes(7)).await, 0);
    let said =
        "paused: its job failed 3 times in a row (failure budget 3); put the cause right and resume it";
    assert_eq!(clock.ask("select pause_reason from schedule").await, said);
    assert_eq!(
        clock
            .ask("select actor || ' ' || (detail ->> 'reason') from event where kind = 'schedule.paused'")
            .await,
        format!("scheduler {said}")
    );
    let outcomes = "select string_agg(outcome, ' ' order by due_at) from occurrence";
    assert_eq!(
        clock.ask(outcomes).await,
        "failed failed succeeded failed failed failed"
    );
    let resume = orchestrator::app::schedules::steer::resume;
    let now = Some(start + TimeDelta::minutes(9));
    resume(&clock.pool, &clock.operator, id, false, None, now)
        .await
        .unwrap();
    assert_eq!(failures().await, "0");
    assert_eq!(clock.fire(start + TimeDelta::minutes(10)).await, 1);
}

#[tokio::test]
async fn run_that_is_retried_and_then_succeeds_is_a_success() {
    let clock = Clockwork::new().await;
    let start = at("2030-01-01T00:00:00Z");
    clock
        .schedule(start, "frail", "* * * * *", &json!({ "failure_budget": 5 }))
        .await;
    let session = clock.session().await;
    clock.fire(start + TimeDelta::minutes(1)).await;
    let fences = claim(&session).await;
    end(&session, &fences, &failed()).await;
    assert_eq!(
        clock
            .ask("select outcome || ' ' || failures from occurrence, schedule")
            .await,
        "failed 1"
    );
    let hints = orchestrator::app::hint::Hints::default();
    let retry = orchestrator::app::control::retry;
    retry(&clock.pool, &hints, &clock.operator, fences[0].job)
        .await
        .unwrap();
    // It has not ended again, and so the next run overlaps.
    clock.fire(start + TimeDelta::minutes(2)).await;
    assert_eq!(
        clock.history("frail").await,
        "00:01:00 fired on_time, 00:02:00 skipped overlap"
    );
    end(&session, &claim(&session).await, &Ending::Succeeded).await;
    let question = "select outcome || ' ' || failures from occurrence, schedule where outcome is not null";
    assert_eq!(clock.ask(question).await, "succeeded 0");
}
