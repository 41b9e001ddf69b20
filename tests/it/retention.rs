//! Retention deletes what is too old and nobody needs, and is in nobody's way.

#![expect(
    clippy::disallowed_methods,
    reason = "a test holds locks by a transaction of its own"
)]

use std::time::Duration;

use orchestrator::app::retain::Sweep;
use orchestrator::app::roll_up::roll_up;
use orchestrator::domain::id::RunnerId;
use orchestrator::domain::retention::{Kept, Retention};
use orchestrator::objects::Objects;
use orchestrator::store::retain::Place;
use orchestrator::store::{Pool, claim, retain, runner};
use strum::IntoEnumIterator as _;

use crate::support::{Database, ask, database, tell};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Everything is kept a day, but what one of these tests shortens.
const A_DAY: Retention = Retention {
    every: DAY,
    artifacts: None,
    logs: None,
    steps: None,
    attempts: None,
    jobs: Some(DAY),
    events: None,
    occurrences: None,
    deliveries: None,
    runners: None,
    reports: None,
    keys: DAY,
};

/// `count` jobs that succeeded so many days ago, each with a specification, an attempt, a step, a line
/// of its log and its events; the nth has n at the end of its id.
fn ended(count: usize, days: u32) -> String {
    format!(
        "insert into job (id, project_id, queue, state, priority, run_at, max_attempts, attempt, created_at, started_at, finished_at)
         select (left(uuid_at(now() - interval '{days} days')::text, 24) || lpad(to_hex({days} * 65536 + n), 12, '0'))::uuid, project.id, 'default', 'succeeded', 0,
                now() - interval '{days} days', 3, 1, now() - interval '{days} days', now() - interval '{days} days', now() - interval '{days} days'
           from generate_series(1, {count}) as n, project;
         insert into job_spec select id, '{{}}', sha256('') from job on conflict do nothing;
         insert into attempt (job_id, number, runner_id, started_at, ended_at, outcome)
         select id, 1, gen_random_uuid(), started_at, finished_at, 'succeeded' from job where attempt = 1 on conflict do nothing;
         insert into step (job_id, attempt, ordinal, position, step_id, agent, status, started_at, finished_at, output_bytes)
         select id, 1, 0, 0, 'a', 'command', 'succeeded', started_at, finished_at, 6 from job where attempt = 1 on conflict do nothing;
         insert into step_usage (job_id, attempt, ordinal, agent, simulated, report)
         select id, 1, 0, 'command', true, '' from job where attempt = 1 on conflict do nothing;
         insert into log (job_id, attempt, seq, position, stream, at, body)
         select id, 1, 0, 0, 'stdout', started_at, 'hello' from job where attempt = 1 on conflict do nothing;
         insert into event (at, project_id, job_id, attempt, kind, actor)
         select finished_at, project_id, id, 1, 'job.succeeded', 'runner:test' from job
          where attempt = 1 and not exists (select from event where job_id = job.id);"
    )
}

async fn house() -> (Database, Pool) {
    let database = database().await;
    let pool = database.pool();
    orchestrator::store::project::put(&pool, "demo", "/srv/demo", "administrator")
        .await
        .unwrap();
    (database, pool)
}

async fn counted(pool: &Pool) {
    while roll_up(pool).await.unwrap() {}
}

/// Where no artifact ever was.
fn nowhere() -> Objects {
    Objects::directory(std::path::Path::new("/nonexistent/artifacts"))
}

/// One pass, as a scheduler does it; answers with the rows deleted.
async fn pass(pool: &Pool, retention: &Retention) -> u64 {
    let mut rows = 0;
    for kept in Kept::iter() {
        let mut sweep = Sweep::of(kept);
        loop {
            let swept = sweep.batch(pool, &nowhere(), retention, None).await.unwrap();
            rows += swept.rows;
            if !swept.more {
                break;
            }
        }
    }
    rows
}

async fn rows(pool: &Pool) -> String {
    let count = |table: &str| format!("'{table} ' || (select count(*) from {table})");
    let tables = ["job", "job_spec", "attempt", "step", "log", "event"];
    let list = tables.map(count).join(" || ', ' || ");
    ask(pool, &list).await
}

