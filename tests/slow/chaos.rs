//! Chaos: 3 runners, 2 schedulers and an API, each a process of its own, do 3,000 jobs while each of them and
//! PostgreSQL are killed, frozen beyond their leases and restarted. Then the tables are asked whether every promise was
//! kept.
//!
//! What is done, and to whom, comes out of a seed, which is printed. `CHAOS_SEED=<number>` does the same again;
//! how the processes then interleave is the machine's.

mod callers;
mod disorder;
mod ground;
mod judge;

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use self::callers::Callers;
use self::ground::Ground;

/// Jobs, each asked for under a key of its own.
const JOBS: usize = 3000;
/// Callers that ask at once.
const CALLERS: usize = 16;
/// How often each thing is done to each process.
const ROUNDS: usize = 2;
/// From the end of the disorder to the last acceptance, and from there to the end of the last job.
const LONGEST: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread")]
async fn nothing_accepted_is_lost_doubled_or_left_running_whatever_is_killed_or_frozen() {
    let seed = seed();
    println!("CHAOS_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let ground = Ground::begin().await;
    let began = Instant::now();
    let callers = Callers::start(&ground, &mut random);

    let mut disorder = StdRng::seed_from_u64(random.random());
    let ground = tokio::task::spawn_blocking(move || {
        let mut ground = ground;
        disorder::make(&mut ground, &mut disorder);
        ground
    });
    let mut ground = ground.await.unwrap();
    let accepted = tokio::time::timeout(LONGEST, callers.all())
        .await
        .expect("a caller is not answered although everything runs again");
    println!("{:.0?}: all jobs are accepted", began.elapsed());
    judge::until_all_ended(&ground.pool, Instant::now() + LONGEST).await;
    println!("{:.0?}: all jobs have ended", began.elapsed());
    judge::until_no_daemons(&ground).await;
    let ground = tokio::task::spawn_blocking(move || {
        ground.stop();
        ground
    });
    let ground = ground.await.unwrap();
    judge::judge(&ground, &accepted).await;
}

/// The one that was asked for, or a new one.
#[expect(clippy::disallowed_methods, reason = "a test has no settings of its own")]
fn seed() -> u64 {
    match std::env::var("CHAOS_SEED") {
        Ok(seed) => seed.parse().expect("CHAOS_SEED is a number"),
        Err(_) => rand::random(),
    }
}
