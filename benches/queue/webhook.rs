//! How many webhooks are accepted: each is a job in the table, on disk, before it is answered.

use std::time::{Duration, Instant};

use orchestrator::store::Pool;

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
        let before = stored(&pool).await;
        let (rate, number) = answered(&api, CALLERS, length, Some(body(&jobs::noop()))).await;
        assert_eq!(
            stored(&pool).await - before,
            number,
            "each that was accepted is there"
        );
        real.push(rate);
    }
    // What HTTP takes of the same processors, with nothing behind it.
    let (alone, _) = answered(&api, CALLERS, length, None).await;
    bench
        .report
        .say("GET /health/live answered, 32 connections", alone, "req/s");
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
    answered(api, callers, length, Some(body(&jobs::noop()))).await.0
}

async fn stored(pool: &Pool) -> u32 {
    ask(pool, "select count(*) from job").await.parse().unwrap()
}

/// The same of webhooks with `body`, or without one of a probe; and how many there were.
async fn answered(api: &Api, callers: u32, length: Duration, body: Option<String>) -> (f64, u32) {
    let began = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..callers {
        let (mut connection, body) = (api.connect().await, body.clone());
        tasks.push(tokio::spawn(async move {
            let mut answered = 0_u32;
            while began.elapsed() < length {
                assert!(match &body {
                    Some(body) => post(&mut connection, body).await,
                    None => connection.get("/health/live").await.0 == 200,
                });
                answered += 1;
            }
            answered
        }));
    }
    let mut answered = 0;
    for task in tasks {
        answered += task.await.unwrap();
    }
    (f64::from(answered) / began.elapsed().as_secs_f64(), answered)
}