#[tokio::test]
async fn old_jobs_go_with_everything_of_theirs_and_their_events_stay() {
    let (_database, pool) = house().await;
    tell(&pool, &(ended(1200, 3) + &ended(5, 0))).await;
    tell(
        &pool,
        "insert into job_key select project_id, id::text, id from job;
         insert into job_need select job.id, last.id from job, (select id from job order by id desc limit 1) as last where job.id <> last.id;
         insert into workspace (job_id, host, kind, base) select id, 'here', 'empty', '' from job;
         insert into approval (job_id, attempt, position, question) select id, 1, 0, 'Well?' from job;",
    )
    .await;
    counted(&pool).await;
    assert_eq!(pass(&pool, &A_DAY).await, 1200);
    for table in ["job_key", "job_need", "workspace", "approval", "step_usage"] {
        let left = format!("(select count(*) from {table} where job_id not in (select id from job))");
        assert_eq!(ask(&pool, &left).await, "0", "{table}");
    }
    assert_eq!(ask(&pool, "(select count(*) from workspace)").await, "5");
    assert_eq!(
        rows(&pool).await,
        "job 5, job_spec 5, attempt 5, step 5, log 5, event 1205"
    );
    // What was counted stays counted.
    assert_eq!(ask(&pool, "select sum(jobs) from rollup_job").await, "1205");
    assert_eq!(pass(&pool, &A_DAY).await, 0);
}

#[tokio::test]
async fn artifacts_of_a_job_that_somebody_deleted_by_hand_hold_up_nothing() {
    let (_database, pool) = house().await;
    let artifact = "insert into artifact (job_id, path, attempt, size, sha256, media_type)
                    select id, 'report.md', 1, 0, sha256(''), 'text/plain' from";
    let nobody = "(select ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid as id from generate_series(1, 3) as n) as job";
    tell(&pool, &(ended(1, 3) + artifact + " job; " + artifact + nobody)).await;
    let (mut place, mut old) = (Place::default(), Vec::new());
    while let (jobs, true) = retain::files::with_old_artifacts(&pool, DAY, None, 2, &mut place)
        .await
        .unwrap()
    {
        old.extend(jobs);
    }
    assert_eq!(old.len(), 1);
}

#[tokio::test]
async fn what_is_still_needed_is_kept() {
    let (_database, pool) = house().await;
    tell(&pool, &ended(6, 3)).await;
    let nth = |n: u32| {
        format!(
            "(select id from job where state = 'succeeded' order by id offset {} limit 1)",
            n - 1
        )
    };
    let young = "insert into job (id, project_id, queue, state, priority, run_at, max_attempts, created_at)
                 select uuid_at(now() - interval '4 days'), project.id, 'default', 'blocked', 0, now(), 3, now() - interval '4 days' from project";
    tell(&pool, young).await;
    for statement in [
        // Its dependant has not ended.
        format!(
            "insert into job_need select (select id from job where state = 'blocked'), {}",
            nth(1)
        ),
        // Its key is in its time, its neighbour's is not.
        format!(
            "insert into job_key select project.id, 'young', {} from project",
            nth(2)
        ),
        format!("update job set created_at = now() where id = {}", nth(2)),
        format!(
            "insert into job_key select project.id, 'old', {} from project",
            nth(3)
        ),
        // Those who need it have not heard of its end.
        format!("update job set needed = true where id = {}", nth(4)),
    ] {
        tell(&pool, &statement).await;
    }
    counted(&pool).await;
    // Reports have not counted its end.
    tell(&pool, &format!("insert into event (project_id, job_id, kind, actor) select project.id, {}, 'job.cancel_asked', 'cli' from project", nth(5))).await;
    assert_eq!(pass(&pool, &A_DAY).await, 2);
    let kept = "select string_agg(right(id::text, 1), '' order by id) from job where state = 'succeeded'";
    assert_eq!(ask(&pool, kept).await, "1245");
    assert_eq!(
        ask(&pool, "select count(*) from job where state = 'blocked'").await,
        "1"
    );
    assert_eq!(
        ask(&pool, "select string_agg(key, ' ') from job_key").await,
        "young"
    );
}

#[tokio::test]
async fn text_goes_before_the_job_and_the_summary_of_its_steps_stays() {
    let (_database, pool) = house().await;
    tell(&pool, &(ended(1500, 3) + &ended(5, 0))).await;
    counted(&pool).await;
    let retention = Retention {
        logs: Some(DAY),
        jobs: Some(30 * DAY),
        ..A_DAY
    };
    assert_eq!(pass(&pool, &retention).await, 1500);
    assert_eq!(
        rows(&pool).await,
        "job 1505, job_spec 1505, attempt 1505, step 1505, log 5, event 1505"
    );
    assert_eq!(ask(&pool, "select sum(output_bytes) from step").await, "9030");
    let retention = Retention {
        steps: Some(DAY),
        attempts: Some(DAY),
        ..retention
    };
    assert_eq!(pass(&pool, &retention).await, 4500);
    assert_eq!(ask(&pool, "select count(*) from step_usage").await, "5");
    assert_eq!(
        rows(&pool).await,
        "job 1505, job_spec 1505, attempt 5, step 5, log 5, event 1505"
    );
}

