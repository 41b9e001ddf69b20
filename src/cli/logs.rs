//! `orchestrator logs [-f] ID`

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;

use super::{database, follow, output};
use crate::domain::id::JobId;
use crate::{config, store};

/// Prints what a job's steps printed, in order.
#[derive(Args, Debug)]
pub(super) struct Logs {
    #[command(flatten)]
    database: config::Database,
    /// The job's id
    id: JobId,
    /// Go on until the job has ended
    #[arg(short, long)]
    follow: bool,
}

impl Logs {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let pool = database::open(&self.database.database_url, "orchestrator-logs", 1).await?;
        if store::job::standing(&pool, self.id, None).await?.is_none() {
            bail!("there is no job {}", self.id);
        }
        let mut reader = follow::Reader::new(self.id);
        match self.follow {
            true => reader.follow(&pool, |line| output::text(&line.body)).await?,
            false => reader.once(&pool, &mut |line| output::text(&line.body)).await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
