//! `orchestrator cancel` and `orchestrator retry`: of jobs by their ids, or of all that match

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;

use super::select::Selection;
use super::{database, output};
use crate::app::authenticate::Caller;
use crate::app::control::{self, Error};
use crate::app::hint::Hints;
use crate::config;
use crate::domain::id::JobId;
use crate::domain::job::JobState;
use crate::store::Pool;

/// The jobs that something is done to.
#[derive(Args, Debug)]
pub(super) struct Action {
    #[command(flatten)]
    database: config::Database,
    /// The jobs' ids; instead of them, options as --queue may say which jobs are meant
    #[arg(
        value_name = "ID",
        required_unless_present = "Selection",
        conflicts_with = "Selection"
    )]
    ids: Vec<JobId>,
    #[command(flatten)]
    selection: Selection,
    /// Print the ids of those that the options mean, and do nothing
    #[arg(long, conflicts_with = "ids")]
    dry_run: bool,
}

/// What is done.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Cancel,
    Retry,
}

impl Deed {
    /// States of the jobs to which it can be done.
    fn states(self) -> &'static [JobState] {
        match self {
            Self::Cancel => &[
                JobState::Blocked,
                JobState::Scheduled,
                JobState::Available,
                JobState::Running,
                JobState::AwaitingApproval,
            ],
            Self::Retry => &[JobState::Failed, JobState::Cancelled],
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Cancel => "cancelled",
            Self::Retry => "retried",
        }
    }

    async fn to(self, pool: &Pool, hints: &Hints, job: JobId) -> Result<JobState, Error> {
        let caller = Caller::operator("cli");
        match self {
            Self::Cancel => control::cancel(pool, hints, &caller, job).await,
            Self::Retry => control::retry(pool, hints, &caller, job).await,
        }
    }
}

impl Action {
    pub(super) async fn cancel(self) -> anyhow::Result<ExitCode> {
        let pool = database::open(&self.database.database_url, "orchestrator-cancel", 2).await?;
        self.each(&pool, Deed::Cancel).await
    }

    pub(super) async fn retry(self) -> anyhow::Result<ExitCode> {
        let pool = database::open(&self.database.database_url, "orchestrator-retry", 2).await?;
        self.each(&pool, Deed::Retry).await
    }

    /// Does it to each: one that is refused does not keep the others from it.
    async fn each(self, pool: &Pool, deed: Deed) -> anyhow::Result<ExitCode> {
        let jobs = self.meant(pool, deed).await?;
        if self.dry_run {
            jobs.iter().try_for_each(|job| said(&format!("{job}\n")))?;
            return Ok(ExitCode::SUCCESS);
        }
        if jobs.is_empty() {
            output::note(&format!("no job that can be {} matches\n", deed.word()));
        }
        let (all, hints) = (jobs.len(), Hints::default());
        let refused = to_all(pool, &hints, deed, jobs).await;
        hints.tell(pool).await;
        let mut refused = refused?;
        match (refused.pop(), all) {
            (None, _) => Ok(ExitCode::SUCCESS),
            (Some(error), 1) => Err(error.into()),
            (Some(last), _) => {
                for error in refused.iter().chain([&last]) {
                    output::note(&format!("error: {error}\n"));
                }
                let (number, word) = (refused.len() + 1, deed.word());
                bail!("{number} of {all} jobs were not {word}, see above; the others were")
            }
        }
    }

    /// The jobs that are meant.
    async fn meant(&self, pool: &Pool, deed: Deed) -> anyhow::Result<BTreeSet<JobId>> {
        if !self.ids.is_empty() {
            return Ok(self.ids.iter().copied().collect());
        }
        let states = deed.states();
        let states = match (self.selection.state, deed) {
            (Some(state), _) if !states.contains(&state) => {
                bail!("a job that is {state} cannot be {}", deed.word())
            }
            (Some(state), _) => vec![state],
            // Somebody wanted the end of those that were cancelled.
            (None, Deed::Retry) if self.selection.code.is_none() => vec![JobState::Failed],
            (None, _) => states.to_vec(),
        };
        self.selection.all(pool, &states).await
    }
}

/// Does it to all of `jobs`, the oldest first, and answers with why not to some of them.
async fn to_all(
    pool: &Pool,
    hints: &Hints,
    deed: Deed,
    mut jobs: BTreeSet<JobId>,
) -> anyhow::Result<Vec<Error>> {
    let mut refused = Vec::new();
    loop {
        let mut early = Vec::new();
        for job in &jobs {
            match deed.to(pool, hints, *job).await {
                Ok(state) if matches!(deed, Deed::Cancel) && !state.is_terminal() => {
                    said(&format!("job {job} is {state}; its runner ends it\n"))?;
                }
                Ok(state) => said(&format!("job {job} is {state}\n"))?,
                Err(Error::Store(error)) => return Err(error.into()),
                Err(error @ Error::Need { .. }) => early.push((*job, error)),
                Err(error) => refused.push(error),
            }
        }
        // What they need may have been retried behind them.
        if early.is_empty() || early.len() == jobs.len() {
            refused.extend(early.into_iter().map(|(_, error)| error));
            return Ok(refused);
        }
        jobs = early.into_iter().map(|(job, _)| job).collect();
    }
}

/// Prints a line; goes on also when nobody reads them any more.
fn said(line: &str) -> anyhow::Result<()> {
    match output::text(line) {
        Err(error) if error.is::<output::ReaderGone>() => Ok(()),
        said => said,
    }
}
