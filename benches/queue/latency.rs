//! How long it takes from a webhook to the program it starts, on a system that has nothing else to do.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use orchestrator::domain::clock;
use orchestrator::store::Pool;
use sqlx::postgres::PgListener;

use super::http::{Api, body, post};
use super::support::client::Connection;
use super::support::{Database, Goal, ask, percentile, tell};
use super::{Bench, jobs};

pub(super) async fn measure(bench: &Bench<'_>) {
    let number = bench.options.size(400).max(20);
    let database = bench.server.database("latency").await;
    let pool = database.pool(4);
    let api = Api::start(&database, &pool).await;
    let mut runner = database.service(&["runner", "--slots", "4"], &[]);
    runner.hear("runner session open");
    let waits = starts(&pool, &mut api.connect().await, number).await;
    let part = |of: fn(&Waits) -> f64| waits.iter().map(of).collect::<Vec<_>>();
    let (mut inserted, mut claimed) = (part(|one| one.inserted), part(|one| one.claimed));
    let mut waits = part(|one| one.started);
    let mut trips = round_trips(&database, &pool, number).await;
    let (p50, p99) = (percentile(&mut waits, 0.5), percentile(&mut waits, 0.99));
    let trip = percentile(&mut trips, 0.5);
    let report = &bench.report;
    let (inserted, claimed) = (percentile(&mut inserted, 0.5), percentile(&mut claimed, 0.5));
    report.say("webhook sent to the insert, p50", inserted, "ms");
    report.say("webhook sent to the claim, p50", claimed, "ms");
    report.figure(
        "webhook sent to process started, p50",
        p50,
        "ms",
        None,
        Goal::AtMost(5.0),
    );
    report.figure(
        "webhook sent to process started, p99",
        p99,
        "ms",
        None,
        Goal::AtMost(25.0),
    );
    report.figure(
        "the same p50 / a bare NOTIFY round trip, p50",
        p50,
        "ms",
        Some(trip),
        Goal::None,
    );
    drop(runner);
    pool.close().await;
}

/// Milliseconds from sending a webhook until something is under way.
pub(super) struct Waits {
    /// The transaction that puts the job in.
    inserted: f64,
    /// The transaction that claims it.
    claimed: f64,
    /// Its program.
    pub(super) started: f64,
}

/// What comes of each of `number` webhooks, one at a time. The start of the program has behind it the commit, the hint,
/// the claim, the workspace, the fork and the call that executes it: whoever forks it looks at the clock then.
pub(super) async fn starts(pool: &Pool, api: &mut Connection, number: usize) -> Vec<Waits> {
    let first = clock::now();
    let body = body(&jobs::program(&["/bin/true"]));
    let mut sent = Vec::new();
    for _ in 0..number {
        sent.push(clock::now());
        assert!(post(api, &body).await);
        tokio::time::sleep(Duration::from_millis(rand::random_range(15..45))).await;
    }
    let began = Instant::now();
    let came = loop {
        let came: Vec<[DateTime<Utc>; 3]> = sqlx::query_as::<_, (_, _, _)>(
            "select job.created_at, attempt.started_at, step.started_at
               from job join attempt on attempt.job_id = job.id and attempt.number = 1
                        join step on step.job_id = job.id and step.attempt = 1
              where job.created_at >= $1 and queue = 'default' and job.finished_at is not null order by job.id",
        )
        .bind(first)
        .fetch_all(pool)
        .await
        .unwrap()
        .into_iter()
        .map(|(inserted, claimed, started)| [inserted, claimed, started])
        .collect();
        if came.len() == number {
            break came;
        }
        assert!(began.elapsed() < jobs::LONGEST, "{number} jobs do not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let others = "(select count(*) from job where finished_at is not null and queue = 'default' and state <> 'succeeded')";
    assert_eq!(ask(pool, others).await, "0", "jobs that did not succeed");
    let waits = |(came, sent): ([DateTime<Utc>; 3], DateTime<Utc>)| {
        let [inserted, claimed, started] = came.map(|at| (at - sent).as_seconds_f64() * 1e3);
        Waits {
            inserted,
            claimed,
            started,
        }
    };
    came.into_iter().zip(sent).map(waits).collect()
}

/// Milliseconds from NOTIFY to its arrival on another connection.
async fn round_trips(database: &Database, pool: &Pool, number: usize) -> Vec<f64> {
    let mut listener = PgListener::connect_with(&database.pool(1)).await.unwrap();
    listener.listen("bench").await.unwrap();
    let mut trips = Vec::new();
    for _ in 0..number {
        let began = Instant::now();
        tell(pool, "notify bench").await;
        listener.recv().await.unwrap();
        trips.push(began.elapsed().as_secs_f64() * 1e3);
        tokio::time::sleep(Duration::from_millis(rand::random_range(5..15))).await;
    }
    trips
}
