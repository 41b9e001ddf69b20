//! `orchestrator recover`

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{database, output};
use crate::app::authenticate::Caller;
use crate::app::hint::Hints;
use crate::app::recover;
use crate::config;
use crate::domain::id::RunnerId;

/// Takes back at once what a scheduler takes back in time: jobs of runners whose lease has passed, due jobs, jobs that wait for
/// others or for room. Safe at any time and from several places at once.
#[derive(Args, Debug)]
pub(super) struct Recover {
    #[command(flatten)]
    database: config::Database,
    /// Session that is known to be dead, to be given up before its lease passes; `orchestrator runners` lists them
    #[arg(long = "runner", value_name = "ID")]
    runners: Vec<RunnerId>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Recover {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let pool = database::open(&self.database.database_url, "orchestrator-recover", 2).await?;
        let hints = Hints::default();
        let done = recover::recover(&pool, &hints, &Caller::operator("cli"), &self.runners).await?;
        hints.tell(&pool).await;
        let over = done.taken.iter().filter(|job| job.over).count();
        if self.json {
            let jobs: Vec<_> = done.taken.iter().map(|job| job.job).collect();
            output::json(&json!({
                "sessions_closed": done.closed, "jobs_taken_back": jobs, "jobs_ended": over,
                "jobs_due": done.due, "unknown_sessions": done.unknown,
            }))?;
        } else {
            output::text(&format!(
                "{} closed; {} taken back, {over} of them ended (no attempts left, or cancelled); {} became due\n",
                plural(done.closed, "lost session"),
                plural(done.taken.len() as u64, "job"),
                plural(done.due as u64, "job"),
            ))?;
        }
        anyhow::ensure!(
            done.unknown.is_empty(),
            "no session that has not ended has the id {}; `orchestrator runners` lists them",
            done.unknown
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        );
        Ok(ExitCode::SUCCESS)
    }
}

fn plural(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        more => format!("{more} {what}s"),
    }
}
