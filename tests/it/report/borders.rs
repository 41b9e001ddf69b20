//! Where reports could be wrong by one: at midnight, in other zones, with nothing in the tables, with jobs that never ran.

use std::time::Duration;

use orchestrator::app::authenticate::Caller;
use orchestrator::app::control;
use orchestrator::app::hint::Hints;
use orchestrator::app::submit::submit;
use orchestrator::domain::attempt::{Ending, Failure};
use orchestrator::domain::id::JobId;
use orchestrator::domain::job::Code;
use orchestrator::domain::spec::JobSpec;
use orchestrator::store::{Pool, database as pools, project};
use serde_json::{Value, json};

use super::roll_up_all;
use super::sums::{end, session};
use crate::support::{ask, database, tell};

/// Every view, and an order in which its rows always come.
async fn views(pool: &Pool) -> Vec<String> {
    let views = "select string_agg(relname, ' ' order by relname) from pg_class
                  where relnamespace = 'report'::regnamespace and relkind = 'v'";
    ask(pool, views).await.split(' ').map(str::to_owned).collect()
}

/// All that a view says, times in one zone's words whatever the session's is.
async fn said(pool: &Pool, view: &str) -> String {
    let words = format!(
        "select coalesce(string_agg(line, E'\\n' order by line), '') from (
             select (select string_agg(key || '=' || coalesce(case when value ~ '^\\d{{4}}-\\d\\d-\\d\\dT'
                                                                  then (value::timestamptz at time zone 'UTC')::text else value end, ''), ' ' order by key)
                       from jsonb_each_text(to_jsonb(told)) as fields (key, value) where key <> 'oldest_waits_sec') as line
               from report.{view} as told) as lines"
    );
    ask(pool, &words).await
}

#[tokio::test]
async fn every_view_of_an_empty_database_is_empty_and_says_so_without_an_error() {
    let database = database().await;
    let reporter = database.login(Some("orchestrator_reporter")).await;
    let pool = pools::pool(&reporter, "test", 1).unwrap();
    roll_up_all(&database.pool()).await;
    for view in views(&pool).await {
        let rows = ask(&pool, &format!("select count(*) from report.{view}")).await;
        let expected = if view == "freshness" { "1" } else { "0" };
        assert_eq!(rows, expected, "{view}");
    }
    assert_eq!(
        ask(
            &pool,
            "select events_behind || ' ' || last_event_id from report.freshness"
        )
        .await,
        "0 0"
    );
}

#[tokio::test]
async fn every_view_says_the_same_in_every_zone() {
    let database = database().await;
    let owner = database.pool();
    tell(&owner, include_str!("seed.sql")).await;
    roll_up_all(&owner).await;
    let reporter = database.login(Some("orchestrator_reporter")).await;
    let pool = pools::pool(&reporter, "test", 1).unwrap();
    let views = views(&pool).await;
    // What is measured against this moment differs from question to question.
    let views: Vec<_> = views.iter().filter(|view| *view != "freshness").collect();
    let mut in_utc = Vec::new();
    for view in &views {
        in_utc.push(said(&pool, view).await);
    }
    assert!(
        in_utc.iter().filter(|said| said.is_empty()).count() == 0,
        "{in_utc:#?}"
    );
    for zone in [
        "Asia/Kolkata",
        "America/St_Johns",
        "Pacific/Apia",
        "Asia/Kathmandu",
    ] {
        tell(&pool, &format!("set timezone = '{zone}'")).await;
        for (view, in_utc) in views.iter().zip(&in_utc) {
            assert_eq!(said(&pool, view).await, *in_utc, "{view} in {zone}");
        }
    }
}

