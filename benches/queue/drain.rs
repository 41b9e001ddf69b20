//! How fast jobs that do nothing go through one runner: the real loop, the real rows, the real settle.

use std::time::{Duration, Instant};

use orchestrator::domain::attempt::{Ending, Measured, StepRecord};
use orchestrator::domain::clock;
use orchestrator::domain::id::RunnerId;
use orchestrator::store::claim::{Claimed, claim};
use orchestrator::store::runner::NewSession;
use orchestrator::store::settle::{Settlement, settle};
use orchestrator::store::{Pool, runner};

use super::support::{Database, Goal, ask, median, tell};
use super::{Bench, jobs, limits};

/// Ended and future jobs of tables that were in use for long, with what each ended one left.
const FILL: &str = "
    create temporary table filled as
    select ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid as id, project.id as project_id, n % 11 = 0 as is_future,
           now() - interval '30 days' + interval '30 days' * n / {rows} as at
      from generate_series(1, {rows}) as n, project where alias = 'bench';
    insert into job (id, project_id, queue, state, priority, run_at, max_attempts, attempt, started_at, finished_at)
    select id, project_id, 'default', (case when is_future then 'scheduled' else 'succeeded' end)::job_state, 0,
           case when is_future then now() + interval '1 day' else at end, 3, case when is_future then 0 else 1 end,
           case when not is_future then at end, case when not is_future then at end
      from filled;
    insert into job_spec (job_id, of_project, spec, request_hash)
    select id, project_id, '{\"goal\": \"measure\", \"queue\": \"default\", \"project_id\": \"bench\", \"steps\": [{\"step_id\": \"a\", \"agent\": \"noop\"}]}',
           sha256('') from filled;
    insert into attempt (job_id, number, runner_id, due_at, started_at, ended_at, outcome)
    select id, 1, id, at, at, at, 'succeeded' from filled where not is_future;
    insert into step (job_id, attempt, ordinal, position, step_id, agent, status, started_at, finished_at)
    select id, 1, 0, 0, 'a', 'noop', 'succeeded', at, at from filled where not is_future;
    insert into event (at, project_id, job_id, attempt, kind, actor)
    select at, project_id, id, 1, kind, 'runner:' || id
      from filled cross join (values ('job.running'), ('job.succeeded')) as told (kind) where not is_future order by at;
    drop table filled;
    analyze;";

pub(super) async fn measure(bench: &Bench<'_>) {
    let number = bench.options.size(50_000);
    let database = bench.server.database("drain").await;
    let pool = database.pool(8);
    let (mut one_row, mut bare, mut real) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..3 {
        one_row.push(limits::inserts(&database, 8, Duration::from_secs(2)).await);
        bare.push(statements(&database, number).await);
        real.push(runner_drain(&database, number).await);
    }
    let (one_row, bare, real) = (median(one_row), median(bare), median(real));
    bench
        .report
        .say("one-row durable inserts, 8 connections", one_row, "rows/s");
    bench
        .report
        .say("bare claim-50 and settle-50, 4 connections", bare, "jobs/s");
    bench.report.figure(
        "drain by one runner / bare statements",
        real,
        "jobs/s",
        Some(bare),
        Goal::AtLeast(0.6),
    );
    bench.report.figure(
        "drain by one runner / one-row inserts",
        real,
        "jobs/s",
        Some(one_row),
        Goal::AtLeast(2.5),
    );

    let rows = bench.options.size(2_200_000);
    let fill = FILL.replace("{rows}", &rows.to_string());
    database.at_length(&fill).await;
    // As it is in a table that was in use for long; or vacuum does it now, on one of the cores, beside what is measured.
    database
        .at_length("vacuum job, job_spec, attempt, step, event")
        .await;
    database.at_length("checkpoint").await;
    let mut full = Vec::new();
    for _ in 0..3 {
        full.push(runner_drain(&database, number).await);
    }
    let future = rows / 11;
    let ended = rows - future;
    let name = format!("drain beside {ended} ended and {future} future jobs / without");
    bench
        .report
        .figure(&name, median(full), "jobs/s", Some(real), Goal::AtLeast(0.9));
    pool.close().await;
}

/// A runner process takes `number` jobs from the table; jobs a second.
pub(super) async fn runner_drain(database: &Database, number: usize) -> f64 {
    let pool = database.pool(2);
    jobs::hold(&pool).await;
    jobs::put(&pool, number, &jobs::noop()).await;
    let mut service = database.service(&["runner", "--slots", "1000"], &[("LOG_LEVEL", "info")]);
    service.hear("runner session open");
    tell(&pool, "checkpoint").await;
    let (before, began) = (jobs::events(&pool).await, Instant::now());
    jobs::release(&pool).await;
    jobs::ended(&pool, number, before).await;
    let rate = number as f64 / began.elapsed().as_secs_f64();
    jobs::succeeded(&pool, number, before).await;
    let open = "select count(*) from job where state in ('running', 'available')";
    assert_eq!(ask(&pool, open).await, "0");
    drop(service);
    pool.close().await;
    rate
}

/// The statements of claim and settle alone, over four connections.
async fn statements(database: &Database, number: usize) -> f64 {
    let pool = database.pool(4);
    jobs::put(&pool, number, &jobs::noop()).await;
    let session = session(&pool).await;
    tell(&pool, "checkpoint").await;
    let began = Instant::now();
    let workers: Vec<_> = (0..4)
        .map(|_| tokio::spawn(claim_and_settle(pool.clone(), session)))
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    let rate = number as f64 / began.elapsed().as_secs_f64();
    runner::close(&pool, session).await.unwrap();
    pool.close().await;
    rate
}

async fn claim_and_settle(pool: Pool, session: RunnerId) {
    let mut connection = pool.acquire().await.unwrap();
    loop {
        let claimed = claim(&mut *connection, session, "default", &[], 50)
            .await
            .unwrap();
        if claimed.is_empty() {
            return;
        }
        let batch: Vec<_> = claimed.iter().map(succeeded).collect();
        settle(&mut *connection, session, &batch).await.unwrap();
    }
}

fn succeeded(job: &Claimed) -> Settlement {
    let now = clock::now();
    Settlement {
        fence: job.fence,
        ending: Ending::Succeeded,
        step: Some(StepRecord {
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
        }),
    }
}

/// A session that lasts as long as the run.
pub(super) async fn session(pool: &Pool) -> RunnerId {
    let id = RunnerId::generate();
    let new = NewSession {
        id,
        instance: "bench",
        host: "here",
        pid: 1,
        slots: 1000,
        queues: &["default".to_owned()],
        labels: &[],
        lease: Duration::from_secs(24 * 3600),
    };
    runner::open(pool, &new).await.unwrap();
    id
}
