//! Reports by day and by hour: what ended is added up, a bounded batch a transaction.

use crate::store::{Pool, Result, rollup};

/// Most events one transaction adds up.
const BATCH: u32 = 5000;

/// Adds up one batch of what can be added up now, or looks how far the next may go; answers whether
/// calling it again is worth it.
///
/// Any number of schedulers may run this at once: one has the progress, the others leave it. A batch
/// is added and the progress moved in one transaction, so a crash at any point adds nothing twice.
///
/// # Errors
///
/// [`crate::store::Error`] when PostgreSQL is away.
pub async fn roll_up(pool: &Pool) -> Result<bool> {
    // With nothing new, which is most of the time, it is this one statement.
    if !rollup::behind(pool).await? {
        return Ok(false);
    }
    let mut transaction = pool.begin().await?;
    let Some(progress) = rollup::take(&mut *transaction).await? else {
        return Ok(false);
    };
    let more = if progress.done < progress.safe {
        rollup::add(&mut *transaction, &progress, BATCH).await?;
        true
    } else if progress.pending {
        false
    } else {
        rollup::look_ahead(&mut transaction).await?
    };
    transaction.commit().await?;
    Ok(more)
}
