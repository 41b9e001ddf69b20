//! A run that is due while an earlier one has not ended.

use chrono::TimeDelta;
use orchestrator::app::follow::sweep;
use orchestrator::app::hint::Hints;
use orchestrator::app::lease::Session;
use orchestrator::app::submit::submit;
use orchestrator::domain::attempt::Ending;
use orchestrator::domain::id::JobId;
use orchestrator::domain::spec::JobSpec;
use serde_json::json;

use super::{Clockwork, at, claim, end, failed};

#[tokio::test]
async fn skip_runs_nothing_beside_an_unfinished_run_and_names_it() {
    let clock = Clockwork::new().await;
    let start = at("2030-01-01T00:00:00Z");
    clock
        .schedule(start, "skip", "* * * * *", &json!({ "overlap": "skip" }))
        .await;
    let session = clock.session().await;
    clock.fire(start + TimeDelta::minutes(1)).await;
    // Not begun, and begun.
    clock.fire(start + TimeDelta::minutes(2)).await;
    let fences = claim(&session).await;
    clock.fire(start + TimeDelta::minutes(3)).await;
    end(&session, &fences, &Ending::Succeeded).await;
    clock.fire(start + TimeDelta::minutes(4)).await;
    assert_eq!(
        clock.history("skip").await,
        "00:01:00 fired on_time, 00:02:00 skipped overlap, 00:03:00 skipped overlap, 00:04:00 fired on_time"
    );
    let why = "select distinct detail from occurrence where decision = 'skipped'";
    let said = format!(
        "Job {} of an earlier run has not ended (overlap: skip).",
        fences[0].job
    );
    assert_eq!(clock.ask(why).await, said);
}

#[tokio::test]
async fn allow_runs_side_by_side() {
    let clock = Clockwork::new().await;
    let start = at("2030-01-01T00:00:00Z");
    clock
        .schedule(start, "allow", "* * * * *", &json!({ "overlap": "allow" }))
        .await;
    for minute in 1..=3 {
        assert_eq!(clock.fire(start + TimeDelta::minutes(minute)).await, 1);
    }
    assert_eq!(claim(&clock.session().await).await.len(), 3);
}

#[tokio::test]
async fn one_run_waits_for_the_end_of_another_and_begins_however_that_ended() {
    for ending in [Ending::Succeeded, failed()] {
        let clock = Clockwork::new().await;
        let start = at("2030-01-01T00:00:00Z");
        clock
            .schedule(start, "queue", "* * * * *", &json!({ "overlap": "queue_one" }))
            .await;
        let session = clock.session().await;
        assert_eq!(clock.fire(start + TimeDelta::minutes(1)).await, 1);
        let first = claim(&session).await;
        for minute in 2..=4 {
            assert_eq!(clock.fire(start + TimeDelta::minutes(minute)).await, 0);
        }
        assert_eq!(
            clock.history("queue").await,
            "00:01:00 fired on_time, 00:02:00 waiting overlap_queued, 00:03:00 skipped overlap_already_queued, \
             00:04:00 skipped overlap_already_queued"
        );
        assert_eq!(claim(&session).await.len(), 0);
        end(&session, &first, &ending).await;
        let second = claim(&session).await;
        assert_eq!(second.len(), 1);
        let fired = "select due_at = '2030-01-01 00:02Z' and job_id is not null and detail like 'Waits for job % They have%'
                       from occurrence where reason = 'overlap_queued' and decision = 'fired'";
        assert_eq!(clock.ask(fired).await, "true");
        end(&session, &second, &Ending::Succeeded).await;
        assert_eq!(clock.fire(start + TimeDelta::minutes(5)).await, 1);
    }
}

#[tokio::test]
async fn later_run_takes_the_place_of_one_that_runs_and_begins_when_that_has_ended() {
    let clock = Clockwork::new().await;
    let start = at("2030-01-01T00:00:00Z");
    clock
        .schedule(
            start,
            "replace",
            "* * * * *",
            &json!({ "overlap": "cancel_running" }),
        )
        .await;
    let session = clock.session().await;
    clock.fire(start + TimeDelta::minutes(1)).await;
    let first = claim(&session).await;
    clock.fire(start + TimeDelta::minutes(2)).await;
    // The runner hears of it when it renews its lease, if not before.
    let asked = session.renew().await.unwrap().unwrap();
    assert_eq!(asked.held, [(first[0], true)]);
    clock.fire(start + TimeDelta::minutes(3)).await;
    assert_eq!(
        clock.history("replace").await,
        "00:01:00 fired on_time, 00:02:00 skipped overlap_superseded, 00:03:00 waiting overlap_cancelled"
    );
    end(&session, &first, &super::cancelled()).await;
    let second = claim(&session).await;
    assert_eq!(second.len(), 1);
    assert_eq!(
        clock
            .ask("select string_agg(coalesce(outcome, decision), ' ' order by due_at) from occurrence")
            .await,
        "cancelled skipped fired"
    );
}

