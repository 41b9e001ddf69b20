//! Reads a job's log as it grows.

use std::time::Duration;

use anyhow::bail;

use crate::domain::id::JobId;
use crate::store::log::{Line, Place};
use crate::store::{self, Pool};

/// Pieces read at once.
const PAGE: u32 = 500;
/// Time between two looks at a log that does not grow.
const LOOK: Duration = Duration::from_millis(200);

/// Where a reader of a job's log is.
pub(super) struct Reader {
    job: JobId,
    place: Place,
}

impl Reader {
    pub(super) fn new(job: JobId) -> Self {
        Self {
            job,
            place: Place::START,
        }
    }

    /// Hands on what there is, each piece once and in order.
    pub(super) async fn once(
        &mut self,
        pool: &Pool,
        each: &mut impl FnMut(&Line) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        loop {
            let lines = store::log::after(pool, self.job, self.place, PAGE).await?;
            for line in &lines {
                each(line)?;
                self.place = Place {
                    attempt: line.attempt,
                    seq: line.seq,
                };
            }
            if lines.len() < PAGE as usize {
                return Ok(());
            }
        }
    }

    /// Hands on what there is and what comes, until the job has ended.
    pub(super) async fn follow(
        &mut self,
        pool: &Pool,
        mut each: impl FnMut(&Line) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        loop {
            // Looked at before the log: what a job printed is in the table before its end is.
            let Some(job) = store::job::standing(pool, self.job, None).await? else {
                bail!("job {} was deleted", self.job);
            };
            self.once(pool, &mut each).await?;
            if job.state.is_terminal() {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
