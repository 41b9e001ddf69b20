//! The database of a command that is over soon: it is there and fits, or the command says so at once.

use anyhow::Context as _;

use crate::domain::environment::DatabaseUrl;
use crate::store::migrate::{Fit, fit};
use crate::store::{self, Pool};

/// Connects as `application`, with at most `connections`.
pub(super) async fn open(url: &DatabaseUrl, application: &str, connections: u32) -> anyhow::Result<Pool> {
    // A pool goes on trying, as a service must, and forgets why it could not; a person wants the reason.
    store::database::reach(url, application)
        .await
        .context("DATABASE_URL")?;
    let pool = store::database::pool(url, application, connections)?;
    match fit(&pool).await? {
        Fit::Current => Ok(pool),
        other => anyhow::bail!("{other}"),
    }
}
