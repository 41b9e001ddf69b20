//! `orchestrator migrate`

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use super::output;
use crate::config;
use crate::store;

/// Applies what is missing. Safe to run again and from several places at once.
#[derive(Args, Debug)]
pub(super) struct Migrate {
    #[command(flatten)]
    database: config::Database,
}

impl Migrate {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let applied = store::migrate::migrate(&self.database.database_url)
            .await
            .context("the schema was not migrated")?;
        match applied.as_slice() {
            [] => output::text("the schema is current\n")?,
            files => output::text(&format!("applied {}\n", files.join(", ")))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
