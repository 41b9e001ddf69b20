//! Sessions that are over, and attempts that are: what they take and what they write changes nothing.

use orchestrator::domain::attempt::{Ending, Fence, Measured, StepRecord};
use orchestrator::domain::clock;
use orchestrator::domain::id::RunnerId;
use orchestrator::domain::usage::Usage;
use orchestrator::store::claim::{Place, claim, claim_behind};
use orchestrator::store::expire::expire;
use orchestrator::store::settle::{Settlement, settle};
use orchestrator::store::workspace::{self, NewOrigin};
use orchestrator::store::{Pool, log, runner, step, usage};

use super::claim::{printed, succeeded};
use super::{demo, due, session};
use crate::support::{ask, database, tell, until};

#[tokio::test]
async fn late_write_of_a_reclaimed_attempt_changes_nothing() {
    let database = database().await;
    let pool = database.pool();
    let job = due(&pool, demo(&pool).await).await;
    let (late, other) = (session(&pool).await, session(&pool).await);
    let old = claim(&pool, late, "default", &[], 1).await.unwrap()[0].fence;
    tell(
        &pool,
        &format!(
            "update runner set lease_expires_at = now() where id = '{}'",
            late.0
        ),
    )
    .await;
    assert_eq!(expire(&pool, None, 10).await.unwrap().len(), 1);
    let new = claim(&pool, other, "default", &[], 1).await.unwrap()[0].fence;
    assert_eq!((old.attempt, new.attempt), (1, 2));
    let before = ask(&pool, "select job::text from job").await;
    // Under its own number, and under the new one, which it cannot know.
    for fence in [old, new] {
        assert_eq!(settle(&pool, late, &[succeeded(fence)]).await.unwrap(), []);
        let kept = log::append(&pool, late, &[printed(fence, 0)]).await.unwrap();
        assert!(kept.is_empty());
    }
    assert_eq!(ask(&pool, "select count(*) from log").await, "0");
    assert_eq!(ask(&pool, "select job::text from job").await, before);
    assert!(
        runner::renew(&pool, late, std::time::Duration::from_secs(60))
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(settle(&pool, other, &[succeeded(new)]).await.unwrap()[0].job, job);
}

#[tokio::test]
async fn a_session_that_has_ended_or_whose_lease_passed_claims_nothing() {
    let database = database().await;
    let pool = database.pool();
    let project = demo(&pool).await;
    let first = due(&pool, project).await;
    due(&pool, project).await;
    let (ended, passed, live) = (session(&pool).await, session(&pool).await, session(&pool).await);
    let claimed = claim(&pool, live, "default", &[], 1).await.unwrap();
    assert_eq!(claimed[0].fence.job, first);
    let place = Place::from(&claimed[0]);
    runner::close(&pool, ended).await.unwrap();
    let over = format!(
        "update runner set lease_expires_at = now() where id = '{}'",
        passed.0
    );
    tell(&pool, &over).await;
    for over in [ended, passed] {
        assert!(claim(&pool, over, "default", &[], 1).await.unwrap().is_empty());
        let behind = claim_behind(&pool, over, "default", &[], 1, place).await;
        assert!(behind.unwrap().is_empty());
    }
    assert_eq!(claim(&pool, live, "default", &[], 1).await.unwrap().len(), 1);
}

fn done() -> StepRecord {
    let now = clock::now();
    StepRecord {
        ordinal: 0,
        position: 0,
        step_id: "a".to_owned(),
        agent: "noop".to_owned(),
        failure: None,
        exit_code: None,
        signal: None,
        started_at: now,
        finished_at: now,
        output_bytes: 0,
        skipped: false,
        needs_human: false,
        usage: None,
        verdict: None,
        patched: false,
        measured: Measured::default(),
    }
}

/// Writes whatever an attempt writes while it runs; answers with which of it was taken, of what says so.
async fn write(pool: &Pool, runner: RunnerId, fence: Fence) -> [bool; 3] {
    let origin = NewOrigin {
        fence,
        host: "here".to_owned(),
        kind: "empty",
        base: String::new(),
    };
    workspace::put(pool, runner, &[origin]).await.unwrap();
    [
        !log::append(pool, runner, &[printed(fence, 0)])
            .await
            .unwrap()
            .is_empty(),
        usage::record(pool, runner, fence, 0, &Usage::default())
            .await
            .unwrap(),
        step::record(pool, runner, fence, &done(), 1).await.unwrap(),
    ]
}

#[tokio::test]
async fn nothing_is_written_of_an_earlier_attempt_nor_by_another_session() {
    let database = database().await;
    let pool = database.pool();
    due(&pool, demo(&pool).await).await;
    let (runner, other) = (session(&pool).await, session(&pool).await);
    let claimed = async || claim(&pool, runner, "default", &[], 1).await.unwrap()[0].fence;
    let old = claimed().await;
    let back = Settlement {
        ending: Ending::HandedBack,
        ..succeeded(old)
    };
    settle(&pool, runner, &[back]).await.unwrap();
    // By the same session, which only the number tells from the one before.
    let new = claimed().await;
    assert_eq!((old.attempt, new.attempt), (1, 2));
    let written =
        "select (select count(*) from log) + (select count(*) from step_usage) + (select count(*) from step)
                          + (select count(*) from workspace) + (select step_position from job)";
    for (runner, fence) in [(runner, old), (other, old), (other, new)] {
        assert_eq!(write(&pool, runner, fence).await, [false; 3]);
        assert_eq!(settle(&pool, runner, &[succeeded(fence)]).await.unwrap(), []);
        assert_eq!(ask(&pool, written).await, "0");
    }
    assert_eq!(write(&pool, runner, new).await, [true; 3]);
    assert_eq!(ask(&pool, written).await, "5");
}

#[tokio::test]
async fn what_was_taken_back_and_claimed_again_meanwhile_is_not_taken_from_who_has_it_now() {
    let database = database().await;
    let pool = database.pool();
    let project = demo(&pool).await;
    let jobs = [due(&pool, project).await, due(&pool, project).await];
    let (dead, live) = (session(&pool).await, session(&pool).await);
    claim(&pool, dead, "default", &[], 2).await.unwrap();
    runner::close(&pool, dead).await.unwrap();
    // One who takes back is held up at the first job, and has seen both.
    let hold = format!(
        "create function hold() returns trigger language plpgsql as $$
            begin if current_setting('application_name') = 'late' then perform pg_advisory_xact_lock(1); end if; return new; end $$;
         create trigger hold before update on job for each row when (old.id = '{}') execute function hold()",
        jobs[0]
    );
    tell(&pool, &hold).await;
    let mut holder = pool.acquire().await.unwrap();
    sqlx::raw_sql("select pg_advisory_lock(1)")
        .execute(&mut *holder)
        .await
        .unwrap();
    let mut late = pool.acquire().await.unwrap();
    sqlx::raw_sql("set application_name = 'late'")
        .execute(&mut *late)
        .await
        .unwrap();
    let taking = tokio::spawn(async move { expire(&mut *late, None, 10).await.unwrap() });
    let waits = "select exists (select from pg_locks where locktype = 'advisory' and not granted)";
    until(async || (ask(&pool, waits).await == "true").then_some(())).await;
    // Another takes the second back, and it is claimed again.
    let taken = expire(&pool, None, 10).await.unwrap();
    assert_eq!(taken.iter().map(|taken| taken.job).collect::<Vec<_>>(), jobs[1..]);
    let fence = claim(&pool, live, "default", &[], 1).await.unwrap()[0].fence;
    assert_eq!((fence.job, fence.attempt), (jobs[1], 2));
    sqlx::raw_sql("select pg_advisory_unlock(1)")
        .execute(&mut *holder)
        .await
        .unwrap();
    let taken = taking.await.unwrap();
    assert_eq!(taken.iter().map(|taken| taken.job).collect::<Vec<_>>(), jobs[..1]);
    assert_eq!(settle(&pool, live, &[succeeded(fence)]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn job_whose_runners_vanish_ends_as_lost_after_its_attempts() {
    let database = database().await;
    let pool = database.pool();
    due(&pool, demo(&pool).await).await;
    tell(&pool, "update job set max_attempts = 2").await;
    for attempt in 1..=2 {
        let runner = session(&pool).await;
        assert_eq!(
            claim(&pool, runner, "default", &[], 1).await.unwrap()[0]
                .fence
                .attempt,
            attempt
        );
        runner::close(&pool, runner).await.unwrap();
        let expired = expire(&pool, None, 10).await.unwrap();
        assert_eq!(expired[0].over, attempt == 2);
    }
    assert_eq!(
        ask(&pool, "select state || ' ' || code || ' ' || attempt from job").await,
        "failed lost 2"
    );
    let history = "select string_agg(number || ' ' || outcome, ', ' order by number) from attempt";
    assert_eq!(ask(&pool, history).await, "1 lost, 2 lost");
}