#[tokio::test]
async fn text_of_a_job_that_goes_on_is_kept_however_old() {
    let (_database, pool) = house().await;
    tell(&pool, &ended(1, 3)).await;
    counted(&pool).await;
    tell(
        &pool,
        "alter table job disable trigger job_takes_only_legal_ways;
                 update job set state = 'available', finished_at = null;
                 alter table job enable trigger job_takes_only_legal_ways",
    )
    .await;
    let retention = Retention {
        logs: Some(DAY),
        steps: Some(DAY),
        ..A_DAY
    };
    assert_eq!(pass(&pool, &retention).await, 0);
}

#[tokio::test]
async fn events_go_in_their_own_time_and_never_before_reports_counted_them() {
    let (_database, pool) = house().await;
    tell(&pool, &(ended(10, 3) + &ended(5, 0))).await;
    let retention = Retention {
        events: Some(DAY),
        jobs: None,
        ..A_DAY
    };
    assert_eq!(pass(&pool, &retention).await, 0);
    counted(&pool).await;
    assert_eq!(pass(&pool, &retention).await, 10);
    assert_eq!(
        rows(&pool).await,
        "job 15, job_spec 15, attempt 15, step 15, log 15, event 5"
    );
    assert_eq!(ask(&pool, "select sum(jobs) from rollup_job").await, "15");
}

