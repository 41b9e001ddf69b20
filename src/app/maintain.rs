//! What time does to jobs, run by every scheduler and safe in parallel.

use std::collections::BTreeSet;

use super::follow::{admit_all, follow};
use super::hint::Hints;
use crate::domain::clock::Instant;
use crate::store::expire::Expired;
use crate::store::{self, Pool, Result};

/// Most rows one statement touches, so that no lock is held for long.
const BATCH: u32 = 1000;

/// Makes due jobs available, lets in those that there is room for, and hints at their queues; answers with their number.
///
/// # Errors
///
/// [`store::Error`] when PostgreSQL is away.
pub async fn promote(pool: &Pool, hints: &Hints, now: Instant) -> Result<usize> {
    let (mut promoted, mut looked_at) = (0, 0);
    loop {
        let due = store::expire::promote(pool, now, BATCH).await?;
        let (number, mut gates) = (due.len(), BTreeSet::new());
        for job in due {
            job.queue.iter().for_each(|queue| hints.work(queue));
            gates.extend(job.gates);
        }
        looked_at += gates.len();
        admit_all(pool, hints, gates).await?;
        promoted += number;
        // Each gate is a transaction; what else is due is the next tick's, which follows at once.
        if number < BATCH as usize || looked_at >= BATCH as usize {
            return Ok(promoted);
        }
    }
}

/// Takes jobs from sessions whose lease has passed and hints at their queues.
///
/// # Errors
///
/// [`store::Error`] when PostgreSQL is away.
pub async fn expire(pool: &Pool, hints: &Hints, now: Instant) -> Result<Vec<Expired>> {
    let mut all = Vec::new();
    loop {
        let batch = store::expire::expire(pool, now, BATCH).await?;
        let full = batch.len() == BATCH as usize;
        let ended: Vec<_> = batch.iter().map(|expired| expired.ended.clone()).collect();
        follow(pool, hints, &ended).await?;
        all.extend(batch);
        if !full {
            return Ok(all);
        }
    }
}
