//! What the attempts of a session print goes in with one statement, and so with one commit, for all that print at the same time.

use std::sync::Arc;

use crate::app::gather::{Company, Gather, all_or_each};
use crate::domain::id::RunnerId;
use crate::store::log::{Output, append};
use crate::store::{self, Error, Pool};

/// Statements under way at once.
const WORKERS: usize = 2;
/// Most outputs of one statement: few are long, and then they are a megabyte each.
const MOST: usize = 16;

/// Whether the attempt that printed it is held, and so its output kept.
type Kept = Result<bool, Arc<Error>>;

/// Where to leave output.
pub(super) type Outputs = Gather<Output, Kept>;

/// Keeps what is left there, as the output of attempts that `runner` holds.
pub(super) fn together(pool: &Pool, runner: RunnerId, company: Company) -> Outputs {
    let pool = pool.clone();
    Gather::start(WORKERS, MOST, company, move |outputs| {
        let pool = pool.clone();
        async move {
            let all = |outputs: Arc<[Output]>| {
                let pool = &pool;
                async move { all(pool, runner, &outputs).await }
            };
            all_or_each(outputs, all, Error::is_away).await
        }
    })
}

/// One statement for all; answers in their order.
async fn all(pool: &Pool, runner: RunnerId, outputs: &[Output]) -> store::Result<Vec<bool>> {
    let held = append(pool, runner, outputs).await?;
    Ok(outputs
        .iter()
        .map(|output| held.contains(&output.fence))
        .collect())
}
