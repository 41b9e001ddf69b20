//! Claim and settle: each job at most one runner's, each end recorded once.

use std::collections::HashSet;

use orchestrator::domain::attempt::{Ending, Failure, Fence};
use orchestrator::domain::clock;
use orchestrator::domain::job::Code;
use orchestrator::store::claim::{Claimed, Place, claim, claim_behind, not_begun};
use orchestrator::store::log;
use orchestrator::store::settle::{Settlement, settle};

use super::{demo, due, session};
use crate::support::{ask, database, tell};

pub(super) fn succeeded(fence: Fence) -> Settlement {
    Settlement {
        fence,
        ending: Ending::Succeeded,
        step: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn job_is_claimed_by_one_of_many_runners_and_never_more_than_asked_for() {
    let database = database().await;
    let pool = database.pool();
    let project = demo(&pool).await;
    for _ in 0..200 {
        due(&pool, project).await;
    }
    let mut claims = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (pool, runner) = (pool.clone(), session(&pool).await);
        claims.spawn(async move {
            let mut mine = Vec::new();
            loop {
                let batch = claim(&pool, runner, "default", &[], 7).await.unwrap();
                assert!(batch.len() <= 7);
                if batch.is_empty() {
                    return mine;
                }
                mine.extend(batch.into_iter().map(|claimed| claimed.fence.job));
            }
        });
    }
    let all: Vec<_> = claims.join_all().await.concat();
    assert_eq!(all.len(), 200);
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), 200);
}

#[tokio::test]
async fn higher_priority_is_claimed_first_then_the_older() {
    let database = database().await;
    let pool = database.pool();
    let project = demo(&pool).await;
    let (old, new, urgent) = (
        due(&pool, project).await,
        due(&pool, project).await,
        due(&pool, project).await,
    );
    tell(
        &pool,
        &format!("update job set priority = 5 where id = '{urgent}'"),
    )
    .await;
    let claimed = claim(&pool, session(&pool).await, "default", &[], 10)
        .await
        .unwrap();
    let order: Vec<_> = claimed.iter().map(|claimed| claimed.fence.job).collect();
    assert_eq!(order, [urgent, old, new]);
}

#[tokio::test]
async fn labels_of_a_host_make_no_difference_to_the_order_of_its_claims() {
    let database = database().await;
    let pool = database.pool();
    let project = demo(&pool).await;
    let mut jobs = Vec::new();
    for (label, priority) in [("gpu", -1), ("", 0), ("arm", 5), ("", 5), ("gpu", 9), ("tpu", 9)] {
        let job = due(&pool, project).await;
        tell(
            &pool,
            &format!("update job set priority = {priority}, runs_on = '{label}' where id = '{job}'"),
        )
        .await;
        jobs.push(job);
    }
    let runner = session(&pool).await;
    let labels = ["gpu", "arm"];
    let first = claim(&pool, runner, "default", &labels, 2).await.unwrap();
    let place = Place::from(&first[1]);
    let behind = claim_behind(&pool, runner, "default", &labels, 10, place)
        .await
        .unwrap();
    let rest = claim(&pool, runner, "default", &labels, 10).await.unwrap();
    let order =
        [first, behind, rest].map(|claimed| claimed.iter().map(|job| job.fence.job).collect::<Vec<_>>());
    assert_eq!(order[0], [jobs[4], jobs[2]]);
    assert_eq!(order[1], [jobs[3]], "of the priority of the last one");
    assert_eq!(
        order[2],
        [jobs[1], jobs[0]],
        "and nothing that asks for another label"
    );
}

#[tokio::test]
async fn claim_behind_a_place_finds_what_follows_it_in_its_priority_and_nothing_before() {
    let database = database().await;
    let pool = database.pool();
    let (project, runner) = (demo(&pool).await, session(&pool).await);
    let mut jobs = Vec::new();
    for _ in 0..6 {
        jobs.push(due(&pool, project).await);
    }
    let of = |claimed: Vec<Claimed>| claimed.into_iter().map(|job| job.fence.job).collect::<Vec<_>>();
    let first = claim(&pool, runner, "default", &[], 2).await.unwrap();
    let place = Place::from(&first[1]);
    assert_eq!(of(first), jobs[..2]);
    // One that is more urgent, one that was due before, one that is less urgent.
    for (job, change) in [
        (jobs[2], "priority = 1"),
        (jobs[3], "run_at = now() - interval '1 day'"),
        (jobs[5], "priority = -1"),
    ] {
        tell(&pool, &format!("update job set {change} where id = '{job}'")).await;
    }
    let behind = claim_behind(&pool, runner, "default", &[], 10, place)
        .await
        .unwrap();
    assert_eq!(of(behind), jobs[4..5]);
    let left = claim(&pool, runner, "default", &[], 10).await.unwrap();
    assert_eq!(of(left), [jobs[2], jobs[3], jobs[5]]);
}

