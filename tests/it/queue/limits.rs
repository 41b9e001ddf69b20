//! Limits by key and by project, unique jobs, labels, bulk.

use std::collections::HashSet;
use std::time::Duration;

use orchestrator::app::control::pause_queue;
use orchestrator::app::follow::sweep;
use orchestrator::app::maintain::promote;
use orchestrator::app::submit;
use orchestrator::domain::attempt::{Ending, Failure};
use orchestrator::domain::job::Code;
use serde_json::json;

use super::{Queue, claim, end};
use crate::support::{ask, tell};

#[tokio::test]
async fn no_more_jobs_of_a_key_run_than_its_limit_and_others_pass_them() {
    let queue = Queue::new().await;
    for _ in 0..5 {
        queue
            .submit(json!({ "concurrency": { "key": "k", "limit": 2 }, "priority": 9 }))
            .await;
    }
    let free = queue.submit(json!({})).await;
    let runner = queue.session(&[]).await;
    let first = claim(&runner, 10).await;
    assert_eq!(first.len(), 3);
    assert_eq!(first[2].job, free);
    end(&runner, first[0], Ending::Succeeded).await;
    let next = claim(&runner, 10).await;
    assert_eq!(next.len(), 1, "one ended, one is let in");
    end(&runner, first[1], Ending::Succeeded).await;
    end(&runner, next[0], Ending::Succeeded).await;
    assert_eq!(claim(&runner, 10).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn limit_holds_when_many_come_and_end_at_once() {
    let queue = Queue::new().await;
    let runner = queue.session(&[]).await;
    let submitted = (0..30).map(|_| queue.submit(json!({ "concurrency": { "key": "k", "limit": 3 } })));
    futures_util::future::join_all(submitted).await;
    let mut done = 0;
    while done < 30 {
        let batch = claim(&runner, 100).await;
        let running = ask(
            &queue.pool,
            "select count(*) from job where state in ('available', 'running')",
        )
        .await;
        assert!(running.parse::<u32>().unwrap() <= 3, "{running} at once");
        assert!(!batch.is_empty(), "{done} done and nothing goes on");
        done += batch.len();
        futures_util::future::join_all(
            batch
                .into_iter()
                .map(|fence| end(&runner, fence, Ending::Succeeded)),
        )
        .await;
    }
}

#[tokio::test]
async fn project_runs_no_more_than_it_may_together_with_keys() {
    let queue = Queue::new().await;
    tell(&queue.pool, "update project set max_running = 2").await;
    for key in ["a", "a", "b", "b"] {
        queue
            .submit(json!({ "concurrency": { "key": key, "limit": 1 } }))
            .await;
    }
    for _ in 0..3 {
        queue.submit(json!({})).await;
    }
    let runner = queue.session(&[]).await;
    let mut done = HashSet::new();
    while done.len() < 7 {
        let batch = claim(&runner, 100).await;
        assert!((1..=2).contains(&batch.len()), "{} run", batch.len());
        let doubled =
            "select count(*) from (select from job where state = 'running' and concurrency_key is not null
                         group by concurrency_key having count(*) > 1) as doubled";
        assert_eq!(ask(&queue.pool, doubled).await, "0");
        for fence in batch {
            assert!(done.insert(fence.job));
            end(&runner, fence, Ending::Succeeded).await;
        }
    }
}

#[tokio::test]
async fn retry_gives_its_room_to_others_while_it_waits() {
    let queue = Queue::new().await;
    let limited = || json!({ "concurrency": { "key": "k", "limit": 1 } });
    let (first, second) = (queue.submit(limited()).await, queue.submit(limited()).await);
    let runner = queue.session(&[]).await;
    let fence = claim(&runner, 10).await[0];
    assert_eq!(fence.job, first);
    end(
        &runner,
        fence,
        Ending::Retried(Failure::new(Code::ExitNonzero, "again"), Duration::ZERO),
    )
    .await;
    assert_eq!(queue.state(first).await, "scheduled");
    promote(&queue.pool, &queue.hints, None).await.unwrap();
    let fence = claim(&runner, 10).await;
    assert_eq!((fence.len(), fence[0].job), (1, second));
    end(&runner, fence[0], Ending::Succeeded).await;
    assert_eq!(claim(&runner, 10).await[0].attempt, 2);
}

#[tokio::test]
async fn job_of_a_lower_limit_holds_back_those_behind_it_and_is_let_in_when_there_is_room() {
    let queue = Queue::new().await;
    let limited = |limit| json!({ "concurrency": { "key": "k", "limit": limit } });
    let runner = queue.session(&[]).await;
    let mut jobs = Vec::new();
    for limit in [3, 3, 1, 3, 3] {
        jobs.push(queue.submit(limited(limit)).await);
    }
    let claimed = claim(&runner, 10).await;
    assert_eq!(claimed.len(), 2);
    end(&runner, claimed[0], Ending::Succeeded).await;
    assert!(claim(&runner, 10).await.is_empty());
    end(&runner, claimed[1], Ending::Succeeded).await;
    let claimed = claim(&runner, 10).await;
    let claimed: Vec<_> = claimed.iter().map(|fence| fence.job).collect();
    assert_eq!(claimed, jobs[2..]);
}

#[tokio::test]
async fn job_of_a_lower_limit_holds_back_those_behind_it_also_while_somebody_holds_it() {
    let queue = Queue::new().await;
    let limited =
        |limit, priority| json!({ "priority": priority, "concurrency": { "key": "k", "limit": limit } });
    let runner = queue.session(&[]).await;
    queue.submit(limited(1, 9)).await;
    assert_eq!(claim(&runner, 10).await.len(), 1);
    let first = queue.submit(limited(1, 5)).await;
    let mut holder = queue.pool.acquire().await.unwrap();
    sqlx::raw_sql("begin").execute(&mut *holder).await.unwrap();
    sqlx::query("select from job where id = $1 for no key update")
        .bind(first.0)
        .execute(&mut *holder)
        .await
        .unwrap();
    queue.submit_all(&vec![limited(100, 0); 50]).await.unwrap();
    assert!(claim(&runner, 100).await.is_empty());
    let touched = "select count(*) from job where state = 'scheduled' and xmax <> '0'";
    assert_eq!(ask(&queue.pool, touched).await, "1");
}

#[tokio::test]
async fn room_is_given_to_the_next_while_somebody_holds_the_first_in_line() {
    let queue = Queue::new().await;
    let limited = json!({ "concurrency": { "key": "k", "limit": 1 } });
    let jobs = queue.submit_all(&vec![limited; 3]).await.unwrap();
    let runner = queue.session(&[]).await;
    let fence = claim(&runner, 10).await[0];
    let mut holder = queue.pool.acquire().await.unwrap();
    sqlx::raw_sql("begin").execute(&mut *holder).await.unwrap();
    sqlx::query("select from job where id = $1 for no key update")
        .bind(jobs[1].job.0)
        .execute(&mut *holder)
        .await
        .unwrap();
    end(&runner, fence, Ending::Succeeded).await;
    let claimed = claim(&runner, 10).await;
    assert_eq!((claimed.len(), claimed[0].job), (1, jobs[2].job));
}

#[tokio::test]
async fn nothing_is_written_to_those_who_wait_for_room_there_is_not() {
    let queue = Queue::new().await;
    let limited = json!({ "concurrency": { "key": "k", "limit": 1 } });
    queue.submit_all(&vec![limited.clone(); 100]).await.unwrap();
    // Of those who wait, only some right behind the one who was let in were held for it.
    let touched = "select count(*) from job where state = 'scheduled' and xmax <> '0'";
    assert_eq!(ask(&queue.pool, touched).await, "10");
    tell(
        &queue.pool,
        "update job set priority = 1 where state = 'scheduled'",
    )
    .await;
    queue.submit(limited).await;
    assert_eq!(ask(&queue.pool, touched).await, "0");
}

#[tokio::test]
async fn job_whose_time_comes_finds_its_room_itself_however_many_others_wait() {
    let queue = Queue::new().await;
    let limited = json!({ "concurrency": { "key": "k", "limit": 1 } });
    let job = queue.submit(limited).await;
    let runner = queue.session(&[]).await;
    let fence = claim(&runner, 1).await[0];
    let again = Ending::Retried(Failure::new(Code::ExitNonzero, "again"), Duration::ZERO);
    end(&runner, fence, again).await;
    assert_eq!(queue.state(job).await, "scheduled");
    // The sweep of a tick looks at so many keys and no more.
    promote(&queue.pool, &queue.hints, None).await.unwrap();
    assert_eq!(queue.state(job).await, "available");
}

#[tokio::test]
async fn room_that_nobody_gave_away_is_found_by_the_scheduler() {
    let queue = Queue::new().await;
    let limited = || json!({ "concurrency": { "key": "k", "limit": 1 } });
    let (first, second) = (queue.submit(limited()).await, queue.submit(limited()).await);
    tell(
        &queue.pool,
        &format!(
            "update job set state = 'cancelled', code = 'cancelled', finished_at = now() where id = '{first}'"
        ),
    )
    .await;
    assert_eq!(queue.state(second).await, "scheduled");
    sweep(&queue.pool, &queue.hints).await.unwrap();
    assert_eq!(queue.state(second).await, "available");
}

#[tokio::test]
async fn room_is_found_however_many_keys_have_none() {
    let queue = Queue::new().await;
    let limited = |number: usize| json!({ "concurrency": { "key": format!("key-{number:04}"), "limit": 1 } });
    let mut last = None;
    // Each with a job that has its room and one that waits.
    for batch in (0..1200).collect::<Vec<_>>().chunks(500) {
        let jobs: Vec<_> = batch
            .iter()
            .flat_map(|number| [limited(*number), limited(*number)])
            .collect();
        last = queue.submit_all(&jobs).await.unwrap().last().copied();
    }
    let waiting = last.unwrap().job;
    let gone = format!(
        "update job set state = 'cancelled', code = 'cancelled', finished_at = now()
          where state = 'available' and concurrency_key = (select concurrency_key from job where id = '{waiting}')"
    );
    tell(&queue.pool, &gone).await;
    assert_eq!(queue.state(waiting).await, "scheduled");
    sweep(&queue.pool, &queue.hints).await.unwrap();
    assert_eq!(queue.state(waiting).await, "available");
}

#[tokio::test]
async fn unique_key_is_held_by_one_job_until_it_has_ended() {
    let queue = Queue::new().await;
    let unique = || json!({ "unique_key": "report" });
    let first = queue.submit(unique()).await;
    let repeat = queue.submit_all(&[unique()]).await.unwrap()[0];
    assert_eq!((repeat.job, repeat.repeated), (first, true));
    let runner = queue.session(&[]).await;
    let fence = claim(&runner, 1).await[0];
    assert!(
        queue.submit_all(&[unique()]).await.unwrap()[0].repeated,
        "also while it runs"
    );
    end(&runner, fence, Ending::Succeeded).await;
    assert!(!queue.submit_all(&[unique()]).await.unwrap()[0].repeated);
}

#[tokio::test]
async fn job_with_a_label_is_claimed_by_a_runner_that_has_it() {
    let queue = Queue::new().await;
    let job = queue.submit(json!({ "runs_on": "gpu" })).await;
    let (plain, gpu) = (queue.session(&[]).await, queue.session(&["gpu"]).await);
    assert!(plain.claim("default", &[], 10).await.unwrap().is_empty());
    assert_eq!(
        gpu.claim("default", &["gpu"], 10).await.unwrap()[0].fence.job,
        job
    );
}

#[tokio::test]
async fn thousand_jobs_come_in_together_or_not_at_all() {
    let queue = Queue::new().await;
    let mut many: Vec<_> = (0..1000)
        .map(|n| json!({ "idempotency_key": format!("k{n}") }))
        .collect();
    assert_eq!(
        queue
            .submit_all(&many)
            .await
            .unwrap()
            .iter()
            .filter(|job| !job.repeated)
            .count(),
        1000
    );
    assert!(
        queue
            .submit_all(&many)
            .await
            .unwrap()
            .iter()
            .all(|job| job.repeated)
    );
    // The last one is another request under a key that is taken.
    many.iter_mut()
        .enumerate()
        .take(999)
        .for_each(|(n, job)| *job = json!({ "idempotency_key": format!("new{n}") }));
    many[999] = json!({ "idempotency_key": "k0", "priority": 1 });
    let refused = queue.submit_all(&many).await;
    assert!(
        matches!(refused, Err(submit::Error::KeyReused { ref key, .. }) if key == "k0"),
        "{refused:?}"
    );
    assert_eq!(ask(&queue.pool, "select count(*) from job").await, "1000");
}

#[tokio::test(flavor = "multi_thread")]
async fn same_key_at_the_same_instant_makes_one_job() {
    let queue = Queue::new().await;
    let request = [json!({ "idempotency_key": "same" })];
    let at_once = (0..20).map(|_| async { queue.submit_all(&request).await.unwrap()[0] });
    let answers = futures_util::future::join_all(at_once).await;
    assert_eq!(answers.iter().filter(|accepted| !accepted.repeated).count(), 1);
    assert_eq!(
        answers
            .iter()
            .map(|accepted| accepted.job)
            .collect::<HashSet<_>>()
            .len(),
        1
    );
}

#[tokio::test]
async fn a_job_of_a_paused_queue_takes_no_room_from_others() {
    let queue = Queue::new().await;
    pause_queue(&queue.pool, &queue.hints, &queue.operator, "slow", true)
        .await
        .unwrap();
    tell(&queue.pool, "update project set max_running = 1").await;
    let of = |name: &str, priority: i16| json!({ "queue": name, "priority": priority, "concurrency": { "key": "a", "limit": 1 } });
    // The one that is paused is before the other in both orders.
    let paused = queue.submit(of("slow", 100)).await;
    let open = queue.submit(of("default", 0)).await;
    sweep(&queue.pool, &queue.hints).await.unwrap();
    assert_eq!(queue.state(open).await, "available");
    assert_eq!(queue.state(paused).await, "scheduled");
    let runner = queue.session(&[]).await;
    let fence = claim(&runner, 1).await[0];
    assert_eq!(fence.job, open);
    end(&runner, fence, Ending::Succeeded).await;
    assert_eq!(queue.state(paused).await, "scheduled");
    pause_queue(&queue.pool, &queue.hints, &queue.operator, "slow", false)
        .await
        .unwrap();
    sweep(&queue.pool, &queue.hints).await.unwrap();
    assert_eq!(queue.state(paused).await, "available");
}

#[tokio::test]
async fn who_leaves_its_keys_gate_has_its_place_at_the_projects() {
    let queue = Queue::new().await;
    tell(&queue.pool, "update project set max_running = 1").await;
    let keyed = |priority| json!({ "concurrency": { "key": "k", "limit": 1 }, "priority": priority });
    let first = queue.submit(keyed(0)).await;
    let urgent = queue.submit(keyed(100)).await;
    let other = queue.submit(json!({ "priority": -100 })).await;
    let runner = queue.session(&[]).await;
    for job in [first, urgent, other] {
        let claimed = claim(&runner, 10).await;
        assert_eq!(claimed.iter().map(|fence| fence.job).collect::<Vec<_>>(), [job]);
        end(&runner, claimed[0], Ending::Succeeded).await;
    }
}

#[tokio::test]
async fn a_key_that_is_used_twice_is_answered_with_its_places_in_the_request() {
    let queue = Queue::new().await;
    let keyed = |key: &str, goal: &str| json!({ "idempotency_key": key, "goal": goal });
    let refused =
        async |fields: &[serde_json::Value]| queue.submit_all(fields).await.unwrap_err().to_string();
    let said = refused(&[json!({}), keyed("a", "one"), keyed("a", "another")]).await;
    assert!(
        said.starts_with("jobs[2]: the idempotency key \"a\" belongs to jobs[1], which was asked for"),
        "{said}"
    );
    let first = queue.submit(keyed("a", "one")).await;
    let said = refused(&[json!({}), keyed("a", "another")]).await;
    assert!(
        said.starts_with(&format!(
            "jobs[1]: the idempotency key \"a\" belongs to job {first}, which"
        )),
        "{said}"
    );
    assert_eq!(ask(&queue.pool, "select count(*) from job").await, "1");
}