/// One job that a runner ran from one instant to another, with its events.
async fn ran(pool: &Pool, number: u32, queue: &str, due: &str, from: &str, to: &str) {
    tell(
        pool,
        &format!(
            "insert into job (id, project_id, queue, state, priority, run_at, max_attempts, attempt, created_at, started_at, finished_at)
             select ('01980000-0000-7000-8000-00000000000{number}')::uuid, id, '{queue}', 'succeeded', 0, '{due}', 3, 1, '{due}', '{from}', '{to}' from project;
             insert into job_spec select id, '{{}}', sha256('') from job on conflict do nothing;
             insert into attempt (job_id, number, runner_id, due_at, started_at, ended_at, outcome)
             select ('01980000-0000-7000-8000-00000000000{number}')::uuid, 1, id, '{due}', '{from}', '{to}', 'succeeded' from runner;
             insert into event (at, project_id, job_id, attempt, kind, actor)
             select at, project_id, job.id, attempt, kind, actor from job,
                    (values ('{due}'::timestamptz, 'job.submitted', 'token:t'), ('{to}', 'job.succeeded', 'runner:r')) as told (at, kind, actor)
              where job.id = '01980000-0000-7000-8000-00000000000{number}'"
        ),
    )
    .await;
}

#[tokio::test]
async fn the_last_microsecond_of_a_day_is_of_that_day_and_the_first_of_the_next() {
    let database = database().await;
    let pool = database.pool();
    project::put(&pool, "web", "/srv/web", "administrator")
        .await
        .unwrap();
    tell(
        &pool,
        "insert into runner (id, instance, host, pid, version, slots, queues, started_at, lease_expires_at, ended_at)
         values (gen_random_uuid(), 'r', 'h', 1, '1', 1, '{q}', '2030-03-30T23:30:00Z', '2030-03-31T01:30:00Z', '2030-03-31T01:30:00Z')",
    )
    .await;
    // In the night in which Europe's clocks go on an hour, which is nothing to UTC.
    let last = "2030-03-30T23:59:59.999999Z";
    ran(&pool, 1, "q", last, last, last).await;
    ran(&pool, 2, "q", last, last, "2030-03-31T00:00:00Z").await;
    ran(
        &pool,
        3,
        "q",
        "2030-03-31T00:00:00Z",
        "2030-03-31T00:00:01Z",
        "2030-03-31T01:00:00Z",
    )
    .await;
    roll_up_all(&pool).await;
    tell(&pool, "set timezone = 'Europe/Berlin'").await;
    let days = "select string_agg(day || ': ' || submitted || ' in, ' || succeeded || ' out', '; ' order by day) from report.daily_throughput";
    assert_eq!(
        ask(&pool, days).await,
        "2030-03-30: 2 in, 1 out; 2030-03-31: 1 in, 2 out"
    );
    let attempts =
        "select string_agg(day || ': ' || attempts, '; ' order by day) from report.wait_and_run_percentiles";
    assert_eq!(ask(&pool, attempts).await, "2030-03-30: 1; 2030-03-31: 2");
    // One attempt ended within each hour but the last, which begins where the third ended and counts it.
    let hours = "select string_agg(to_char(hour at time zone 'UTC', 'DD HH24') || ': ' || slot_sec || ' s, ' || attempts || ', ' || round(busy_sec::numeric, 3), '; ' order by hour)
                   from report.runner_utilisation";
    assert_eq!(
        ask(&pool, hours).await,
        "30 23: 1800 s, 1, 0.000; 31 00: 3600 s, 1, 3599.000; 31 01: 1800 s, 1, 0.000"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_were_cancelled_while_blocked_or_retried_by_hand_are_counted_as_often_as_they_ended() {
    let database = database().await;
    let pool = database.pool();
    project::put(&pool, "web", "/srv/web", "administrator")
        .await
        .unwrap();
    let (hints, caller) = (Hints::default(), Caller::operator("test"));
    let put = async |needs: &[JobId]| {
        let needs: Vec<String> = needs.iter().map(|id| id.0.to_string()).collect();
        let spec = json!({ "goal": "g", "project_id": "web", "needs": needs, "steps": [{ "step_id": "a", "argv": ["true"] }] });
        let spec = JobSpec::read(spec.to_string().as_bytes()).unwrap();
        submit(&pool, &hints, &caller, &spec).await.unwrap().job
    };
    let runner = session(&pool).await;
    let failed = || Ending::Failed(Failure::new(Code::ExitNonzero, "it did"));
    // One fails, is retried by hand, fails again, is retried, and succeeds.
    let again = put(&[]).await;
    end(&pool, runner, 1, failed).await;
    control::retry(&pool, &hints, &caller, again).await.unwrap();
    roll_up_all(&pool).await;
    end(&pool, runner, 1, failed).await;
    control::retry(&pool, &hints, &caller, again).await.unwrap();
    end(&pool, runner, 1, || Ending::Succeeded).await;
    // One is cancelled while it waits for its second try.
    let waiting = put(&[]).await;
    let later = Duration::from_secs(60);
    end(&pool, runner, 1, || {
        Ending::Retried(Failure::new(Code::ExitNonzero, "again"), later)
    })
    .await;
    control::cancel(&pool, &hints, &caller, waiting).await.unwrap();
    // One is cancelled while it is blocked, and one fails because what it needs was cancelled.
    let needed = put(&[]).await;
    let blocked = put(&[needed]).await;
    let bereft = put(&[needed]).await;
    control::cancel(&pool, &hints, &caller, blocked).await.unwrap();
    control::cancel(&pool, &hints, &caller, needed).await.unwrap();
    roll_up_all(&pool).await;
    roll_up_all(&pool).await;
    let throughput = "select submitted || ' in, ' || succeeded || ' + ' || failed || ' + ' || cancelled || ' out' from report.daily_throughput";
    let bereft_state = ask(
        &pool,
        &format!(
            "select state || ' ' || code from report.jobs where job_id = '{}'",
            bereft.0
        ),
    )
    .await;
    assert_eq!(bereft_state, "cancelled needs_failed");
    assert_eq!(ask(&pool, throughput).await, "5 in, 1 + 2 + 4 out");
    let why = "select string_agg(state || ' ' || code || ' ' || jobs, ', ' order by state, code) from report.failures_by_code";
    assert_eq!(
        ask(&pool, why).await,
        "cancelled cancelled 3, cancelled needs_failed 1, failed exit_nonzero 2"
    );
    let attempts = "select attempts from report.wait_and_run_percentiles";
    assert_eq!(ask(&pool, attempts).await, "4");
    let rows = "select string_agg(outcome || ' ' || count, ', ' order by outcome) from (select outcome, count(*) from report.attempts group by 1) as tried";
    assert_eq!(ask(&pool, rows).await, "failed 2, retried 1, succeeded 1");
    let of = async |id: JobId| {
        let question = format!(
            "select concat_ws(' ', state, attempts, code, ran_for_sec is null) from report.jobs where job_id = '{}'",
            id.0
        );
        ask(&pool, &question).await
    };
    assert_eq!(of(again).await, "succeeded 3 f");
    assert_eq!(of(waiting).await, "cancelled 1 cancelled f");
    assert_eq!(of(blocked).await, "cancelled 0 cancelled t");
    assert_eq!(ask(&pool, "select count(*) from report.queue_depth").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_waits_is_reported_with_what_it_waits_for() {
    let database = database().await;
    let pool = database.pool();
    project::put(&pool, "web", "/srv/web", "administrator")
        .await
        .unwrap();
    let (hints, caller) = (Hints::default(), Caller::operator("test"));
    let put = async |more: Value| {
        let mut spec =
            json!({ "goal": "g", "project_id": "web", "steps": [{ "step_id": "a", "argv": ["true"] }] });
        spec.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let spec = JobSpec::read(spec.to_string().as_bytes()).unwrap();
        submit(&pool, &hints, &caller, &spec).await.unwrap().job
    };
    let said = async |job: JobId| {
        let question = format!(
            "select concat_ws(' ', state, 'of', max_attempts, runs_on, gate, concurrency_key, concurrency_limit, unique_key, nullif(needs, '{{}}'))
               from report.jobs where job_id = '{}'",
            job.0
        );
        ask(&pool, &question).await
    };
    let keyed = json!({ "concurrency": { "key": "k", "limit": 1 } });
    let (first, second) = (put(keyed.clone()).await, put(keyed).await);
    assert_eq!(said(first).await, "available of 3 k 1");
    assert_eq!(said(second).await, "scheduled of 3 key k 1");
    let elsewhere = put(json!({ "runs_on": "gpu", "unique_key": "u", "max_attempts": 1 })).await;
    assert_eq!(said(elsewhere).await, "available of 1 gpu u");
    let mut needs = [first.0, second.0];
    needs.sort_unstable();
    let blocked = put(json!({ "needs": needs })).await;
    assert_eq!(
        said(blocked).await,
        format!("blocked of 3 {{{},{}}}", needs[0], needs[1])
    );
}
