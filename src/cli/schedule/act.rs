//! `orchestrator schedule pause|resume|trigger|rm`

use std::process::ExitCode;

use clap::Args;

use super::{find, operator};
use crate::app::hint::Hints;
use crate::app::schedules::view::{Shown, ShownOccurrence};
use crate::app::schedules::{self, steer, trigger};
use crate::cli::{database, output};
use crate::config;
use crate::domain::id::ScheduleId;
use crate::store::Pool;
use crate::store::schedule::Schedule;

/// The schedule that something is done to.
#[derive(Args, Debug)]
struct Target {
    #[command(flatten)]
    database: config::Database,
    /// Its id, PROJECT/NAME, or its name where that is enough
    #[arg(value_name = "SCHEDULE")]
    schedule: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Target {
    async fn find(&self) -> anyhow::Result<(Pool, Schedule)> {
        let pool = database::open(&self.database.database_url, "orchestrator-schedule", 2).await?;
        let row = find(&pool, &self.schedule).await?;
        Ok((pool, row))
    }

    fn say(&self, row: Schedule, sentence: &str) -> anyhow::Result<ExitCode> {
        let named = format!("schedule {}/{} {sentence}\n", row.project_alias, row.name);
        match self.json {
            true => output::json(&Shown::from(row))?,
            false => output::text(&named)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Nothing of it is fired until it is resumed; what runs goes on.
#[derive(Args, Debug)]
pub(in crate::cli) struct Pause {
    #[command(flatten)]
    target: Target,
    /// Why, for whoever looks at it
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Pause {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let (pool, row) = self.target.find().await?;
        let reason = self.reason.as_deref();
        let row = steer::pause(&pool, &operator(), ScheduleId(row.id), reason, None).await?;
        self.target.say(row, "is paused")
    }
}

/// It goes on at its next instant; what was due meanwhile is recorded and not run.
#[derive(Args, Debug)]
pub(in crate::cli) struct Resume {
    #[command(flatten)]
    target: Target,
    /// Treat what was due meanwhile as missed, and run what its policy for that says
    #[arg(long)]
    catch_up: bool,
}

impl Resume {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let (pool, row) = self.target.find().await?;
        let id = ScheduleId(row.id);
        let row = steer::resume(&pool, &operator(), id, self.catch_up, None, None).await?;
        let next = match row.fire_at {
            Some(next) => format!(
                "goes on; its next run is released at {}",
                super::list::instant(next)
            ),
            None => "goes on; no further run comes".to_owned(),
        };
        self.target.say(row, &next)
    }
}

/// Also one that is paused; its own instants stay as they are.
#[derive(Args, Debug)]
pub(in crate::cli) struct Trigger {
    #[command(flatten)]
    target: Target,
    /// A key of yours: the same key again is answered with the first run
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

impl Trigger {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let key = self.key.as_deref();
        anyhow::ensure!(
            key.is_none_or(|key| (1..=255).contains(&key.chars().count())),
            "--key must be 1 to 255 characters"
        );
        let (pool, row) = self.target.find().await?;
        let hints = Hints::default();
        let made = trigger::trigger(&pool, &hints, &operator(), ScheduleId(row.id), key, None).await?;
        hints.tell(&pool).await;
        let made = ShownOccurrence::from(made);
        if self.target.json {
            output::json(&made)?;
            return Ok(ExitCode::SUCCESS);
        }
        let said = match made.job_id {
            Some(job) => format!("{job}\n"),
            None => format!("no job was made now: {}\n", made.detail),
        };
        output::text(&said)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// It and its history are gone; the jobs it made stay.
#[derive(Args, Debug)]
pub(in crate::cli) struct Rm {
    #[command(flatten)]
    target: Target,
}

impl Rm {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let (pool, row) = self.target.find().await?;
        let row = schedules::delete(&pool, &operator(), ScheduleId(row.id), None).await?;
        self.target.say(row, "is deleted")
    }
}
