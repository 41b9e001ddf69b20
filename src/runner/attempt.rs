//! One attempt: the steps of a job, in order, from the one the job row names.

use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::held::{Brake, Reason};
use super::logs::Log;
use super::{Settings, step, workspace};
use crate::app::backoff::Backoff;
use crate::app::lease::Session;
use crate::domain::attempt::{Ending, Failure, StepRecord};
use crate::domain::job::Code;
use crate::domain::retry::backoff;
use crate::domain::spec::{JobSpec, StepSpec};
use crate::store::claim::Claimed;
use crate::store::settle::Settlement;

/// Runs what is left of a job. `None`: the lease is lost, and nothing more is to be said about it.
///
/// `quiet` is told when the runner stops: the step that runs may finish, the next is another's.
pub(super) async fn run(
    settings: &Settings,
    session: &Session,
    job: Claimed,
    brake: &Brake,
    quiet: &CancellationToken,
) -> Option<Settlement> {
    let fence = job.fence;
    let (ending, step) = Attempt {
        settings,
        session,
        job: &job,
        brake,
        quiet,
    }
    .steps()
    .await?;
    Some(Settlement { fence, ending, step })
}

struct Attempt<'a> {
    settings: &'a Settings,
    session: &'a Session,
    job: &'a Claimed,
    brake: &'a Brake,
    quiet: &'a CancellationToken,
}

/// How the attempt ends, with the step it ends in unless that is recorded.
type End = (Ending, Option<StepRecord>);

impl Attempt<'_> {
    async fn steps(&self) -> Option<End> {
        let spec = match serde_json::from_value::<JobSpec>(self.job.spec.clone()) {
            Ok(spec) => spec,
            Err(error) => return Some((unreadable(&error), None)),
        };
        let first = usize::try_from(self.job.step_position).unwrap_or_default();
        let workspace = match self.workspace(spec.steps.iter().skip(first)) {
            Ok(workspace) => workspace,
            Err(failure) => return Some((Ending::Failed(failure), None)),
        };
        let asked = spec.policy.limits.output_kb.map(|kilobytes| kilobytes * 1000);
        let kept = asked.map_or(self.settings.output_limit, |asked| {
            asked.min(self.settings.output_limit)
        });
        let mut log = Log::new(self.session, self.job.fence, kept, self.brake.token());
        let mut steps = spec.steps.iter().zip(0i16..).skip(first).peekable();
        let mut ordinal = 0;
        while let Some((step, position)) = steps.next() {
            if let Some(reason) = self.brake.reason() {
                return ending(reason, None);
            }
            if self.quiet.is_cancelled() {
                return Some((Ending::HandedBack, None));
            }
            let place = step::Place {
                job: self.job.fence.job,
                position,
                ordinal,
                workspace: &workspace,
                policy: &spec.policy,
            };
            let record = step::run(self.settings, step, &place, &mut log, self.brake).await;
            if let Some(reason) = self.brake.reason() {
                return ending(reason, Some(record));
            }
            if let Some(failure) = record.failure.clone() {
                return Some((self.failed(step, position, failure), Some(record)));
            }
            if steps.peek().is_none() {
                return Some((Ending::Succeeded, Some(record)));
            }
            self.record(&record, position + 1).await?;
            ordinal += 1;
        }
        Some((Ending::Succeeded, None))
    }

    /// The job's directory, made unless no step looks at it.
    fn workspace<'s>(&self, mut steps: impl Iterator<Item = &'s StepSpec>) -> Result<PathBuf, Failure> {
        let job = self.job.fence.job;
        match steps.any(StepSpec::uses_workspace) {
            true => workspace::prepare(&self.settings.workspaces_root, job, self.settings.credentials),
            false => Ok(PathBuf::new()),
        }
    }

    /// The end of the job, or a wait before the step is tried again.
    fn failed(&self, step: &StepSpec, position: i16, failure: Failure) -> Ending {
        let retries = match position == self.job.step_position {
            true => self.job.step_retries.unsigned_abs(),
            false => 0,
        };
        if !failure.code.may_pass() || retries >= step.max_retries.into() {
            return Ending::Failed(failure);
        }
        let first = Duration::from_secs(step.retry_backoff_sec.into());
        Ending::Retried(failure, backoff(first, retries.into(), rand::random()))
    }

    /// Records a step that is not the last. `None`: the lease is lost.
    async fn record(&self, record: &StepRecord, next: i16) -> Option<()> {
        let mut pause = Backoff::default();
        loop {
            match self.session.record_step(self.job.fence, record, next).await {
                Ok(true) => return Some(()),
                Ok(false) => break,
                Err(error) if error.is_unavailable() && self.brake.reason() != Some(Reason::LeaseLost) => {
                    tracing::warn!(job.id = %self.job.fence.job, error = %error, "a step's result waits for the database");
                    pause.wait(self.brake.token()).await;
                }
                Err(error) => {
                    tracing::error!(job.id = %self.job.fence.job, error = %error, "a step's result could not be recorded");
                    break;
                }
            }
        }
        tracing::warn!(job.id = %self.job.fence.job, attempt = self.job.fence.attempt,
                       "the lease was lost: this attempt's result is discarded");
        None
    }
}

/// What a stopped attempt comes to.
fn ending(reason: Reason, step: Option<StepRecord>) -> Option<End> {
    match reason {
        Reason::LeaseLost => None,
        Reason::Draining => Some((Ending::HandedBack, step)),
        Reason::Cancelled => Some((
            Ending::Cancelled(Failure::new(
                Code::Cancelled,
                "Cancelled on request while it ran.",
            )),
            step,
        )),
    }
}

fn unreadable(error: &serde_json::Error) -> Ending {
    let sentence =
        format!("The stored specification cannot be read by this version ({error}); submit the job again.");
    Ending::Failed(Failure::new(Code::Specification, sentence))
}
