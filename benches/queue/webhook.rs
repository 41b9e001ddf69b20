//! How many webhooks are accepted: each is a job in the table, on disk, before it is answered.

use std::time::{Duration, Instant};

use super::http::{Api, body, post};
use super::support::{Goal, ask, median};
use super::{Bench, jobs, limits};

/// Callers at once, each on a connection of its own.
const CALLERS: u32 = 32;

pub(super) async fn measure(bench: &Bench<'_>) {
    let length = Duration::from_millis(bench.options.size(4000) as u64);
    let database = bench.server.database("webhook").await;
    let pool = database.pool(2);
    let api = Api::start(&database, &pool).await;
    let (mut bare, mut real) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        bare.push(limits::inserts(&database, CALLERS, length).await);
        real.push(accepted(&api, CALLERS, length).await);
    }
    let stored = ask(&pool, "select count(*) from job").await;
    assert!(stored.parse::<f64>().unwrap() >= real.iter().sum::<f64>() * length.as_secs_f64() * 0.9);
    bench.report.figure(
        "POST /webhook accepted / one-row inserts, 32 connections",
        median(real),
        "req/s",
        Some(median(bare)),
        Goal::AtLeast(0.8),
    );
    pool.close().await;
}

/// Webhooks accepted a second by callers who send the next when the last is answered.
pub(super) async fn accepted(api: &Api, callers: u32, length: Duration) -> f64 {
    let body = body(&jobs::noop());
    let began = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..callers {
        let (mut connection, body) = (api.connect().await, body.clone());
        tasks.push(tokio::spawn(async move {
            let mut accepted = 0_u32;
            while began.elapsed() < length {
                assert!(post(&mut connection, &body).await);
                accepted += 1;
            }
            accepted
        }));
    }
    let mut accepted = 0;
    for task in tasks {
        accepted += task.await.unwrap();
    }
    f64::from(accepted) / began.elapsed().as_secs_f64()
}