#[tokio::test]
async fn what_a_session_holds_without_knowing_it_is_found() {
    let database = database().await;
    let pool = database.pool();
    let (project, runner, other) = (demo(&pool).await, session(&pool).await, session(&pool).await);
    for _ in 0..3 {
        due(&pool, project).await;
    }
    claim(&pool, other, "default", &[], 1).await.unwrap();
    let known = claim(&pool, runner, "default", &[], 1).await.unwrap()[0].fence;
    let lost = claim(&pool, runner, "default", &[], 1).await.unwrap().remove(0);
    let found = not_begun(&pool, runner, &[known]).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].fence, found[0].claimed_at),
        (lost.fence, lost.claimed_at)
    );
    assert!(
        not_begun(&pool, runner, &[known, lost.fence])
            .await
            .unwrap()
            .is_empty()
    );
    // The job of an earlier attempt is not the one that is known.
    let earlier = Fence {
        attempt: 0,
        ..lost.fence
    };
    assert_eq!(
        not_begun(&pool, runner, &[known, earlier]).await.unwrap().len(),
        1
    );
}

/// A line of an attempt.
pub(super) fn printed(fence: Fence, seq: i32) -> log::Output {
    let line = log::NewLine {
        seq,
        position: 0,
        stream: "stdout",
        at: clock::now(),
        body: format!("line {seq}\n"),
    };
    log::Output {
        fence,
        lines: vec![line],
    }
}

#[tokio::test]
async fn output_of_several_attempts_goes_in_together_and_only_that_of_those_that_are_held() {
    let database = database().await;
    let pool = database.pool();
    let (project, runner, other) = (demo(&pool).await, session(&pool).await, session(&pool).await);
    for _ in 0..4 {
        due(&pool, project).await;
    }
    let held: Vec<Fence> = claim(&pool, runner, "default", &[], 3)
        .await
        .unwrap()
        .iter()
        .map(|job| job.fence)
        .collect();
    let others = claim(&pool, other, "default", &[], 1).await.unwrap()[0].fence;
    settle(&pool, runner, &[succeeded(held[2])]).await.unwrap();
    let outputs = [held[1], others, held[2], held[0]].map(|fence| printed(fence, 0));
    // Written again, as after a broken connection, it is there once.
    for _ in 0..2 {
        let kept = log::append(&pool, runner, &outputs).await.unwrap();
        assert_eq!(kept, [held[0], held[1]].into());
    }
    let there = "select array_agg(job_id order by job_id) from log";
    let expected = held[..2].iter().map(|fence| fence.job.to_string());
    assert_eq!(
        ask(&pool, there).await,
        format!("{{{}}}", expected.collect::<Vec<_>>().join(","))
    );
}

#[tokio::test]
async fn an_attempt_keeps_when_it_was_due_and_claimed_also_when_its_job_is_due_again_later() {
    let database = database().await;
    let pool = database.pool();
    due(&pool, demo(&pool).await).await;
    tell(&pool, "update job set run_at = '2026-01-01'").await;
    let runner = session(&pool).await;
    let claimed = claim(&pool, runner, "default", &[], 1).await.unwrap().remove(0);
    let again = Settlement {
        fence: claimed.fence,
        ending: Ending::Retried(
            Failure::new(Code::ExitNonzero, "again"),
            std::time::Duration::from_secs(60),
        ),
        step: None,
    };
    assert_eq!(settle(&pool, runner, &[again]).await.unwrap().len(), 1);
    let kept = format!(
        "(select due_at = '2026-01-01' and started_at = '{}' from attempt)",
        claimed.claimed_at
    );
    assert_eq!(ask(&pool, &kept).await, "true");
    assert_eq!(ask(&pool, "(select run_at > now() from job)").await, "true");
}

#[tokio::test]
async fn second_settle_of_one_attempt_changes_nothing() {
    let database = database().await;
    let pool = database.pool();
    let job = due(&pool, demo(&pool).await).await;
    let runner = session(&pool).await;
    let fence = claim(&pool, runner, "default", &[], 1).await.unwrap()[0].fence;
    assert_eq!(
        settle(&pool, runner, &[succeeded(fence)]).await.unwrap()[0].job,
        job
    );
    let failure = Failure {
        code: Code::ExitNonzero,
        message: "late".into(),
    };
    let late = Settlement {
        fence,
        ending: Ending::Failed(failure),
        step: None,
    };
    assert_eq!(settle(&pool, runner, &[late]).await.unwrap(), []);
    assert_eq!(ask(&pool, "select state from job").await, "succeeded");
    assert_eq!(ask(&pool, "select count(*) from attempt").await, "1");
}

#[tokio::test]
async fn runner_asked_to_drain_claims_nothing() {
    let database = database().await;
    let pool = database.pool();
    due(&pool, demo(&pool).await).await;
    let runner = session(&pool).await;
    tell(&pool, "update runner set drain_asked_at = now()").await;
    assert!(claim(&pool, runner, "default", &[], 1).await.unwrap().is_empty());
}
