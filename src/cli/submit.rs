//! `orchestrator submit FILE|-`

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;

use super::{database, output};
use crate::app::authenticate::Caller;
use crate::app::hint::Hints;
use crate::app::submit;
use crate::config;
use crate::domain::problem::Violation;
use crate::domain::spec::JobSpec;

/// Reads a job specification (JSON) and puts the job into the queue.
#[derive(Args, Debug)]
pub(super) struct Submit {
    #[command(flatten)]
    database: config::Database,
    /// The file with the specification; - reads standard input
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
    /// Print one JSON object instead of the job's id
    #[arg(long)]
    json: bool,
}

impl Submit {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let spec = JobSpec::read(&self.read()?).map_err(|violations| refused(&violations))?;
        let pool = database::open(&self.database.database_url, "orchestrator-submit", 2).await?;
        let hints = Hints::default();
        let accepted = match submit::submit(&pool, &hints, &Caller::operator("cli"), &spec).await {
            Ok(accepted) => accepted,
            Err(submit::Error::Invalid(violations)) => return Err(refused(&violations)),
            Err(error) => return Err(error.into()),
        };
        // No task tells it for us: the process ends here.
        hints.tell(&pool).await;
        match self.json {
            true => output::json(&json!({ "job_id": accepted.job, "repeated": accepted.repeated }))?,
            false => output::text(&format!("{}\n", accepted.job))?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn read(&self) -> anyhow::Result<Vec<u8>> {
        if self.file.as_os_str() != "-" {
            return std::fs::read(&self.file).with_context(|| format!("cannot read {}", self.file.display()));
        }
        let mut bytes = Vec::new();
        std::io::stdin()
            .read_to_end(&mut bytes)
            .context("cannot read standard input")?;
        if bytes.is_empty() {
            bail!("standard input is empty; pass a job specification, as {{\"goal\": …, \"project_id\": …}}");
        }
        Ok(bytes)
    }
}

fn refused(violations: &[Violation]) -> anyhow::Error {
    let lines: Vec<String> = violations
        .iter()
        .map(|violation| format!("\n  {violation}"))
        .collect();
    anyhow::anyhow!("the job specification does not hold:{}", lines.concat())
}
