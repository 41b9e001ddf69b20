//! The command line: one file a subcommand.
//!
//! Results go to standard output, everything else to standard error. Exit codes: 0 it worked, 1 it
//! did not (the sentence says why), 2 the command line was wrong.

mod api;
mod cancel;
mod database;
mod dev;
mod follow;
mod logs;
mod migrate;
mod openapi;
mod output;
mod queues;
mod runner;
mod schedule;
mod scheduler;
mod status;
mod submit;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config;

/// A workflow service whose only dependency is PostgreSQL.
#[derive(Parser, Debug)]
#[command(name = "orchestrator", version, max_term_width = 100)]
pub struct Cli {
    /// How much is logged, and how.
    #[command(flatten)]
    pub logging: config::Logging,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run everything here: a private PostgreSQL, API, scheduler and runners in one process
    Dev(Box<dev::Dev>),
    /// Serve the webhook and admin API
    Api(api::Api),
    /// Run jobs
    Runner(runner::Runner),
    /// Fire schedules, release due jobs, take jobs from vanished runners
    Scheduler(scheduler::Scheduler),
    /// Bring the database's schema to this program's version
    Migrate(migrate::Migrate),
    /// Put a job into the queue
    Submit(submit::Submit),
    /// Show a job and its steps
    Status(status::Status),
    /// Print what a job's steps printed
    Logs(logs::Logs),
    /// End a job, wherever it is
    Cancel(cancel::Action),
    /// Bring back a job that failed or was cancelled
    Retry(cancel::Action),
    /// Look at queues, pause and resume them
    Queues(queues::Queues),
    /// Look at runners, drain them
    Runners(queues::Runners),
    /// Look at schedules
    #[command(subcommand)]
    Schedule(schedule::Schedule),
    /// Print the OpenAPI document of the API
    Openapi,
}

impl Cli {
    /// Does what was asked for.
    ///
    /// # Errors
    ///
    /// What went wrong, for a person; `main` prints it.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.command.run().await {
            Err(error) if error.is::<output::ReaderGone>() => Ok(ExitCode::SUCCESS),
            ended => ended,
        }
    }
}

impl Command {
    async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Dev(dev) => dev.run().await,
            Self::Api(api) => api.run().await,
            Self::Runner(runner) => runner.run().await,
            Self::Scheduler(scheduler) => scheduler.run().await,
            Self::Migrate(migrate) => migrate.run().await,
            Self::Submit(submit) => submit.run().await,
            Self::Status(status) => status.run().await,
            Self::Logs(logs) => logs.run().await,
            Self::Cancel(action) => action.cancel().await,
            Self::Retry(action) => action.retry().await,
            Self::Queues(queues) => queues.run().await,
            Self::Runners(runners) => runners.run().await,
            Self::Schedule(schedule) => schedule.run(),
            Self::Openapi => openapi::run(),
        }
    }
}
