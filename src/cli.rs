//! The command line: one file a subcommand.
//!
//! Results go to standard output, everything else to standard error. Exit codes: 0 it worked, 1 it
//! did not (the sentence says why), 2 the command line was wrong. `doctor` has its own: 1 something is
//! to be looked at, 2 something fails.

mod agent;
mod api;
mod approve;
mod artifacts;
mod callbacks;
mod cancel;
mod completions;
mod config;
mod database;
mod deliveries;
mod dev;
mod doctor;
mod follow;
mod hook;
mod jobs;
mod logs;
mod migrate;
mod objects;
mod openapi;
mod output;
mod project;
mod queues;
mod recover;
mod runner;
mod schedule;
mod scheduler;
mod select;
mod settings;
mod status;
mod submit;
mod token;
mod unlock;
mod values;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config as configuration;
use crate::telemetry::trace::Collector;

/// A workflow service whose only dependency is PostgreSQL.
#[derive(Parser, Debug)]
#[command(name = "orchestrator", version, max_term_width = 100)]
pub struct Cli {
    /// How much is logged, and how.
    #[command(flatten)]
    pub logging: configuration::Logging,
    /// File of NAME=value lines to take settings from that are not in the environment, as
    /// /etc/multi-agent-orchestrator/orchestrator.env
    #[arg(long, value_name = "FILE", global = true)]
    env_file: Option<std::path::PathBuf>,
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
    /// List jobs, the newest first
    Jobs(jobs::Jobs),
    /// Show a job and its steps
    Status(status::Status),
    /// Print what a job's steps printed
    Logs(logs::Logs),
    /// List what a job left behind, or print some of it
    Artifacts(artifacts::Artifacts),
    /// End jobs, wherever they are
    #[command(after_help = "With options, all that match and have not ended are meant.")]
    Cancel(cancel::Action),
    /// Bring back jobs that failed or were cancelled
    #[command(
        after_help = "With options, those that match and failed are meant; those that were cancelled where --state or --code says so."
    )]
    Retry(cancel::Action),
    /// Let a job that waits for approval go on
    Approve(approve::Approve),
    /// End a job that waits for approval
    Reject(approve::Reject),
    /// Look at agents, make, change and remove them
    Agent(agent::Agents),
    /// Look at queues, pause and resume them
    Queues(queues::Queues),
    /// Look at runners, drain them
    Runners(queues::Runners),
    /// Make, look at and steer schedules
    #[command(subcommand)]
    Schedule(schedule::Schedule),
    /// Make and look at hooks: events that come in from other services
    Hook(hook::Hook),
    /// Look at callbacks, the ends of jobs told to others, and send them again
    Deliveries(deliveries::Deliveries),
    /// Replace what a project's callbacks are signed with
    CallbackSecret(deliveries::CallbackSecret),
    /// Say what is wrong with this installation, and what mends it
    Doctor(doctor::Doctor),
    /// Take back now what lost runners hold, and let in what waits
    Recover(recover::Recover),
    /// End a migration that hangs, so that another can run
    Unlock(unlock::Unlock),
    /// Show the settings in force, and where each comes from
    Config(config::Config),
    /// Print the completions of a shell
    Completions(completions::Completions),
    /// Look at projects, make, change and remove them
    Project(project::Project),
    /// Look at tokens, make, rotate and revoke them
    Token(token::Token),
    /// Print the OpenAPI document of the API
    Openapi,
}

impl Cli {
    /// Where this process exports its spans, if it does: only services do.
    #[must_use]
    pub fn collector(&self) -> Option<Collector> {
        let (traces, service) = match &self.command {
            Command::Api(api) => (&api.traces, "orchestrator-api"),
            Command::Runner(runner) => (&runner.traces, "orchestrator-runner"),
            Command::Scheduler(scheduler) => (&scheduler.traces, "orchestrator-scheduler"),
            Command::Dev(dev) => (&dev.traces, "orchestrator"),
            _ => return None,
        };
        Some(Collector {
            endpoint: traces.otel_exporter_otlp_endpoint.clone()?,
            headers: traces.otel_exporter_otlp_headers.0.clone(),
            share: traces.otel_traces_sampler_arg,
            service: traces
                .otel_service_name
                .clone()
                .unwrap_or_else(|| service.to_owned()),
        })
    }

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
            Self::Jobs(jobs) => jobs.run().await,
            Self::Status(status) => status.run().await,
            Self::Logs(logs) => logs.run().await,
            Self::Artifacts(artifacts) => artifacts.run().await,
            Self::Cancel(action) => action.cancel().await,
            Self::Retry(action) => action.retry().await,
            Self::Approve(approve) => approve.run().await,
            Self::Reject(reject) => reject.run().await,
            Self::Agent(agents) => agents.run().await,
            Self::Queues(queues) => queues.run().await,
            Self::Runners(runners) => runners.run().await,
            Self::Schedule(schedule) => schedule.run().await,
            Self::Hook(hook) => hook.run().await,
            Self::Deliveries(deliveries) => deliveries.run().await,
            Self::CallbackSecret(secret) => secret.run().await,
            Self::Doctor(doctor) => doctor.run().await,
            Self::Recover(recover) => recover.run().await,
            Self::Unlock(unlock) => unlock.run().await,
            Self::Config(config) => config.run(),
            Self::Completions(completions) => completions.run(),
            Self::Project(project) => project.run().await,
            Self::Token(token) => token.run().await,
            Self::Openapi => openapi::run(),
        }
    }
}
