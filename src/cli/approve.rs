//! `orchestrator approve ID` and `orchestrator reject ID`

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{database, output};
use crate::app::authenticate::Caller;
use crate::app::control;
use crate::app::hint::Hints;
use crate::config;
use crate::domain::approval::{Decision, Word};
use crate::domain::id::JobId;

/// Lets a job that waits for approval go on at the step that waits.
#[derive(Args, Debug)]
pub(super) struct Approve {
    #[command(flatten)]
    say: Say,
    /// What the step's agent is asked instead
    #[arg(long, value_name = "TEXT", conflicts_with = "skip")]
    prompt: Option<String>,
    /// Pass over the step that waits
    #[arg(long)]
    skip: bool,
}

/// Ends a job that waits for approval.
#[derive(Args, Debug)]
pub(super) struct Reject {
    #[command(flatten)]
    say: Say,
}

#[derive(Args, Debug)]
struct Say {
    #[command(flatten)]
    database: config::Database,
    /// The job's id
    id: JobId,
    /// Why; kept with who and when
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    /// The attempt whose question this answers [default: the last]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    attempt: Option<i32>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Approve {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let decision = if self.skip {
            Decision::Skipped
        } else {
            Decision::Approved
        };
        self.say.run(decision, self.prompt, "orchestrator-approve").await
    }
}

impl Reject {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        self.say
            .run(Decision::Rejected, None, "orchestrator-reject")
            .await
    }
}

impl Say {
    async fn run(
        self,
        decision: Decision,
        prompt: Option<String>,
        application: &str,
    ) -> anyhow::Result<ExitCode> {
        let word = Word {
            decision,
            comment: self.comment,
            prompt,
            attempt: self.attempt,
        };
        if let Some(wrong) = word.violations().first() {
            anyhow::bail!("--{wrong}");
        }
        let pool = database::open(&self.database.database_url, application, 2).await?;
        let hints = Hints::default();
        let state = control::decide(&pool, &hints, &Caller::operator("cli"), self.id, &word).await?;
        hints.tell(&pool).await;
        match self.json {
            true => output::json(&json!({ "job_id": self.id, "decision": decision, "state": state }))?,
            false => output::text(&format!("job {} is {state}\n", self.id))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
