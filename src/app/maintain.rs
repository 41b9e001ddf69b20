//! What time does to jobs, run by every scheduler and safe in parallel.

use std::collections::BTreeSet;

use super::follow::{Tried, admit_all, follow};
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

/// Takes jobs from sessions whose lease has passed, says so, and hints at their queues.
///
/// # Errors
///
/// [`store::Error`] when PostgreSQL is away, or somebody holds what comes of an end; all jobs that could be are taken then.
pub async fn expire(pool: &Pool, hints: &Hints, now: Instant) -> Result<Vec<Expired>> {
    let (mut all, mut tried) = (Vec::new(), Tried::default());
    loop {
        let batch = store::expire::expire(pool, now, BATCH).await?;
        for lost in &batch {
            tracing::warn!(job.id = %lost.job, attempt = lost.attempt, over = lost.over, "a runner vanished with a job");
        }
        metrics::counter!("orchestrator_attempts_lost_total").increment(batch.len() as u64);
        let full = batch.len() == BATCH as usize;
        let ended: Vec<_> = batch.iter().map(|expired| expired.ended.clone()).collect();
        tried.part(follow(pool, hints, &ended).await)?;
        all.extend(batch);
        if !full {
            return tried.over().map(|()| all);
        }
    }
}
