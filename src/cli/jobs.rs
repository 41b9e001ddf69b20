//! `orchestrator jobs`

use std::process::ExitCode;

use clap::Args;

use super::select::Selection;
use super::{database, output, status};
use crate::config;
use crate::domain::id::JobId;
use crate::store::job::Job;

/// Jobs, the newest first.
#[derive(Args, Debug)]
pub(super) struct Jobs {
    #[command(flatten)]
    database: config::Database,
    #[command(flatten)]
    selection: Selection,
    /// Only those accepted before this one, which is the last of those before
    #[arg(long, value_name = "ID")]
    after: Option<JobId>,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: u16,
    /// Print one JSON array
    #[arg(long)]
    json: bool,
}

impl Jobs {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let pool = database::open(&self.database.database_url, "orchestrator-jobs", 2).await?;
        let jobs = self.selection.jobs(&pool, self.after, self.limit.into()).await?;
        match self.json {
            true => output::json(&jobs.iter().map(status::of_job).collect::<Vec<_>>())?,
            false => output::text(&for_people(&jobs))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn for_people(jobs: &[Job]) -> String {
    let rows = jobs.iter().map(|job| {
        [
            job.id.to_string(),
            job.project_alias.clone(),
            job.queue.clone(),
            job.state.to_string(),
            job.code.map(|code| code.to_string()).unwrap_or_default(),
            job.attempt.to_string(),
            job.created_at.format("%F %TZ").to_string(),
            output::cell(&job.goal),
        ]
    });
    let head = [
        "job", "project", "queue", "state", "code", "attempt", "accepted", "goal",
    ];
    output::table(head, rows)
}
