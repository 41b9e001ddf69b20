//! `orchestrator schedule …`

mod act;
mod apply;
mod files;
mod list;
mod next;

use std::process::ExitCode;

use anyhow::bail;
use clap::Subcommand;

use crate::app::authenticate::Caller;
use crate::app::schedules;
use crate::domain::id::ScheduleId;
use crate::store::Pool;
use crate::store::schedule::{Schedule as Row, named};

#[derive(Subcommand, Debug)]
pub(super) enum Schedule {
    /// Make the tables match files of schedules, and show what differs
    Apply(apply::Apply),
    /// List schedules
    #[command(visible_alias = "ls")]
    List(list::List),
    /// Show a schedule and its next runs
    Show(list::Show),
    /// Show what was due, what was decided, why, and which job it made
    History(list::History),
    /// Say in a sentence what an expression or a schedule means, and when it runs next
    Next(next::Next),
    /// Fire nothing of a schedule until it is resumed
    Pause(act::Pause),
    /// Let a paused schedule go on at its next instant
    Resume(act::Resume),
    /// Run a schedule now
    Trigger(act::Trigger),
    /// Delete a schedule; the jobs it made stay
    #[command(visible_alias = "delete")]
    Rm(act::Rm),
}

impl Schedule {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Apply(apply) => apply.run().await,
            Self::List(list) => list.run().await,
            Self::Show(show) => show.run().await,
            Self::History(history) => history.run().await,
            Self::Next(next) => next.run().await,
            Self::Pause(pause) => pause.run().await,
            Self::Resume(resume) => resume.run().await,
            Self::Trigger(trigger) => trigger.run().await,
            Self::Rm(rm) => rm.run().await,
        }
    }
}

/// The operator at the command line.
fn operator() -> Caller {
    Caller::operator("cli")
}

/// The schedule that people name by its id, as PROJECT/NAME, or by its name alone where that is enough.
async fn find(pool: &Pool, text: &str) -> anyhow::Result<Row> {
    if let Ok(id) = text.parse::<ScheduleId>() {
        return Ok(schedules::find(pool, &operator(), id).await?);
    }
    let (project, name) = match text.split_once('/') {
        Some((project, name)) => (Some(project), name),
        None => (None, text),
    };
    match named(pool, project, name).await?.as_slice() {
        [id] => Ok(schedules::find(pool, &operator(), *id).await?),
        [] => bail!("there is no schedule {text:?}; `orchestrator schedule list` shows those there are"),
        several => bail!(
            "{} projects have a schedule {text:?}; name it as PROJECT/NAME",
            several.len()
        ),
    }
}

/// What is wrong with a definition, a line each.
fn refused(error: schedules::Error, place: impl Fn(&str) -> String) -> anyhow::Error {
    match error {
        schedules::Error::Invalid(violations) => {
            let lines: Vec<String> = violations
                .iter()
                .map(|violation| format!("\n  {}: {}", place(&violation.path), violation.message))
                .collect();
            anyhow::anyhow!("nothing was changed:{}", lines.concat())
        }
        error => error.into(),
    }
}
