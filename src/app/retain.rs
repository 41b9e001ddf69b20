//! Retention: what is older than its time and that nobody needs is deleted, a batch a call.

use std::time::Duration;

use crate::domain::clock::Instant;
use crate::domain::retention::{Kept, Retention};
use crate::objects::Objects;
use crate::store::retain::{self, Part, Place, Swept, files};
use crate::store::{Pool, Result};

/// Most rows a batch deletes, so that no lock is held for long.
const ROWS: u32 = 5000;
/// Most jobs a batch deletes; each has a dozen rows in other tables.
const JOBS: u32 = 500;

/// Most jobs whose files a batch deletes.
const FILES: u32 = 50;

/// One kind of rows on its way through the tables.
#[derive(Clone, Copy, Debug)]
pub struct Sweep {
    kept: Kept,
    place: Place,
}

impl Sweep {
    /// Begins with the oldest.
    #[must_use]
    pub fn of(kept: Kept) -> Self {
        Self {
            kept,
            place: Place::default(),
        }
    }

    /// Deletes one batch, committed when this answers. Any number of schedulers may do the same at once.
    ///
    /// # Errors
    ///
    /// [`crate::store::Error`] when PostgreSQL is away; the batch is whole or not at all.
    pub async fn batch(
        &mut self,
        pool: &Pool,
        objects: &Objects,
        retention: &Retention,
        now: Instant,
    ) -> Result<Swept> {
        let Some(ttl) = retention.of(self.kept) else {
            return Ok(Swept::default());
        };
        match self.kept {
            Kept::Artifacts => self.artifacts(pool, objects, ttl, now).await,
            Kept::Logs => retain::parts(pool, Part::Log, ttl, now, ROWS, &mut self.place).await,
            Kept::Steps => retain::parts(pool, Part::Step, ttl, now, ROWS, &mut self.place).await,
            Kept::Usages => retain::parts(pool, Part::Usage, ttl, now, ROWS, &mut self.place).await,
            Kept::Attempts => retain::parts(pool, Part::Attempt, ttl, now, ROWS, &mut self.place).await,
            Kept::Jobs => self.jobs(pool, ttl, retention.keys, now).await,
            Kept::Events => retain::events(pool, ttl, now, ROWS, &mut self.place).await,
            Kept::Occurrences => retain::occurrences(pool, ttl, now, ROWS).await,
            Kept::Deliveries => retain::deliveries(pool, ttl, now, ROWS).await,
            Kept::Runners => retain::runners(pool, ttl, now, ROWS).await,
            Kept::Reports => retain::sums(pool, ttl, now).await,
        }
    }

    /// A job at a time, each under its lock, so that none that goes on meanwhile loses anything.
    async fn artifacts(
        &mut self,
        pool: &Pool,
        objects: &Objects,
        ttl: Duration,
        now: Instant,
    ) -> Result<Swept> {
        let (jobs, more) = files::with_old_artifacts(pool, ttl, now, FILES, &mut self.place).await?;
        let mut rows = 0;
        for job in jobs {
            let mut transaction = pool.begin().await?;
            if !files::lock(&mut transaction, job, ttl, now).await? {
                continue;
            }
            // Files first: while one stays, so does its row, and both are tried again.
            if let Err(error) = objects.delete_all(&job.to_string()).await {
                tracing::warn!(job.id = %job, error = %error, "artifacts that are past their time cannot be deleted");
                continue;
            }
            rows += files::forget_artifacts(&mut *transaction, job).await?;
            transaction.commit().await?;
        }
        Ok(Swept { rows, more })
    }

    async fn jobs(&mut self, pool: &Pool, ttl: Duration, keys: Duration, now: Instant) -> Result<Swept> {
        let mut transaction = pool.begin().await?;
        let ids = retain::lock_jobs(&mut *transaction, ttl, keys, now, JOBS, &mut self.place).await?;
        let rows = match ids.as_slice() {
            [] => 0,
            ids => retain::delete_jobs(&mut *transaction, ids).await?,
        };
        transaction.commit().await?;
        Ok(Swept {
            rows,
            more: ids.len() == JOBS as usize,
        })
    }
}
