//! Jobs that wait for other jobs.

use orchestrator::app::control::{cancel, retry};
use orchestrator::app::follow::sweep;
use orchestrator::app::submit;
use orchestrator::domain::attempt::Ending;
use orchestrator::domain::id::JobId;
use orchestrator::store::insert::{NewJob, insert};
use orchestrator::store::need;
use orchestrator::store::project;
use orchestrator::store::settle::{Settlement, settle};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{Queue, claim, end, failed, spec};
use crate::support::{ask, tell, until};

#[tokio::test]
async fn job_waits_until_all_it_needs_succeeded() {
    let queue = Queue::new().await;
    let first = queue.submit(json!({})).await;
    let second = queue.submit(json!({ "idempotency_key": "second" })).await;
    let last = queue.submit(json!({ "needs": [first, "second"] })).await;
    let runner = queue.session(&[]).await;
    let claimed = claim(&runner, 10).await;
    assert_eq!(
        claimed.iter().map(|fence| fence.job).collect::<Vec<_>>(),
        [first, second]
    );
    end(&runner, claimed[0], Ending::Succeeded).await;
    assert_eq!(queue.state(last).await, "blocked");
    end(&runner, claimed[1], Ending::Succeeded).await;
    assert_eq!(queue.state(last).await, "available");
}

#[tokio::test]
async fn what_needs_a_job_that_failed_is_cancelled_down_to_the_last() {
    let queue = Queue::new().await;
    let keyed = |key: &str, needs: &[&str]| json!({ "idempotency_key": key, "needs": needs });
    let graph = [
        keyed("a", &[]),
        keyed("b", &["a"]),
        keyed("c", &["b"]),
        keyed("d", &["a", "c"]),
        keyed("e", &[]),
    ];
    let jobs = queue.submit_all(&graph).await.unwrap();
    let runner = queue.session(&[]).await;
    let claimed = claim(&runner, 10).await;
    assert_eq!(claimed.len(), 2, "a and e");
    end(&runner, claimed[0], failed()).await;
    let states = async || {
        let mut states = Vec::new();
        for accepted in &jobs {
            states.push(queue.state(accepted.job).await);
        }
        states
    };
    let cancelled = "cancelled needs_failed";
    assert_eq!(
        states().await,
        ["failed exit_nonzero", cancelled, cancelled, cancelled, "running"]
    );
    let why = ask(
        &queue.pool,
        &format!("select message from job where id = '{}'", jobs[1].job),
    )
    .await;
    assert!(
        why.contains(&jobs[0].job.to_string()) && why.contains("retry"),
        "{why}"
    );
    assert_eq!(
        ask(&queue.pool, "select count(*) from job where needed").await,
        "0"
    );
}

#[tokio::test]
async fn need_that_has_ended_already_counts_as_it_ended() {
    let queue = Queue::new().await;
    let runner = queue.session(&[]).await;
    let (good, bad) = (queue.submit(json!({})).await, queue.submit(json!({})).await);
    let claimed = claim(&runner, 2).await;
    end(&runner, claimed[0], Ending::Succeeded).await;
    end(&runner, claimed[1], failed()).await;
    let after_good = queue.submit(json!({ "needs": [good] })).await;
    let after_bad = queue.submit(json!({ "needs": [good, bad] })).await;
    assert_eq!(queue.state(after_good).await, "available");
    assert_eq!(queue.state(after_bad).await, "cancelled needs_failed");
    // By hand, and one after the other, they come back.
    for (job, state) in [(bad, "available"), (after_bad, "blocked")] {
        retry(&queue.pool, &queue.hints, &queue.operator, job)
            .await
            .unwrap();
        assert_eq!(queue.state(job).await, state);
    }
}

