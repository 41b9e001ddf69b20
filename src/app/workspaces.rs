//! Workspaces whose jobs have ended long enough ago are taken out of the way, each under the lock of its job.

use std::future::Future;
use std::io;
use std::time::Duration;

use uuid::Uuid;

use crate::domain::clock::Instant;
use crate::domain::id::JobId;
use crate::store::retain::files;
use crate::store::{Pool, Result};

/// Which of these jobs' workspaces may go: those of jobs that ended more than `ttl` ago, and of jobs that are not there
/// any more.
///
/// # Errors
///
/// [`crate::store::Error`] when PostgreSQL is away.
pub async fn not_in_use(pool: &Pool, jobs: &[Uuid], ttl: Duration, now: Instant) -> Result<Vec<JobId>> {
    let used = files::in_use(pool, jobs, ttl, now).await?;
    let free = jobs.iter().filter(|job| !used.contains(job));
    Ok(free.map(|job| JobId(*job)).collect())
}

/// Does `away` with the workspace of a job while nobody can begin with the job; answers whether it was done. A job that
/// goes on by now is left alone; one that somebody wants to go on waits until `away` has ended.
///
/// # Errors
///
/// [`crate::store::Error`] when PostgreSQL is away.
pub async fn take<F: Future<Output = io::Result<()>>>(
    pool: &Pool,
    job: JobId,
    ttl: Duration,
    now: Instant,
    away: impl FnOnce() -> F,
) -> Result<io::Result<bool>> {
    let mut transaction = pool.begin().await?;
    let free = files::lock(&mut transaction, job, ttl, now).await?
        || !files::is_known(&mut *transaction, job).await?;
    let done = match free {
        true => away().await.map(|()| true),
        false => Ok(false),
    };
    transaction.commit().await?;
    Ok(done)
}
