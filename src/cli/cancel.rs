//! `orchestrator cancel ID` and `orchestrator retry ID`

use std::process::ExitCode;

use clap::Args;

use super::{database, output};
use crate::app::authenticate::Caller;
use crate::app::control;
use crate::app::hint::Hints;
use crate::config;
use crate::domain::id::JobId;

/// The job that something is done to.
#[derive(Args, Debug)]
pub(super) struct Action {
    #[command(flatten)]
    database: config::Database,
    /// The job's id
    id: JobId,
}

impl Action {
    pub(super) async fn cancel(self) -> anyhow::Result<ExitCode> {
        let pool = database::open(&self.database.database_url, "orchestrator-cancel", 2).await?;
        let hints = Hints::default();
        let state = control::cancel(&pool, &hints, &Caller::operator("cli"), self.id).await?;
        hints.tell(&pool).await;
        let rest = if state.is_terminal() {
            ""
        } else {
            "; its runner ends it"
        };
        output::text(&format!("job {} is {state}{rest}\n", self.id))?;
        Ok(ExitCode::SUCCESS)
    }

    pub(super) async fn retry(self) -> anyhow::Result<ExitCode> {
        let pool = database::open(&self.database.database_url, "orchestrator-retry", 2).await?;
        let hints = Hints::default();
        let state = control::retry(&pool, &hints, &Caller::operator("cli"), self.id).await?;
        hints.tell(&pool).await;
        output::text(&format!("job {} is {state}\n", self.id))?;
        Ok(ExitCode::SUCCESS)
    }
}
