//! How long it takes from a webhook to the program it starts, on a system that has nothing else to do.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use orchestrator::domain::clock;
use orchestrator::store::Pool;
use sqlx::postgres::PgListener;

use super::http::{Api, body, post};
use super::support::client::Connection;
use super::support::{Database, Goal, percentile, tell};
use super::{Bench, jobs};

pub(super) async fn measure(bench: &Bench<'_>) {
    let number = bench.options.size(400).max(20);
    let database = bench.server.database("latency").await;
    let pool = database.pool(4);
    let api = Api::start(&database, &pool).await;
    let mut runner = database.service(&["runner", "--slots", "4"], &[]);
    runner.hear("runner session open");
    let mut waits = starts(&pool, &mut api.connect().await, number).await;
    let mut trips = round_trips(&database, &pool, number).await;
    let (p50, p99) = (percentile(&mut waits, 0.5), percentile(&mut waits, 0.99));
    let trip = percentile(&mut trips, 0.5);
    let report = &bench.report;
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

/// Milliseconds from sending each of `number` webhooks, one at a time, to the start of its program. They hold the
/// commit, the hint, the claim and the fork.
pub(super) async fn starts(pool: &Pool, api: &mut Connection, number: usize) -> Vec<f64> {
    let first = clock::now();
    let body = body(&jobs::program(&["/bin/true"]));
    let mut sent = Vec::new();
    for _ in 0..number {
        sent.push(clock::now());
        assert!(post(api, &body).await);
        tokio::time::sleep(Duration::from_millis(rand::random_range(15..45))).await;
    }
    let started = loop {
        let started: Vec<DateTime<Utc>> = sqlx::query_scalar(
            "select step.started_at from step join job on job.id = job_id
              where job.created_at >= $1 and queue = 'default' order by job.id",
        )
        .bind(first)
        .fetch_all(pool)
        .await
        .unwrap();
        if started.len() == number {
            break started;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let waited = |(started, sent): (DateTime<Utc>, DateTime<Utc>)| (started - sent).as_seconds_f64() * 1e3;
    started.into_iter().zip(sent).map(waited).collect()
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
