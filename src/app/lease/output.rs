//! What the attempts of a session print goes in with one statement, and so with one commit, for all that print at the same time.

use std::sync::Arc;

use futures_util::future::join_all;

use crate::app::gather::Gather;
use crate::domain::id::RunnerId;
use crate::store::log::{Output, append};
use crate::store::{Error, Pool};

/// Statements under way at once.
const WORKERS: usize = 2;
/// Most outputs of one statement: few are long, and then they are a megabyte each.
const MOST: usize = 16;

/// Whether the attempt that printed it is held, and so its output kept.
type Kept = Result<bool, Arc<Error>>;

/// Where to leave output.
pub(super) type Outputs = Gather<Output, Kept>;

/// Keeps what is left there, as the output of attempts that `runner` holds.
pub(super) fn together(pool: &Pool, runner: RunnerId) -> Outputs {
    let pool = pool.clone();
    Gather::start(WORKERS, MOST, move |outputs| {
        let pool = pool.clone();
        async move { each(&pool, runner, &outputs).await }
    })
}

async fn each(pool: &Pool, runner: RunnerId, outputs: &[Output]) -> Vec<Kept> {
    match all(pool, runner, outputs).await {
        // What is refused of one is not to take the others with it.
        Err(error) if outputs.len() > 1 && !error.is_away() => {
            let alone = async |output| all(pool, runner, std::slice::from_ref(output)).await;
            let kept = join_all(outputs.iter().map(alone)).await;
            kept.into_iter().map(|kept| kept.map(|kept| kept[0])).collect()
        }
        Err(error) => outputs.iter().map(|_| Err(error.clone())).collect(),
        Ok(kept) => kept.into_iter().map(Ok).collect(),
    }
}

/// One statement for all; answers in their order.
async fn all(pool: &Pool, runner: RunnerId, outputs: &[Output]) -> Result<Vec<bool>, Arc<Error>> {
    let held = append(pool, runner, outputs).await.map_err(Arc::new)?;
    Ok(outputs
        .iter()
        .map(|output| held.contains(&output.fence))
        .collect())
}
