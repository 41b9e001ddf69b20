//! `orchestrator schedule apply FILE|DIR…`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::files::{Found, read_all};
use super::{operator, refused};
use crate::app::hint::Hints;
use crate::app::schedules::apply::{Applied, Manner, Step, apply};
use crate::cli::{database, output};
use crate::config;
use crate::domain::name::is_name;
use crate::domain::schedule::Definition;

/// Makes the tables match the files, all of them or nothing, and shows what differs.
#[derive(Args, Debug)]
pub(in crate::cli) struct Apply {
    #[command(flatten)]
    database: config::Database,
    /// Files of schedules (YAML or JSON, several in a file; also the predecessor's), or directories of such; - reads
    /// standard input
    #[arg(value_name = "FILE|DIR|-", required = true)]
    paths: Vec<PathBuf>,
    /// Delete what earlier applies of this set made and the files no longer hold
    #[arg(long)]
    prune: bool,
    /// Name of this set of files, so that pruning one leaves the others alone
    #[arg(long, value_name = "NAME", default_value = "files")]
    set: String,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Apply {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        anyhow::ensure!(
            is_name(&self.set),
            "--set must be 1–128 letters, digits, `.`, `_` or `-`"
        );
        let found = read_all(&self.paths)?;
        let pool = database::open(&self.database.database_url, "orchestrator-schedule", 2).await?;
        let (places, wanted): (Vec<String>, Vec<Definition>) = found
            .into_iter()
            .map(|Found { definition, place }| (place, definition))
            .unzip();
        let manner = Manner {
            set: &self.set,
            prune: self.prune,
            dry_run: self.dry_run,
        };
        let hints = Hints::default();
        let applied = apply(&pool, &hints, &operator(), &wanted, manner, None).await;
        let applied = applied.map_err(|error| refused(error, |path| in_file(&places, path)))?;
        hints.tell(&pool).await;
        match self.json {
            true => output::json(&json!({ "dry_run": self.dry_run, "schedules": applied }))?,
            false => output::text(&report(&applied, self.dry_run))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// `schedules[2].job.project_id` as `FILE: job.project_id`.
fn in_file(places: &[String], path: &str) -> String {
    let indexed = path
        .strip_prefix("schedules[")
        .and_then(|rest| rest.split_once("]."));
    let named = indexed.and_then(|(index, rest)| Some((places.get(index.parse::<usize>().ok()?)?, rest)));
    named.map_or_else(|| path.to_owned(), |(place, rest)| format!("{place}: {rest}"))
}

fn report(applied: &[Applied], dry_run: bool) -> String {
    let mut text = String::new();
    let mut counts = [0_usize; 4];
    for Applied {
        project_id,
        name,
        step,
    } in applied
    {
        let of = format!("{project_id}/{name}");
        match step {
            Step::Created { definition } => {
                counts[0] += 1;
                text.push_str(&format!(
                    "+ {of}\n    {} ({})\n",
                    definition.expression, definition.zone
                ));
            }
            Step::Changed { changes } => {
                counts[1] += 1;
                text.push_str(&format!("~ {of}\n"));
                changes
                    .iter()
                    .for_each(|change| text.push_str(&format!("    {change}\n")));
            }
            Step::Deleted => {
                counts[2] += 1;
                text.push_str(&format!("- {of}\n"));
            }
            Step::Unchanged => counts[3] += 1,
        }
    }
    let [created, changed, deleted, unchanged] = counts;
    let would = if dry_run {
        " (dry run: nothing was changed)"
    } else {
        ""
    };
    text.push_str(&format!(
        "{created} created, {changed} changed, {deleted} deleted, {unchanged} unchanged{would}\n"
    ));
    text
}
