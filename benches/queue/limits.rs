//! What PostgreSQL itself takes, through the same driver: the limits that figures are held against.

use std::time::{Duration, Instant};

use orchestrator::store::Pool;

use super::support::{Database, tell};

/// One-row durable inserts a second over `connections`, each a commit.
pub(super) async fn inserts(database: &Database, connections: u32, length: Duration) -> f64 {
    let pool = database.pool(connections);
    tell(&pool, "create table if not exists bare (id bigint generated always as identity primary key, body text not null)").await;
    let began = Instant::now();
    let workers: Vec<_> = (0..connections)
        .map(|_| tokio::spawn(insert_until(pool.clone(), began + length)))
        .collect();
    let mut inserted = 0;
    for worker in workers {
        inserted += worker.await.unwrap();
    }
    let rate = f64::from(inserted) / began.elapsed().as_secs_f64();
    pool.close().await;
    rate
}

async fn insert_until(pool: Pool, end: Instant) -> u32 {
    let mut connection = pool.acquire().await.unwrap();
    let mut inserted = 0;
    while Instant::now() < end {
        sqlx::query("insert into bare (body) values ($1)")
            .bind("a row of a hundred bytes or so, which is what a small job specification takes in its table, too")
            .execute(&mut *connection)
            .await
            .unwrap();
        inserted += 1;
    }
    inserted
}
