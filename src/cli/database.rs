//! The database of a command that is over soon: it is there and fits, or the command says so at once.
//! Of a service: it may come later, but never through a pooler that mixes up answers.

use anyhow::Context as _;

use super::output;
use crate::app::backoff::Backoff;
use crate::domain::environment::DatabaseUrl;
use crate::domain::id::ProjectId;
use crate::shutdown::Stop;
use crate::store::migrate::{Fit, fit};
use crate::store::{self, Pool};

pub(super) const LENT: &str = "DATABASE_URL leads to a pooler that lends connections by the transaction, where statements get \
    other clients' answers: set pool_mode = session for this database in PgBouncer, or connect to PostgreSQL itself";

/// The project of that alias.
///
/// # Errors
///
/// That there is none, and what shows those there are.
pub(super) async fn project(pool: &Pool, alias: &str) -> anyhow::Result<ProjectId> {
    let found = store::project::by_alias(pool, alias).await?;
    let found = found
        .with_context(|| format!("there is no project {alias:?}; `orchestrator project list` shows them"))?;
    Ok(found.id)
}

/// Waits until the database answers, and then stops the service if what answers lends connections by
/// the transaction. Nothing else goes through `pool` before that is known.
///
/// # Errors
///
/// The reason, with what to do.
pub(super) async fn refuse_lent(pool: Pool, stop: Stop) -> anyhow::Result<()> {
    pool.bar();
    let mut pause = Backoff::default();
    let mut said = String::new();
    while !stop.soft.is_cancelled() {
        match store::database::lends_connections(&pool).await {
            Ok(false) => {
                pool.unbar();
                return Ok(());
            }
            Ok(true) => {
                stop.soft.cancel();
                anyhow::bail!(LENT);
            }
            Err(error) => {
                // Said once for each reason, not at every look.
                let why = error.to_string();
                if why != said {
                    tracing::warn!("waiting: {why}");
                    said = why;
                }
            }
        }
        pause.wait(&stop.soft).await;
    }
    Ok(())
}

/// Connects as `application`, with at most `connections`, whatever the schema is.
pub(super) async fn reach(url: &DatabaseUrl, application: &str, connections: u32) -> anyhow::Result<Pool> {
    // A pool goes on trying, as a service must, and forgets why it could not; a person wants the reason.
    store::database::reach(url, application)
        .await
        .context("DATABASE_URL")?;
    let pool = store::database::pool(url, application, connections)?;
    match store::database::lends_connections(&pool).await {
        Ok(false) => Ok(pool),
        Ok(true) => anyhow::bail!(LENT),
        // Two at once are not to be had just when they are all taken; whoever lends has some for everybody.
        Err(error) if error.is_full() => Ok(pool),
        Err(error) => Err(error.into()),
    }
}

/// The same where the schema is one to work with.
pub(super) async fn open(url: &DatabaseUrl, application: &str, connections: u32) -> anyhow::Result<Pool> {
    let pool = reach(url, application, connections).await?;
    match fit(&pool).await? {
        Fit::Current => Ok(pool),
        // After a roll-back an operator needs these commands as much as before it, and services go on as well.
        newer @ Fit::Ahead { .. } => {
            output::note(&format!("note: {newer}\n"));
            Ok(pool)
        }
        useless @ (Fit::Behind { .. } | Fit::Standby) => anyhow::bail!("{useless}"),
    }
}
