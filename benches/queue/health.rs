//! Whether the table stays as fast as it was: after very many jobs, and while a transaction is held open, under which
//! nothing can be vacuumed.

use std::time::{Duration, Instant};

use orchestrator::domain::id::RunnerId;
use orchestrator::store::claim::claim;
use orchestrator::store::{Pool, runner};

use super::support::{Database, Goal, Service, ask, median};
use super::{Bench, drain, jobs};

/// Jobs of one round.
const ROUND: usize = 20_000;
/// Rounds of which the middle one is taken, at first and at last: one alone may meet a checkpoint.
const ROUNDS: usize = 3;

pub(super) async fn measure(bench: &Bench<'_>) {
    let (round, total) = (bench.options.size(ROUND), bench.options.size(500_000));
    let database = bench.server.database("health").await;
    let pool = database.pool(4);
    let service = work(&database).await;
    // The first finds empty caches.
    drained(&pool, round).await;
    let mut rates = Vec::new();
    for _ in 0..ROUNDS + total / round {
        rates.push(drained(&pool, round).await);
    }
    let name = format!("drain after {total} jobs / at first");
    bench.report.figure(
        &name,
        last(&rates),
        "jobs/s",
        Some(first(&rates)),
        Goal::AtLeast(0.5),
    );
    let size = ask(&pool, "select pg_relation_size('job_to_claim') / 1e6").await;
    bench.report.say(
        "size of the index that claims go by, then",
        size.parse().unwrap(),
        "MB",
    );
    drop(service);
    pool.close().await;
    held(bench, round).await;
}

fn first(rates: &[f64]) -> f64 {
    median(rates[..ROUNDS.min(rates.len())].to_vec())
}

fn last(rates: &[f64]) -> f64 {
    median(rates[rates.len().saturating_sub(ROUNDS)..].to_vec())
}

/// A minute under load beside a transaction that does nothing and does not end.
async fn held(bench: &Bench<'_>, round: usize) {
    let database = bench.server.database("held").await;
    let pool = database.pool(4);
    let service = work(&database).await;
    drained(&pool, round).await;
    let bare = bare_claim(&pool).await;
    let mut before = Vec::new();
    for _ in 0..ROUNDS {
        before.push(drained(&pool, round).await);
    }
    let mut transaction = pool.acquire().await.unwrap();
    let hold = "set idle_in_transaction_session_timeout = 0; begin isolation level repeatable read; select pg_current_xact_id()";
    sqlx::raw_sql(hold).execute(&mut *transaction).await.unwrap();
    let began = Instant::now();
    let length = Duration::from_millis(bench.options.size(60_000) as u64);
    let mut rates = Vec::new();
    while began.elapsed() < length || rates.is_empty() {
        rates.push(drained(&pool, round).await);
    }
    let rounds = rates.len();
    let name = format!("drain at the end of a minute ({rounds} rounds) of an open transaction / at first");
    bench.report.figure(
        &name,
        last(&rates),
        "jobs/s",
        Some(first(&before)),
        Goal::AtLeast(0.5),
    );
    let name = "for comparison: bare claims from the start, then / at first";
    bench
        .report
        .figure(name, bare_claim(&pool).await, "claims/s", Some(bare), Goal::None);
    sqlx::raw_sql("rollback")
        .execute(&mut *transaction)
        .await
        .unwrap();
    drop(transaction);
    drop(service);
    pool.close().await;
}

async fn work(database: &Database) -> Service {
    let mut service = database.service(&["runner", "--slots", "1000"], &[]);
    service.hear("runner session open");
    service
}

/// Puts a round in and has the runner that is there take it; jobs a second of the second part.
async fn drained(pool: &Pool, number: usize) -> f64 {
    jobs::hold(pool).await;
    jobs::put(pool, number, &jobs::noop()).await;
    let (before, began) = (jobs::events(pool).await, Instant::now());
    jobs::release(pool).await;
    jobs::ended(pool, number, before).await;
    let rate = number as f64 / began.elapsed().as_secs_f64();
    jobs::succeeded(pool, number, before).await;
    rate
}

/// Claims of a session that finds nothing: what each walks over.
async fn bare_claim(pool: &Pool) -> f64 {
    const CLAIMS: u32 = 20;
    let session: RunnerId = drain::session(pool).await;
    let began = Instant::now();
    for _ in 0..CLAIMS {
        assert!(claim(pool, session, "default", &[], 50).await.unwrap().is_empty());
    }
    let rate = f64::from(CLAIMS) / began.elapsed().as_secs_f64();
    runner::close(pool, session).await.unwrap();
    rate
}
