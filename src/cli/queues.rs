//! `orchestrator queues` and `orchestrator runners`

use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{database, output};
use crate::app::authenticate::Caller;
use crate::app::control;
use crate::app::hint::Hints;
use crate::config;
use crate::domain::id::RunnerId;
use crate::domain::name::is_name;
use crate::store::queue::Queue;
use crate::store::runner::Live;
use crate::store::{self, Pool};

/// Queues with work in them, and paused ones.
#[derive(Args, Debug)]
pub(super) struct Queues {
    #[command(flatten)]
    database: config::Database,
    /// Print one JSON array
    #[arg(long)]
    json: bool,
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
                if self.json {
                    let queue = |queue: &Queue| {
                        json!({
                            "name": queue.name, "paused_at": queue.paused_at, "available": queue.available,
                            "running": queue.running, "waiting": queue.waiting,
                        })
                    };
                    output::json(&queues.iter().map(queue).collect::<Vec<_>>())?;
                    return Ok(ExitCode::SUCCESS);
                }
                let rows = queues.into_iter().map(|queue| {
                    let state = match queue.paused_at {
                        Some(at) => format!("paused since {}", at.format("%F %TZ")),
                        None => "open".to_owned(),
                    };
                    let counts =
                        [queue.available, queue.running, queue.waiting].map(|count| count.to_string());
                    let [available, running, waiting] = counts;
                    [queue.name, state, available, running, waiting]
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
        let known = known(&pool).await?;
        let changed = control::pause_queue(&pool, &hints, &Caller::operator("cli"), &name, paused).await?;
        hints.tell(&pool).await;
        output::text(&match (paused, changed) {
            (true, true) => format!("queue {name} is paused\n"),
            (true, false) => format!("queue {name} is paused, and was before\n"),
            (false, true) => format!("queue {name} is open\n"),
            (false, false) => format!("queue {name} is open, and was before\n"),
        })?;
        // It may be the first to say its name; or mistyped.
        if !known.contains(&name) {
            let known: Vec<_> = known.into_iter().collect();
            output::note(&format!(
                "no job waits or runs in queue {name} and no runner serves it; there are: {}\n",
                known.join(", ")
            ));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Queues that have work, were paused or are served.
async fn known(pool: &Pool) -> store::Result<BTreeSet<String>> {
    let queues = store::queue::all(pool, None).await?;
    let served = store::runner::live(pool, None).await?;
    let served = served.into_iter().flat_map(|live| live.queues);
    Ok(queues.into_iter().map(|queue| queue.name).chain(served).collect())
}

/// Runner sessions that have not ended.
#[derive(Args, Debug)]
pub(super) struct Runners {
    #[command(flatten)]
    database: config::Database,
    /// Print one JSON array
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    act: Option<RunnerAct>,
}

#[derive(Subcommand, Debug)]
enum RunnerAct {
    /// Let a session claim nothing more, and end: its steps have RUNNER_DRAIN_SEC to finish, and then go back
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
        let state = |live: &Live| match live.drain_asked_at {
            _ if lost.iter().any(|lost| lost.id == live.id) => "vanished",
            Some(_) => "draining",
            None => "open",
        };
        let live = store::runner::live(&pool, None).await?;
        if self.json {
            let session = |live: &Live| {
                json!({
                    "id": live.id, "instance": live.instance, "host": live.host, "pid": live.pid, "version": live.version,
                    "slots": live.slots, "running": live.running, "queues": live.queues, "labels": live.labels,
                    "state": state(live), "started_at": live.started_at, "lease_expires_at": live.lease_expires_at,
                    "drain_asked_at": live.drain_asked_at,
                })
            };
            output::json(&live.iter().map(session).collect::<Vec<_>>())?;
            return Ok(ExitCode::SUCCESS);
        }
        let rows = live.into_iter().map(|live| {
            let state = state(&live).to_owned();
            let busy = format!("{}/{}", live.running, live.slots);
            [
                live.id.to_string(),
                live.instance,
                live.host,
                busy,
                live.queues.join(","),
                live.labels.join(","),
                state,
            ]
        });
        output::text(&output::table(
            ["runner", "instance", "host", "busy", "queues", "labels", "state"],
            rows,
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}
