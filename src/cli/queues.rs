//! `orchestrator queues` and `orchestrator runners`

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{database, output};
use crate::app::authenticate::Caller;
use crate::app::control;
use crate::app::hint::Hints;
use crate::domain::id::RunnerId;
use crate::domain::name::is_name;
use crate::{config, store};

/// Queues with work in them, and paused ones.
#[derive(Args, Debug)]
pub(super) struct Queues {
    #[command(flatten)]
    database: config::Database,
    #[command(subcommand)]
    act: Option<QueueAct>,
}

#[derive(Subcommand, Debug)]
enum QueueAct {
    /// Claim nothing of a queue until it is resumed
    Pause {
        /// The queue
        name: String,
    },
    /// Claim from a queue again
    Resume {
        /// The queue
        name: String,
    },
}

impl Queues {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let pool = database::open(&self.database.database_url, "orchestrator-queues", 2).await?;
        let (name, paused) = match self.act {
            None => {
                let queues = store::queue::all(&pool, None).await?;
                let rows = queues.into_iter().map(|queue| {
                    let state = if queue.paused_at.is_some() {
                        "paused"
                    } else {
                        "open"
                    };
                    let counts =
                        [queue.available, queue.running, queue.waiting].map(|count| count.to_string());
                    let [available, running, waiting] = counts;
                    [queue.name, state.to_owned(), available, running, waiting]
                });
                output::text(&output::table(
                    ["queue", "state", "available", "running", "waiting"],
                    rows,
                ))?;
                return Ok(ExitCode::SUCCESS);
            }
            Some(QueueAct::Pause { name }) => (name, true),
            Some(QueueAct::Resume { name }) => (name, false),
        };
        anyhow::ensure!(
            is_name(&name),
            "{name:?} is no queue: 1–128 letters, digits, `.`, `_` or `-`"
        );
        let hints = Hints::default();
        control::pause_queue(&pool, &hints, &Caller::operator("cli"), &name, paused).await?;
        hints.tell(&pool).await;
        output::text(&format!(
            "queue {name} is {}\n",
            if paused { "paused" } else { "open" }
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Runner sessions that have not ended.
#[derive(Args, Debug)]
pub(super) struct Runners {
    #[command(flatten)]
    database: config::Database,
    #[command(subcommand)]
    act: Option<RunnerAct>,
}

#[derive(Subcommand, Debug)]
enum RunnerAct {
    /// Let a session finish its steps, claim nothing more, and end
    Drain {
        /// The session's id
        id: RunnerId,
    },
}

impl Runners {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let pool = database::open(&self.database.database_url, "orchestrator-runners", 2).await?;
        if let Some(RunnerAct::Drain { id }) = self.act {
            control::drain(&pool, &Caller::operator("cli"), id).await?;
            output::text(&format!("runner {id} drains\n"))?;
            return Ok(ExitCode::SUCCESS);
        }
        // By the database's clock, as its lease goes.
        let lost = store::doctor::lost_runners(&pool).await?;
        let rows = store::runner::live(&pool, None).await?.into_iter().map(|live| {
            let state = match live.drain_asked_at {
                _ if lost.iter().any(|lost| lost.id == live.id) => "vanished",
                Some(_) => "draining",
                None => "open",
            };
            let busy = format!("{}/{}", live.running, live.slots);
            [
                live.id.to_string(),
                live.instance,
                live.host,
                busy,
                live.queues.join(","),
                state.to_owned(),
            ]
        });
        output::text(&output::table(
            ["runner", "instance", "host", "busy", "queues", "state"],
            rows,
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}
