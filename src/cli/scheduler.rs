//! `orchestrator scheduler`

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::callbacks;
use super::database;
use super::objects::objects;
use crate::alive::Alive;
use crate::app::hint::Hints;
use crate::app::schema;
use crate::scheduler::deliver::Deliverer;
use crate::shutdown::Stop;
use crate::{config, scheduler, store, telemetry};

/// Runs until TERM or INT. Any number may run at once.
#[derive(Args, Debug)]
pub(super) struct Scheduler {
    #[command(flatten)]
    database: config::Database,
    #[command(flatten)]
    scheduler: config::Scheduler,
    #[command(flatten)]
    secrets: config::Secrets,
    #[command(flatten)]
    callbacks: config::Callbacks,
    #[command(flatten)]
    retention: config::Retention,
    #[command(flatten)]
    artifacts: config::Artifacts,
    #[command(flatten)]
    metrics: config::Metrics,
    #[command(flatten)]
    pub(super) traces: config::Traces,
}

impl Scheduler {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let alive = Alive::start();
        let stop = Stop::on_signals({
            let alive = alive.clone();
            move || alive.stopping(Duration::ZERO)
        })?;
        telemetry::expose(self.metrics.metrics_bind).await?;
        let config::Database {
            database_url,
            database_max_connections,
        } = self.database;
        let pool = store::database::pool(&database_url, "orchestrator-scheduler", database_max_connections)?;
        let keys = self.secrets.keyring().map_err(anyhow::Error::msg)?;
        let deliverer = callbacks::deliverer(&pool, keys, &self.callbacks)?;
        let hints = Hints::start(pool.clone());
        alive.status("waiting for the database or its schema; the log says which");
        database::refuse_lent(pool.clone(), stop.clone()).await?;
        if schema::wait(&pool, &stop.soft).await {
            let objects = objects(&self.artifacts)?;
            let upkeep = scheduler::upkeep::run(pool.clone(), objects, self.retention.into(), stop.clone());
            let upkeep = tokio::spawn(upkeep);
            let every = self.scheduler.scheduler_tick_sec;
            let callbacks = deliverer.as_ref().map(Deliverer::due);
            let tick = scheduler::run(pool, hints, every, callbacks, alive, stop.clone());
            let deliver = async {
                if let Some(deliverer) = deliverer {
                    deliverer.run(stop).await;
                }
            };
            tokio::join!(tick, deliver);
            let _ = upkeep.await;
        }
        Ok(ExitCode::SUCCESS)
    }
}
