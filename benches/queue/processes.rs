//! How fast real programs run as jobs, against the same program started and waited for by the same runtime.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::support::{Database, Goal, median, tell};
use super::{Bench, jobs};

/// Programs that run at once.
const AT_ONCE: usize = 32;

pub(super) async fn measure(bench: &Bench<'_>) {
    let number = bench.options.size(6_000);
    let database = bench.server.database("processes").await;
    let (mut bare, mut real) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        bare.push(spawned(number).await);
        real.push(run(&database, number).await);
    }
    bench.report.figure(
        "real /bin/true jobs / bare spawn and wait, 32 at once",
        median(real),
        "jobs/s",
        Some(median(bare)),
        Goal::AtLeast(0.7),
    );
}

/// Starts and waits for the program, without anything around it.
#[expect(
    clippy::disallowed_methods,
    reason = "the limit that the runner is held against"
)]
async fn spawned(number: usize) -> f64 {
    let left = Arc::new(AtomicUsize::new(number));
    let began = Instant::now();
    let workers: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let left = left.clone();
            tokio::spawn(async move {
                while left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                    .is_ok()
                {
                    let mut program = tokio::process::Command::new("/bin/true");
                    assert!(program.status().await.unwrap().success());
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    number as f64 / began.elapsed().as_secs_f64()
}

/// Jobs a second from the claim to the end in the table.
async fn run(database: &Database, number: usize) -> f64 {
    let pool = database.pool(2);
    jobs::hold(&pool).await;
    jobs::put(&pool, number, &jobs::program(&["/bin/true"])).await;
    let slots = AT_ONCE.to_string();
    let mut service = database.service(&["runner", "--slots", &slots], &[]);
    service.hear("runner session open");
    tell(&pool, "checkpoint").await;
    let (before, began) = (jobs::events(&pool).await, Instant::now());
    jobs::release(&pool).await;
    jobs::ended(&pool, number, before).await;
    let rate = number as f64 / began.elapsed().as_secs_f64();
    jobs::succeeded(&pool, number, before).await;
    drop(service);
    pool.close().await;
    rate
}