#[tokio::test]
async fn sessions_sums_and_decided_instants_have_their_time_too() {
    let (_database, pool) = house().await;
    tell(&pool, &(ended(2, 3) + &ended(1, 0))).await;
    counted(&pool).await;
    tell(&pool, "insert into runner (id, instance, host, pid, version, slots, queues, lease_expires_at, ended_at)
                 select gen_random_uuid(), n::text, 'h', 1, 'v', 1, '{default}', now() - n * interval '1 day', now() - n * interval '1 day'
                   from generate_series(0, 2) as n;
                 insert into schedule (id, project_id, name, expression, spec, next_due_at, fire_at)
                 select gen_random_uuid(), id, 'hourly', '0 * * * *', '{}', now(), now() from project;
                 insert into occurrence (schedule_id, due_at, decided_at, decision, reason)
                 select schedule.id, now() - n * interval '1 day', now() - n * interval '1 day', 'skipped', 'grace'
                   from generate_series(0, 4) as n, schedule").await;
    let retention = Retention {
        jobs: None,
        runners: Some(DAY),
        occurrences: Some(DAY),
        reports: Some(DAY),
        ..A_DAY
    };
    pass(&pool, &retention).await;
    assert_eq!(ask(&pool, "select count(*) from runner").await, "1");
    assert_eq!(ask(&pool, "select count(*) from occurrence").await, "1");
    assert_eq!(ask(&pool, "select count(*) from rollup_job").await, "1");
}

#[tokio::test]
async fn callbacks_and_events_of_hooks_have_their_time_and_what_is_on_its_way_stays() {
    let (_database, pool) = house().await;
    tell(&pool, &(ended(1, 3) + &ended(1, 0))).await;
    counted(&pool).await;
    // The nth callback was made n days ago and tried twice; the odd ones are still on their way.
    tell(
        &pool,
        "insert into delivery (id, project_id, job_id, url, authority, body, state, tries, attempts, created_at, finished_at)
         select gen_random_uuid(), project_id, id, 'https://ci.example.com/', 'ci.example.com', '{}',
                case when n % 2 = 1 then 'pending' when n % 4 = 0 then 'dead' else 'delivered' end, 2, 2, now() - n * interval '1 day',
                case when n % 2 = 0 then now() - n * interval '1 day' end
           from generate_series(0, 7) as n, (select id, project_id from job order by id desc limit 1) as job;
         insert into delivery_attempt (delivery_id, number, ended_at) select id, n, now() from delivery, generate_series(1, 2) as n;
         insert into hook (id, project_id, name, provider, spec, secret) select gen_random_uuid(), id, 'push', 'github', '{}', '' from project;
         insert into hook_delivery (id, hook_id, received_at, sender_id, body_bytes, outcome, job_id)
         select gen_random_uuid(), hook.id, now() - n * interval '1 day', n::text, 2, 'accepted', gen_random_uuid()
           from hook, generate_series(0, 4) as n",
    )
    .await;
    let left = "select (select count(*) from delivery where state = 'pending') || ' ' || (select count(*) from delivery where state <> 'pending')
                   || ' ' || (select count(*) from delivery_attempt) || ' ' || (select string_agg(sender_id, '' order by sender_id) from hook_delivery)";
    let keeps = Retention { jobs: None, ..A_DAY };
    assert_eq!(pass(&pool, &keeps).await, 0);
    assert_eq!(ask(&pool, left).await, "4 4 16 01234");
    let retention = Retention {
        deliveries: Some(DAY * 5 / 2),
        ..keeps
    };
    assert_eq!(pass(&pool, &retention).await, 2 + 2);
    assert_eq!(ask(&pool, left).await, "4 2 12 012");
    assert_eq!(
        rows(&pool).await,
        "job 2, job_spec 2, attempt 2, step 2, log 2, event 2"
    );
    // A job goes when nothing of it is on its way any more.
    tell(
        &pool,
        "update delivery set job_id = (select min(id::text)::uuid from job)",
    )
    .await;
    assert_eq!(pass(&pool, &A_DAY).await, 0);
    tell(&pool, "update delivery set state = 'dead', finished_at = now()").await;
    assert_eq!(pass(&pool, &A_DAY).await, 1);
    assert_eq!(ask(&pool, left).await, "0 0 0 012");
}

#[tokio::test(flavor = "multi_thread")]
async fn any_number_of_schedulers_delete_each_row_once() {
    let (_database, pool) = house().await;
    tell(&pool, &ended(3000, 3)).await;
    counted(&pool).await;
    let retention = Retention {
        logs: Some(DAY),
        ..A_DAY
    };
    let (one, other, third) = tokio::join!(
        pass(&pool, &retention),
        pass(&pool, &retention),
        pass(&pool, &retention)
    );
    let rest = pass(&pool, &retention).await;
    // The texts and the jobs; a text may go with its job.
    let deleted = one + other + third + rest;
    assert!((3000..=6000).contains(&deleted), "{deleted}");
    assert_eq!(
        rows(&pool).await,
        "job 0, job_spec 0, attempt 0, step 0, log 0, event 3000"
    );
}

#[tokio::test]
async fn a_batch_under_way_keeps_nobody_waiting() {
    let (_database, pool) = house().await;
    tell(&pool, &ended(100, 3)).await;
    counted(&pool).await;
    let due = "with made as (insert into job (id, project_id, queue, state, priority, run_at, max_attempts)
                             select gen_random_uuid(), id, 'default', 'available', 0, now(), 3 from project returning id)
               insert into job_spec select id, '{}', sha256('') from made";
    tell(&pool, due).await;
    let mut deleting = pool.begin().await.unwrap();
    let ids = retain::lock_jobs(&mut *deleting, DAY, DAY, None, 100, &mut Place::default())
        .await
        .unwrap();
    assert_eq!(retain::delete_jobs(&mut *deleting, &ids).await.unwrap(), 100);
    // With everything locked that a batch ever locks, work comes in and goes on; whoever waited would fail.
    let other = pool.clone();
    tell(&other, "set lock_timeout = '1s'").await;
    tell(&other, due).await;
    let runner = session(&other).await;
    let claimed = claim::claim(&other, runner, "default", &[], 10).await.unwrap();
    assert_eq!(claimed.len(), 2);
    let settled: Vec<_> = claimed
        .into_iter()
        .map(|claimed| orchestrator::store::settle::Settlement {
            fence: claimed.fence,
            ending: orchestrator::domain::attempt::Ending::Succeeded,
            step: None,
        })
        .collect();
    assert_eq!(
        orchestrator::store::settle::settle(&other, runner, &settled)
            .await
            .unwrap()
            .len(),
        2
    );
    // Another scheduler finds nothing left rather than waiting for the first.
    assert_eq!(pass(&other, &A_DAY).await, 0);
    deleting.rollback().await.unwrap();
    assert_eq!(pass(&pool, &A_DAY).await, 100);
}

async fn session(pool: &Pool) -> RunnerId {
    let id = RunnerId::generate();
    let queues = ["default".to_owned()];
    let new = runner::NewSession {
        id,
        instance: "one",
        host: "here",
        pid: 1,
        slots: 10,
        queues: &queues,
        labels: &[],
        lease: DAY,
    };
    runner::open(pool, &new).await.unwrap();
    id
}