#[tokio::test]
async fn needs_that_go_round_or_lead_nowhere_are_refused_and_nothing_is_stored() {
    let queue = Queue::new().await;
    let cases = [
        (
            vec![
                json!({ "idempotency_key": "a", "needs": ["b"] }),
                json!({ "idempotency_key": "b", "needs": ["a"] }),
            ],
            "jobs[0].needs",
            "itself",
        ),
        (
            vec![json!({}), json!({ "idempotency_key": "c", "needs": ["c"] })],
            "jobs[1].needs",
            "itself",
        ),
        (vec![json!({ "needs": ["nobody"] })], "jobs[0].needs", "nobody"),
        (
            vec![json!({ "needs": ["01980000-0000-7000-8000-000000000000"] })],
            "jobs[0].needs",
            "01980000",
        ),
    ];
    for (request, path, named) in cases {
        match queue.submit_all(&request).await {
            Err(submit::Error::Invalid(violations)) => {
                assert_eq!(violations[0].path, path);
                assert!(violations[0].message.contains(named), "{}", violations[0].message);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(ask(&queue.pool, "select count(*) from job").await, "0");
    assert_eq!(ask(&queue.pool, "select count(*) from job_key").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn need_that_ends_while_its_dependant_comes_in_is_never_missed() {
    let queue = Queue::new().await;
    let runner = queue.session(&[]).await;
    for _ in 0..40 {
        let need = queue.submit(json!({})).await;
        let fence = claim(&runner, 1).await[0];
        let (settled, dependant) = tokio::join!(
            end(&runner, fence, Ending::Succeeded),
            queue.submit(json!({ "needs": [need] }))
        );
        assert!(settled);
        assert_eq!(queue.state(dependant).await, "available");
        cancel(&queue.pool, &queue.hints, &queue.operator, dependant)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn end_that_nobody_told_of_is_found_by_the_scheduler() {
    let queue = Queue::new().await;
    let need = queue.submit(json!({})).await;
    let last = queue.submit(json!({ "needs": [need] })).await;
    // As if the runner had been gone right after its commit.
    tell(
        &queue.pool,
        &format!(
            "update job set state = 'cancelled', code = 'cancelled', finished_at = now() where id = '{need}'"
        ),
    )
    .await;
    assert_eq!(queue.state(last).await, "blocked");
    sweep(&queue.pool, &queue.hints).await.unwrap();
    assert_eq!(queue.state(last).await, "cancelled needs_failed");
}

#[tokio::test]
async fn of_two_jobs_with_one_key_the_first_is_put_in_and_is_the_one_that_is_needed() {
    let queue = Queue::new().await;
    let keyed = json!({ "idempotency_key": "a" });
    let bulk = [keyed.clone(), keyed, json!({ "needs": ["a"] })];
    let accepted = queue.submit_all(&bulk).await.unwrap();
    assert_eq!(accepted[0].job, accepted[1].job);
    assert!(!accepted[0].repeated && accepted[1].repeated);
    let runner = queue.session(&[]).await;
    let claimed = claim(&runner, 10).await;
    assert_eq!((claimed.len(), claimed[0].job), (1, accepted[0].job));
    end(&runner, claimed[0], Ending::Succeeded).await;
    assert_eq!(queue.state(accepted[2].job).await, "available");
}

#[tokio::test]
async fn key_that_others_take_just_then_is_theirs_and_it_is_their_job_that_is_needed() {
    let queue = Queue::new().await;
    let (keyed, needing) = (json!({ "idempotency_key": "k" }), json!({ "needs": ["k"] }));
    // Another's request with the key, whose commit is under way.
    let theirs = spec(&keyed);
    let project = project::by_alias(&queue.pool, "demo").await.unwrap().unwrap().id;
    let job = NewJob {
        id: JobId::generate(),
        project,
        spec: &theirs,
        request_hash: Sha256::digest(serde_json::to_vec(&theirs).unwrap()).into(),
        actor: "other",
        needs: Vec::new(),
        needed: false,
        trace: None,
        seen: None,
    };
    let mut other = queue.pool.acquire().await.unwrap();
    sqlx::raw_sql("begin").execute(&mut *other).await.unwrap();
    insert(&mut *other, std::slice::from_ref(&job), None)
        .await
        .unwrap();
    let waits = "select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')";
    let bulk = [keyed, needing];
    let (accepted, ()) = tokio::join!(queue.submit_all(&bulk), async {
        until(async || (ask(&queue.pool, waits).await == "true").then_some(())).await;
        sqlx::raw_sql("commit").execute(&mut *other).await.unwrap();
    });
    let accepted = accepted.unwrap();
    assert!(accepted[0].repeated && accepted[0].job == job.id);
    let needs = format!(
        "select needs_id from job_need where job_id = '{}'",
        accepted[1].job
    );
    assert_eq!(ask(&queue.pool, &needs).await, job.id.to_string());
}

#[tokio::test]
async fn job_of_another_project_is_not_to_be_needed_also_beside_one_that_may() {
    let queue = Queue::new().await;
    project::put(&queue.pool, "other", "/srv/other", "administrator")
        .await
        .unwrap();
    let need = queue.submit(json!({})).await;
    let bulk = [
        json!({ "needs": [need] }),
        json!({ "needs": [need], "project_id": "other" }),
    ];
    match queue.submit_all(&bulk).await {
        Err(submit::Error::Invalid(violations)) => assert_eq!(violations[0].path, "jobs[1].needs"),
        other => panic!("{other:?}"),
    }
    assert_eq!(ask(&queue.pool, "select count(*) from job").await, "1");
}

#[tokio::test]
async fn a_thousand_jobs_of_one_request_go_in_with_one_statement() {
    let queue = Queue::new().await;
    let count = "create table statement (at timestamptz default now());
        create function note() returns trigger language plpgsql as $$ begin insert into statement default values; return null; end $$;
        create trigger note after insert on job execute function note()";
    tell(&queue.pool, count).await;
    let bulk = vec![json!({}); submit::MOST];
    assert_eq!(queue.submit_all(&bulk).await.unwrap().len(), 1000);
    assert_eq!(ask(&queue.pool, "select count(*) from statement").await, "1");
}

#[tokio::test]
async fn who_releases_and_who_comes_to_need_do_not_wait_for_each_other() {
    let queue = Queue::new().await;
    // The one that waits has the smaller id.
    let both = [
        json!({ "idempotency_key": "waits", "needs": ["ends"] }),
        json!({ "idempotency_key": "ends" }),
    ];
    let accepted = queue.submit_all(&both).await.unwrap();
    let (waits, ends) = (accepted[0].job, accepted[1].job);
    assert!(waits.0 < ends.0);
    let project = project::by_alias(&queue.pool, "demo").await.unwrap().unwrap().id;
    let runner = queue.session(&[]).await;
    let fence = claim(&runner, 1).await[0];
    let ended = Settlement {
        fence,
        ending: Ending::Succeeded,
        step: None,
    };
    settle(&queue.pool, runner.id, &[ended]).await.unwrap();
    let mut releasing = queue.pool.acquire().await.unwrap();
    sqlx::raw_sql("begin").execute(&mut *releasing).await.unwrap();
    need::hold(&mut *releasing, &[ends], 10).await.unwrap();
    let pool = queue.pool.clone();
    let marking = tokio::spawn(async move { need::mark(&pool, &[(waits, project), (ends, project)]).await });
    let waiting = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    until(async || (ask(&queue.pool, waiting).await == "1").then_some(())).await;
    let (moved, more) = need::release(&mut *releasing, &[ends], 10).await.unwrap();
    assert_eq!((moved.len(), more), (1, false));
    sqlx::raw_sql("commit").execute(&mut *releasing).await.unwrap();
    assert_eq!(marking.await.unwrap().unwrap().len(), 2);
}

#[tokio::test]
async fn of_many_who_need_a_job_some_go_on_at_a_time_and_none_is_forgotten() {
    let queue = Queue::new().await;
    let keyed = |key: &str| json!({ "idempotency_key": key });
    let first = [keyed("ends"), keyed("goes on")];
    let first = queue.submit_all(&first).await.unwrap();
    let (ends, goes_on) = (first[0].job, first[1].job);
    let five = vec![json!({ "needs": [ends] }); 5];
    queue.submit_all(&five).await.unwrap();
    // They wait for another as well, and are in nobody's way.
    let both = vec![json!({ "needs": [ends, goes_on] }); 3];
    queue.submit_all(&both).await.unwrap();
    let runner = queue.session(&[]).await;
    let fence = claim(&runner, 1).await[0];
    assert_eq!(fence.job, ends);
    let ended = Settlement {
        fence,
        ending: Ending::Succeeded,
        step: None,
    };
    settle(&queue.pool, runner.id, &[ended]).await.unwrap();
    for (moves, more) in [(2, true), (2, true), (1, false), (0, false)] {
        let untold = need::untold(&queue.pool, 10).await.unwrap();
        assert_eq!(untold.contains(&ends), more || moves > 0);
        let mut transaction = queue.pool.acquire().await.unwrap();
        sqlx::raw_sql("begin").execute(&mut *transaction).await.unwrap();
        need::hold(&mut *transaction, &[ends], 2).await.unwrap();
        let (moved, left) = need::release(&mut *transaction, &[ends], 2).await.unwrap();
        sqlx::raw_sql("commit").execute(&mut *transaction).await.unwrap();
        assert_eq!((moved.len(), left), (moves, more));
    }
    let states = "select string_agg(state::text, ' ' order by id) from job where id not in (select needs_id from job_need)";
    let available = "available ".repeat(5) + "blocked blocked blocked";
    assert_eq!(ask(&queue.pool, states).await, available);
    end(&runner, claim(&runner, 1).await[0], Ending::Succeeded).await;
    assert_eq!(ask(&queue.pool, states).await, ["available"; 8].join(" "));
}

#[tokio::test]
async fn one_job_may_be_needed_under_several_names() {
    let queue = Queue::new().await;
    let need = queue.submit(json!({ "idempotency_key": "built" })).await;
    let shouted = need.to_string().to_uppercase();
    let job = queue.submit(json!({ "needs": ["built", need, shouted] })).await;
    assert_eq!(ask(&queue.pool, "select count(*) from job_need").await, "1");
    let runner = queue.session(&[]).await;
    end(&runner, claim(&runner, 1).await[0], Ending::Succeeded).await;
    assert_eq!(queue.state(job).await, "available");
}
