//! Where the workspaces of attempts that begin at the same time are goes in with one statement.

use std::sync::Arc;

use crate::app::gather::{Company, Gather, all_or_each};
use crate::domain::id::RunnerId;
use crate::store::workspace::{NewOrigin, put};
use crate::store::{self, Pool};

/// Statements under way at once.
const WORKERS: usize = 1;
/// Most workspaces of one statement.
const MOST: usize = 100;

/// Where to leave them.
pub(super) type Origins = Gather<NewOrigin, Result<(), Arc<store::Error>>>;

/// Notes what is left there, of attempts that `runner` holds.
pub(super) fn together(pool: &Pool, runner: RunnerId, company: Company) -> Origins {
    let pool = pool.clone();
    Gather::start(WORKERS, MOST, company, move |origins| {
        let pool = pool.clone();
        async move {
            let all = |origins: Arc<[NewOrigin]>| {
                let pool = &pool;
                async move {
                    put(pool, runner, &origins).await?;
                    Ok(vec![(); origins.len()])
                }
            };
            all_or_each(origins, all, store::Error::is_away).await
        }
    })
}
