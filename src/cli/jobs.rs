//! `orchestrator jobs`

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use clap::Args;

use super::{database, output, status};
use crate::config;
use crate::domain::job::{Code, JobState};
use crate::store::job::{Filter, Job, page};

/// Jobs, the newest first.
#[derive(Args, Debug)]
pub(super) struct Jobs {
    #[command(flatten)]
    database: config::Database,
    /// Only those of this project
    #[arg(long, value_name = "ALIAS")]
    project: Option<String>,
    /// Only those in this state, as running, awaiting_approval or failed
    #[arg(long, value_name = "STATE")]
    state: Option<JobState>,
    /// Only those of this queue
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// Only those with this tag
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Only those that ended for this reason, as timeout or exit_nonzero
    #[arg(long, value_name = "CODE")]
    code: Option<Code>,
    /// Only those accepted at this time or later, as 2030-01-01T02:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<DateTime<Utc>>,
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
        let project = match &self.project {
            Some(alias) => Some([database::project(&pool, alias).await?]),
            None => None,
        };
        let filter = Filter {
            projects: project.as_ref().map(|one| &one[..]),
            state: self.state,
            queue: self.queue.as_deref(),
            tag: self.tag.as_deref(),
            code: self.code,
            created_after: self.since,
            created_before: None,
        };
        let (mut jobs, mut after) = (Vec::new(), None);
        // A page may hold fewer than are asked for although there are more.
        while let left @ 1.. = usize::from(self.limit).saturating_sub(jobs.len()) {
            let found = page(&pool, filter, after, u16::try_from(left)?).await?;
            jobs.extend(found.items);
            after = found.next;
            if after.is_none() {
                break;
            }
        }
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
