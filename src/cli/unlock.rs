//! `orchestrator unlock`

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use super::{database, output};
use crate::config;
use crate::store::migrate;

/// Shows who holds the lock under which migrations run, and with --yes ends that session, which releases it: for a migration
/// whose host vanished, or that hangs. What it had not committed is undone; `migrate` then goes on from there. No other
/// lock of this program can be left behind: each falls with the process that holds it.
#[derive(Args, Debug)]
pub(super) struct Unlock {
    #[command(flatten)]
    database: config::Database,
    /// End the session
    #[arg(long)]
    yes: bool,
}

impl Unlock {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let url = &self.database.database_url;
        // Not through `database::open`: the schema may be the one that is half way.
        let pool = database::reach(url, "orchestrator-unlock", 1).await?;
        let Some(holder) = migrate::holder(&pool).await? else {
            output::text("nobody holds the migration lock\n")?;
            return Ok(ExitCode::SUCCESS);
        };
        let client = match holder.client.as_str() {
            "" => "this host",
            address => address,
        };
        let session = format!(
            "session {} ({}, from {client}, {:.0} s old)",
            holder.pid, holder.application, holder.age_sec
        );
        if !self.yes {
            output::text(&format!(
                "{session} holds the migration lock. If its migration is dead or hangs, end it with: orchestrator unlock --yes\n"
            ))?;
            return Ok(ExitCode::FAILURE);
        }
        migrate::end_session(&pool, holder.pid)
            .await
            .context("it can be ended by its own role, or by a superuser")?;
        output::text(&format!("{session} was ended; run: orchestrator migrate\n"))?;
        Ok(ExitCode::SUCCESS)
    }
}
