//! `orchestrator schedule …`

use std::process::ExitCode;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};

use super::output;
use crate::domain::clock;
use crate::domain::schedule::{Expression, LONGEST_PREVIEW, Zone, preview};

#[derive(Subcommand, Debug)]
pub(super) enum Schedule {
    /// Say in a sentence what an expression means, and when it runs next; needs no database
    Next(Next),
}

/// A look at an expression.
#[derive(Args, Debug)]
pub(super) struct Next {
    /// The expression, as "30 2 * * 1-5", "@daily" or "every 15m"
    expression: String,
    /// The time zone it is read in, by its IANA name
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    tz: String,
    /// Runs after this time (RFC 3339) instead of now
    #[arg(long, value_name = "TIME")]
    from: Option<DateTime<Utc>>,
    /// How many runs
    #[arg(long, value_name = "N", default_value_t = 5)]
    count: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Schedule {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Next(next) => next.run(),
        }
    }
}

impl Next {
    fn run(self) -> anyhow::Result<ExitCode> {
        anyhow::ensure!(
            (1..=LONGEST_PREVIEW).contains(&self.count),
            "--count must be 1 to {LONGEST_PREVIEW}"
        );
        let expression = Expression::parse(&self.expression).context("the expression cannot be read")?;
        let zone = Zone::parse(&self.tz).context("--tz")?;
        let preview = preview(
            &expression,
            zone,
            self.from.unwrap_or_else(clock::now),
            self.count,
        );
        if self.json {
            output::json(&preview)?;
            return Ok(ExitCode::SUCCESS);
        }
        let runs: String = preview
            .runs
            .iter()
            .map(|run| format!("{}\n", run.at.to_rfc3339()))
            .collect();
        output::text(&format!("{}\n{runs}", preview.description))?;
        Ok(ExitCode::SUCCESS)
    }
}
