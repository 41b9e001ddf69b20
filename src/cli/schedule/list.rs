//! `orchestrator schedule list|show|history`

use std::process::ExitCode;

use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;

use super::find;
use crate::app::schedules::view::{Shown, ShownOccurrence};
use crate::cli::{database, output};
use crate::config;
use crate::domain::clock;
use crate::domain::id::ScheduleId;
use crate::store::schedule::occurrence::{self, history};
use crate::store::schedule::{Filter, page, read};

/// Every schedule, newest first.
#[derive(Args, Debug)]
pub(in crate::cli) struct List {
    #[command(flatten)]
    database: config::Database,
    /// Only those of this project
    #[arg(long, value_name = "ALIAS")]
    project: Option<String>,
    /// Print one JSON array
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let pool = database::open(&self.database.database_url, "orchestrator-schedule", 2).await?;
        let project = match &self.project {
            Some(alias) => Some([database::project(&pool, alias).await?]),
            None => None,
        };
        let filter = Filter {
            projects: project.as_ref().map(|one| &one[..]),
            paused: None,
        };
        let (mut shown, mut after) = (Vec::new(), None);
        loop {
            let ids = page(&pool, filter, after, 500).await?;
            let rows = read(&pool, &ids.items, None).await?;
            shown.extend(rows.into_iter().rev().map(Shown::from));
            after = ids.next;
            if after.is_none() {
                break;
            }
        }
        if self.json {
            output::json(&shown)?;
            return Ok(ExitCode::SUCCESS);
        }
        let rows = shown.iter().map(|one| {
            let definition = one.definition.as_ref();
            let when = definition.map(|definition| definition.expression.to_string());
            let zone = definition.map(|definition| definition.zone.to_string());
            [
                format!("{}/{}", one.project_id, one.name),
                when.unwrap_or_else(|| "(unreadable)".to_owned()),
                zone.unwrap_or_default(),
                next(one),
            ]
        });
        output::text(&output::table(
            ["schedule", "expression", "zone", "next run"],
            rows,
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// When it is released next, or why not.
fn next(shown: &Shown) -> String {
    match (shown.paused_at, shown.next_fire_at) {
        (Some(_), _) => "paused".to_owned(),
        (None, Some(next)) => instant(next),
        (None, None) => "none".to_owned(),
    }
}

/// An instant for people: to the second, in UTC.
pub(super) fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A schedule, where it stands, and its next runs.
#[derive(Args, Debug)]
pub(in crate::cli) struct Show {
    #[command(flatten)]
    database: config::Database,
    /// Its id, PROJECT/NAME, or its name where that is enough
    #[arg(value_name = "SCHEDULE")]
    schedule: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let pool = database::open(&self.database.database_url, "orchestrator-schedule", 1).await?;
        let row = find(&pool, &self.schedule).await?;
        let shown = Shown::with_runs(row, clock::now(), 5);
        match self.json {
            true => output::json(&shown)?,
            false => output::text(&sheet(&shown)?)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn sheet(shown: &Shown) -> anyhow::Result<String> {
    let mut lines = vec![
        format!("schedule     {}/{}", shown.project_id, shown.name),
        format!("id           {}", shown.id),
    ];
    if let Some(why) = &shown.unreadable {
        lines.push(format!("unreadable   {why}"));
    }
    if let Some(definition) = &shown.definition {
        lines.push(format!(
            "expression   {} ({})",
            definition.expression, definition.zone
        ));
        lines.push(format!("meaning      {}", shown.description));
        let (missed, overlap): (&str, &str) = (definition.missed.into(), definition.overlap.into());
        lines.push(format!(
            "policies     missed: {missed}, overlap: {overlap}, jitter_sec: {}",
            definition.jitter_sec
        ));
    }
    match (shown.paused_at, shown.pause_reason.as_deref()) {
        (Some(at), reason) => lines.push(format!(
            "paused       since {} {}",
            instant(at),
            reason.unwrap_or_default()
        )),
        (None, _) => lines.push(format!("next run     {}", next(shown))),
    }
    for run in &shown.next_runs {
        lines.push(format!("             {}", run.at.to_rfc3339()));
    }
    lines.push(format!("failures     {} in a row", shown.failures));
    if let Some(definition) = &shown.definition {
        lines.push(format!(
            "job          {}",
            serde_json::to_string_pretty(&definition.job)?
        ));
    }
    Ok(lines
        .iter()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect())
}

/// What was due, the latest first.
#[derive(Args, Debug)]
pub(in crate::cli) struct History {
    #[command(flatten)]
    database: config::Database,
    /// Its id, PROJECT/NAME, or its name where that is enough
    #[arg(value_name = "SCHEDULE")]
    schedule: String,
    /// How many occurrences
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    limit: u16,
    /// Print one JSON array
    #[arg(long)]
    json: bool,
}

impl History {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let pool = database::open(&self.database.database_url, "orchestrator-schedule", 1).await?;
        let row = find(&pool, &self.schedule).await?;
        let rows = history(
            &pool,
            ScheduleId(row.id),
            occurrence::Filter::default(),
            self.limit,
        )
        .await?;
        let shown: Vec<ShownOccurrence> = rows.into_iter().map(Into::into).collect();
        if self.json {
            output::json(&shown)?;
            return Ok(ExitCode::SUCCESS);
        }
        let rows = shown.into_iter().map(|one| {
            let job = one.job_id.map(|job| job.to_string()).unwrap_or_default();
            let state = one.job_state.or(one.outcome).unwrap_or_default();
            [
                instant(one.due_at),
                one.decision,
                one.reason,
                state,
                job,
                one.detail,
            ]
        });
        output::text(&output::table(
            ["due", "decision", "reason", "state", "job", "why"],
            rows,
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}
