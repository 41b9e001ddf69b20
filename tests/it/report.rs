//! Reports: the questions of `docs/REPORTING.md`, sums that are exact, readers that see what is theirs.

mod borders;
mod questions;
mod readers;
mod sums;

use orchestrator::app::roll_up::roll_up;
use orchestrator::store::Pool;

/// Adds up everything, as a scheduler does in its time.
async fn roll_up_all(pool: &Pool) {
    while roll_up(pool).await.unwrap() {}
}
