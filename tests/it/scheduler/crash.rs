//! A scheduler killed at every message of its transactions: nothing is lost, nothing is doubled.

use chrono::TimeDelta;
use orchestrator::app::fire_due::fire_due;
use orchestrator::app::follow::sweep;
use orchestrator::app::hint::Hints;
use orchestrator::app::schedules::trigger::trigger;
use orchestrator::domain::attempt::{Ending, Fence};
use orchestrator::store::database as pools;
use serde_json::json;

use super::{Clockwork, at, claim, end, settlement};
use crate::support::{Cut, Wire};

/// Every instant has one row, every fired row a job of its own, every job a row.
const WHOLE: &str = "select count(*) filter (where decision = 'fired') = (select count(*) from job)
       and count(*) filter (where decision = 'fired') = count(distinct job_id)
       and bool_and((decision = 'fired') = (job_id is not null)) from occurrence";

const OVERLAPS: [&str; 4] = ["allow", "skip", "queue_one", "cancel_running"];

#[tokio::test(flavor = "multi_thread")]
async fn scheduler_killed_at_every_message_loses_and_doubles_nothing() {
    let clock = Clockwork::new().await;
    let wire = Wire::to(&clock.database.url).await;
    let start = at("2030-01-01T00:00:00Z");
    for overlap in OVERLAPS {
        clock
            .schedule(start, overlap, "* * * * *", &json!({ "overlap": overlap }))
            .await;
    }
    let session = clock.session().await;
    let mut running: Vec<Fence> = Vec::new();
    let mut minute = 0;
    for cut in [Cut::Before, Cut::After] {
        for number in 1.. {
            minute += 1;
            let now = start + TimeDelta::minutes(minute);
            // A process of its own each time: it prepares its statements anew.
            let killed = pools::pool(wire.url(), "killed", 1).unwrap();
            wire.break_at(number, cut);
            let fired = fire_due(&killed, &Hints::default(), Some(now)).await;
            let was_cut = wire.mend();
            killed.close().await;
            assert!(was_cut || fired.is_ok(), "{number} {cut:?}: {fired:?}");
            // Another one finds what is left to do.
            fire_due(&clock.pool, &Hints::default(), Some(now)).await.unwrap();
            let rows = format!(
                "select count(*) || ' ' || count(distinct schedule_id) from occurrence where due_at = '{now}'"
            );
            assert_eq!(clock.ask(&rows).await, "4 4", "{cut:?} message {number}");
            assert_eq!(clock.ask(WHOLE).await, "true", "{cut:?} message {number}");
            assert_eq!(
                clock.ask("select count(*) from schedule where next_due_at = (select max(due_at) from occurrence) + interval '1 min'").await,
                "4",
                "{cut:?} message {number}"
            );
            // What was running ends, and what begins now runs when the next minute comes.
            end(&session, &running, &Ending::Succeeded).await;
            running = claim(&session).await;
            if !was_cut {
                assert!(number > 20, "only {number} messages were met");
                break;
            }
        }
    }
    let decided = "select string_agg(distinct decision || ' ' || reason, ', ' order by decision || ' ' || reason) from occurrence";
    assert_eq!(
        clock.ask(decided).await,
        "fired on_time, fired overlap_cancelled, fired overlap_queued, skipped overlap"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn runner_killed_at_every_message_of_an_end_leaves_nothing_waiting_and_counts_once() {
    let clock = Clockwork::new().await;
    let wire = Wire::to(&clock.database.url).await;
    let start = at("2030-01-01T00:00:00Z");
    clock
        .schedule(
            start,
            "queue",
            "* * * * *",
            &json!({ "overlap": "queue_one", "failure_budget": 1000 }),
        )
        .await;
    let session = clock.session().await;
    let mut minute = 0;
    let mut failures = 0;
    for cut in [Cut::Before, Cut::After] {
        for number in 1.. {
            minute += 1;
            clock.fire(start + TimeDelta::minutes(minute)).await;
            let first = claim(&session).await;
            minute += 1;
            clock.fire(start + TimeDelta::minutes(minute)).await;
            assert_eq!(
                clock
                    .ask("select count(*) from occurrence where decision = 'waiting'")
                    .await,
                "1"
            );
            let killed = pools::pool(wire.url(), "killed", 1).unwrap();
            wire.break_at(number, cut);
            let batch = [settlement(first[0], &super::failed())];
            let settled = orchestrator::store::settle::settle(&killed, session.id, &batch).await;
            if let Ok(ended) = &settled {
                let _ = orchestrator::app::follow::follow(&killed, &Hints::default(), ended).await;
            }
            let was_cut = wire.mend();
            killed.close().await;
            // Whoever does not know settles again; the next tick finds what is left.
            session.settle(&batch).await.unwrap();
            session.followed().await;
            sweep(&clock.pool, &Hints::default()).await.unwrap();
            failures += 1;
            let counted = format!("select failures = {failures} from schedule");
            assert_eq!(clock.ask(&counted).await, "true", "{cut:?} message {number}");
            assert_eq!(clock.ask(WHOLE).await, "true", "{cut:?} message {number}");
            let second = claim(&session).await;
            assert_eq!(second.len(), 1, "{cut:?} message {number}");
            end(&session, &second, &super::cancelled()).await;
            if !was_cut {
                assert!(number > 20, "only {number} messages were met");
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trigger_cut_off_anywhere_is_one_run_when_it_is_repeated_under_its_key() {
    let clock = Clockwork::new().await;
    let wire = Wire::to(&clock.database.url).await;
    let start = at("2030-01-01T00:00:00Z");
    let id = clock
        .schedule(start, "daily", "@daily", &json!({ "overlap": "allow" }))
        .await;
    let mut keys = 0;
    for cut in [Cut::Before, Cut::After] {
        for number in 1.. {
            keys += 1;
            let key = format!("key-{keys}");
            let killed = pools::pool(wire.url(), "killed", 1).unwrap();
            wire.break_at(number, cut);
            let _ = trigger(&killed, &Hints::default(), &clock.operator, id, Some(&key), None).await;
            let was_cut = wire.mend();
            killed.close().await;
            trigger(
                &clock.pool,
                &Hints::default(),
                &clock.operator,
                id,
                Some(&key),
                None,
            )
            .await
            .unwrap();
            assert_eq!(
                clock.ask("select count(*) from job").await,
                keys.to_string(),
                "{cut:?} message {number}"
            );
            assert_eq!(clock.ask(WHOLE).await, "true", "{cut:?} message {number}");
            if !was_cut {
                assert!(number > 20, "only {number} messages were met");
                break;
            }
        }
    }
}
