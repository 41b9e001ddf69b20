//! `orchestrator schedule next EXPR|ID`

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use clap::Args;

use crate::app::schedules::read::definition;
use crate::cli::{database, output, values};
use crate::config;
use crate::domain::clock;
use crate::domain::environment::DatabaseUrl;
use crate::domain::schedule::{Expression, LONGEST_PREVIEW, Preview, Zone, preview};

/// A look at an expression, which needs no database, or at a schedule, which does.
#[derive(Args, Debug)]
pub(in crate::cli) struct Next {
    /// An expression, as "30 2 * * 1-5", "@daily" or "every 15m"; or a schedule: its id, PROJECT/NAME or name
    #[arg(value_name = "EXPR|ID")]
    what: String,
    /// The time zone an expression is read in, by its IANA name [default: UTC]
    #[arg(long, value_name = "ZONE")]
    tz: Option<String>,
    /// Runs after this time (RFC 3339) instead of now
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    from: Option<DateTime<Utc>>,
    /// How many runs
    #[arg(long, value_name = "N", default_value_t = 5)]
    count: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Where schedules are; an expression needs none
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL", value_parser = config::DATABASE_URL)]
    database_url: Option<DatabaseUrl>,
}

impl Next {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        anyhow::ensure!(
            (1..=LONGEST_PREVIEW).contains(&self.count),
            "--count must be 1 to {LONGEST_PREVIEW}"
        );
        let preview = match Expression::parse(&self.what) {
            Ok(expression) => self.of_expression(&expression)?,
            Err(_) if self.names_a_schedule() => self.of_schedule().await?,
            Err(error) => return Err(error).context("the expression cannot be read"),
        };
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

    fn from(&self) -> DateTime<Utc> {
        self.from.unwrap_or_else(clock::now)
    }

    /// Expressions have spaces or begin with `@`; names have none of these.
    fn names_a_schedule(&self) -> bool {
        !self.what.is_empty()
            && !self
                .what
                .contains(|c: char| c.is_whitespace() || "@*?,#".contains(c))
    }

    fn of_expression(&self, expression: &Expression) -> anyhow::Result<Preview> {
        let zone = Zone::parse(self.tz.as_deref().unwrap_or("UTC")).context("--tz")?;
        Ok(preview(expression, zone, self.from(), self.count))
    }

    async fn of_schedule(&self) -> anyhow::Result<Preview> {
        let Some(url) = &self.database_url else {
            bail!(
                "{:?} is no expression; to look for a schedule of that name, set DATABASE_URL",
                self.what
            );
        };
        anyhow::ensure!(
            self.tz.is_none(),
            "--tz is for expressions; a schedule has its own time zone"
        );
        let pool = database::open(url, "orchestrator-schedule", 1).await?;
        let row = super::find(&pool, &self.what).await?;
        let read =
            definition(&row).map_err(|why| anyhow::anyhow!("schedule {} cannot be read: {why}", row.name))?;
        if row.paused_at.is_some() {
            tracing::warn!("the schedule is paused; these would be its runs");
        }
        Ok(read
            .timetable(row.id, row.anchor)
            .preview(self.from(), self.count))
    }
}
