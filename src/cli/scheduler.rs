//! `orchestrator scheduler`

use std::process::ExitCode;

use clap::Args;

use crate::app::hint::Hints;
use crate::app::schema;
use crate::shutdown::Stop;
use crate::{config, scheduler, store};

/// Runs until TERM or INT. Any number may run at once.
#[derive(Args, Debug)]
pub(super) struct Scheduler {
    #[command(flatten)]
    database: config::Database,
    #[command(flatten)]
    scheduler: config::Scheduler,
}

impl Scheduler {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let stop = Stop::on_signals()?;
        let config::Database {
            database_url,
            database_max_connections,
        } = self.database;
        let pool = store::database::pool(&database_url, "orchestrator-scheduler", database_max_connections)?;
        let hints = Hints::start(pool.clone());
        if schema::wait(&pool, &stop.soft).await {
            scheduler::run(pool, hints, self.scheduler.scheduler_tick_sec, stop).await;
        }
        Ok(ExitCode::SUCCESS)
    }
}
