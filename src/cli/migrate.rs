//! `orchestrator migrate`

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::{database, output};
use crate::config;
use crate::store;

/// Applies what is missing. Safe to run again and from several places at once.
#[derive(Args, Debug)]
pub(super) struct Migrate {
    #[command(flatten)]
    database: config::Database,
    /// Longest a statement waits for a table that others use before it gives up, in seconds
    #[arg(long, env = "MIGRATE_LOCK_TIMEOUT_SEC", value_name = "SEC", default_value = "5", value_parser = config::SECONDS)]
    lock_timeout_sec: Duration,
}

impl Migrate {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let url = &self.database.database_url;
        // Its lock is a session's.
        drop(database::reach(url, "orchestrator-migrate", 1).await?);
        let migrated = store::migrate::migrate_within(url, self.lock_timeout_sec)
            .await
            .context("the schema was not migrated")?;
        match migrated.files.as_slice() {
            [] => output::text("the schema is current\n")?,
            files => output::text(&format!("applied {}\n", files.join(", ")))?,
        }
        if let Some(remedy) = migrated.roles.remedy() {
            output::text(&remedy)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