#[tokio::test]
async fn later_run_takes_the_place_of_one_that_waits_in_its_queue_at_once() {
    let clock = Clockwork::new().await;
    let start = at("2030-01-01T00:00:00Z");
    clock
        .schedule(
            start,
            "replace",
            "* * * * *",
            &json!({ "overlap": "cancel_running" }),
        )
        .await;
    for minute in 1..=3 {
        assert_eq!(clock.fire(start + TimeDelta::minutes(minute)).await, 1);
    }
    assert_eq!(
        clock
            .ask("select string_agg(job.state || ' ' || coalesce(outcome, '-'), ', ' order by due_at) from occurrence join job on job.id = job_id")
            .await,
        "cancelled cancelled, cancelled cancelled, available -"
    );
    let message = "select distinct message from job where state = 'cancelled'";
    assert_eq!(
        clock.ask(message).await,
        "A later run of its schedule took its place."
    );
}

#[tokio::test]
async fn runs_that_are_due_together_overlap_each_other() {
    let clock = Clockwork::new().await;
    let start = at("2030-01-01T00:00:00Z");
    for overlap in ["allow", "skip", "queue_one", "cancel_running"] {
        let fields = json!({ "overlap": overlap, "missed": "all" });
        clock.schedule(start, overlap, "@hourly", &fields).await;
    }
    clock.fire(at("2030-01-01T03:30:00Z")).await;
    let decided = async |name: &str| {
        clock
            .ask(&format!(
                "select string_agg(decision || ' ' || reason, ', ' order by due_at) from occurrence
                   join schedule on schedule.id = schedule_id where name = '{name}'"
            ))
            .await
    };
    assert_eq!(decided("allow").await, "fired late, fired late, fired late");
    assert_eq!(
        decided("skip").await,
        "fired late, skipped overlap, skipped overlap"
    );
    assert_eq!(
        decided("queue_one").await,
        "fired late, skipped overlap_already_queued, skipped overlap_already_queued"
    );
    assert_eq!(
        decided("cancel_running").await,
        "skipped overlap_superseded, skipped overlap_superseded, fired late"
    );
}

#[tokio::test]
async fn later_run_has_the_unique_key_of_the_one_whose_place_it_takes() {
    let clock = Clockwork::new().await;
    let start = at("2030-01-01T00:00:00Z");
    let job = json!({ "goal": "g", "project_id": "demo", "unique_key": "one", "steps": [{ "step_id": "a", "agent": "noop" }] });
    let fields = json!({ "overlap": "cancel_running", "job": job });
    clock.schedule(start, "replace", "* * * * *", &fields).await;
    for minute in 1..=3 {
        assert_eq!(clock.fire(start + TimeDelta::minutes(minute)).await, 1);
    }
    let states = "select string_agg(job.state::text, ', ' order by due_at) from occurrence join job on job.id = job_id";
    assert_eq!(clock.ask(states).await, "cancelled, cancelled, available");
}

/// A run that has ended, which nobody was told, with another that waits for its end; and who ran it.
async fn ended_unheard(clock: &Clockwork) -> (Session, JobId) {
    let start = at("2030-01-01T00:00:00Z");
    clock
        .schedule(start, "queue", "* * * * *", &json!({ "overlap": "queue_one" }))
        .await;
    let session = clock.session().await;
    clock.fire(start + TimeDelta::minutes(1)).await;
    let first = claim(&session).await;
    clock.fire(start + TimeDelta::minutes(2)).await;
    // Committed, and nothing more.
    let settlement = super::settlement(first[0], &Ending::Succeeded);
    orchestrator::store::settle::settle(&clock.pool, session.id, &[settlement])
        .await
        .unwrap();
    (session, first[0].job)
}

#[tokio::test]
async fn waiting_run_begins_also_when_somebody_needs_the_one_whose_end_nobody_heard() {
    let clock = Clockwork::new().await;
    let (session, first) = ended_unheard(&clock).await;
    let spec = json!({ "goal": "g", "project_id": "demo", "needs": [first], "queue": "other",
                       "steps": [{ "step_id": "a", "agent": "noop" }] });
    let spec = JobSpec::read(spec.to_string().as_bytes()).unwrap();
    submit(&clock.pool, &Hints::default(), &clock.operator, &spec)
        .await
        .unwrap();
    sweep(&clock.pool, &Hints::default()).await.unwrap();
    assert_eq!(claim(&session).await.len(), 1);
}

#[tokio::test]
async fn waiting_run_begins_by_the_next_tick_when_whoever_ended_the_other_is_gone() {
    let clock = Clockwork::new().await;
    let (session, _) = ended_unheard(&clock).await;
    assert_eq!(claim(&session).await.len(), 0);
    sweep(&clock.pool, &Hints::default()).await.unwrap();
    assert_eq!(claim(&session).await.len(), 1);
    assert_eq!(
        clock
            .ask("select count(*) from job where needed and state = 'succeeded'")
            .await,
        "0"
    );
}
