//! One attempt: the steps of a job, from the one the job row names, the way [`Flow`] says.

mod resume;
mod workspace;

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use self::resume::Past;
use super::artifacts::Keeping;
use super::held::{Brake, Reason};
use super::logs::Log;
use super::workspace::Workspace;
use super::{Settings, step};
use crate::app::backoff::Backoff;
use crate::app::lease::Session;
use crate::domain::attempt::{Ending, Failure, StepRecord};
use crate::domain::flow::{Came, Flow, MAX_JUMPS, Next, Verdict};
use crate::domain::job::Code;
use crate::domain::retry::backoff;
use crate::domain::spec::{JobSpec, OnFailure};
use crate::store::Error;
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
    let attempt = Attempt {
        settings,
        session,
        job: &job,
        brake,
        quiet,
    };
    let (ending, step) = match attempt.steps().await {
        // The same of a workspace that could not be made.
        Ok((Ending::Failed(_), None)) if brake.is_over() => (Ending::HandedBack, None),
        Ok(end) => end,
        Err(stop) => (stop?, None),
    };
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

/// The attempt cannot go on: it ends so, or, without an end, its lease is lost.
type Stop = Option<Ending>;

impl Attempt<'_> {
    async fn steps(&self) -> Result<End, Stop> {
        let mut spec = match serde_json::from_str::<JobSpec>(self.job.spec.get()) {
            Ok(spec) => spec,
            Err(error) => return Ok((unreadable(&error), None)),
        };
        // Claimed while the runner was told to stop.
        if let Some(reason) = self.brake.reason() {
            return ending(reason, None);
        }
        if self.quiet.is_cancelled() {
            return Ok((Ending::HandedBack, None));
        }
        let past = self.past().await?;
        if spec.policy.requires_approval && !past.is_approved() {
            let first = spec.steps.first().map_or("", |step| step.step_id.as_str());
            let question = format!("The job asks for approval before its first step, {first:?}.");
            return Ok((Ending::Paused(question), None));
        }
        past.edit(&mut spec.steps);
        let first = usize::try_from(self.job.step_position).unwrap_or_default();
        let opened = self.workspace(spec.steps.iter().skip(first)).await?;
        let kept = spec.policy.limits.output_kb.map(|kilobytes| kilobytes * 1000);
        let kept = kept.map_or(self.settings.output_limit, |asked| {
            asked.min(self.settings.output_limit)
        });
        let mut log = Log::new(self.session, self.job.fence, kept, self.brake.token());
        let (workspace, unopened) = match opened {
            Ok(opened) => {
                if opened.rebuilt {
                    let line = "the job's workspace was gone: it was made again, with what the steps before had changed";
                    log.say(self.job.step_position, line).await;
                }
                (opened.workspace, None)
            }
            Err(failure) => (Workspace::none(), Some(failure)),
        };
        let retries = u32::from(self.job.step_retries.unsigned_abs());
        let mut walk = Walk {
            attempt: self,
            spec: &spec,
            flow: Flow::resume(&spec.steps, first, retries, &past.steps),
            skip: past.is_to_skip(first),
            over_at: spec.timeout_sec.map(|seconds| {
                Instant::now() + Duration::from_secs(seconds.into()).saturating_sub(past.spent)
            }),
            noted: false,
            workspace,
            log,
        };
        let end = match unopened {
            Some(failure) => (Ending::Failed(failure), None),
            None => walk.all_steps().await?,
        };
        walk.leave(&end).await;
        Ok(end)
    }
}

/// An attempt on its way.
struct Walk<'a> {
    attempt: &'a Attempt<'a>,
    spec: &'a JobSpec,
    flow: Flow<'a>,
    /// Somebody said that the first step is to be passed over.
    skip: bool,
    /// When the job's time is over.
    over_at: Option<Instant>,
    /// Whether the tables know of the workspace.
    noted: bool,
    workspace: Workspace,
    log: Log<'a>,
}

impl Walk<'_> {
    async fn all_steps(&mut self) -> Result<End, Stop> {
        let mut ordinal = 0;
        loop {
            if let Some(reason) = self.attempt.brake.reason() {
                return ending(reason, None);
            }
            if self.attempt.quiet.is_cancelled() {
                return Ok((Ending::HandedBack, None));
            }
            let mut noted = Ok(());
            let (position, mut record) = match self.flow.next() {
                Next::End(failure) => return Ok((ended(failure), None)),
                Next::Run(position) if !std::mem::take(&mut self.skip) => {
                    let record;
                    (record, noted) = self.run(position, ordinal).await;
                    // What went wrong by then may have come of that: the job goes back, unless it is another's by now.
                    if record.failure.is_some() && self.attempt.brake.is_over() {
                        self.attempt.brake.pull(Reason::Draining);
                    }
                    (position, record)
                }
                Next::Run(position) | Next::Skip(position) => (
                    position,
                    step::skipped(&self.spec.steps[position], self.place(position, ordinal)),
                ),
            };
            self.attempt.keep_usage(&record).await?;
            match self.attempt.brake.reason() {
                // It is not to be done again elsewhere: what goes back is what comes behind it.
                Some(Reason::Draining) if record.failure.is_none() => {}
                Some(reason) => return ending(reason, Some(record)),
                None => {}
            }
            match noted {
                Err(Some(refused)) => return Ok((refused, Some(record))),
                noted => noted?,
            }
            if let Some(end) = self.decide(position, &mut record) {
                return Ok((end, Some(record)));
            }
            // Whoever goes on from here must be able to make it again.
            if !std::mem::replace(&mut self.noted, true) {
                self.attempt.note(&self.workspace).await?;
            }
            let position = i16::try_from(self.flow.position()).unwrap_or(i16::MAX);
            self.attempt.record(&record, position).await?;
            ordinal += 1;
        }
    }

    /// Keeps what the job leaves behind, if it ends so.
    async fn leave(&self, (ending, last): &End) {
        if !ending.state().is_terminal() || self.spec.steps.iter().all(|step| step.agent == "noop") {
            return;
        }
        let Attempt {
            settings,
            session,
            brake,
            ..
        } = *self.attempt;
        let keeping = Keeping {
            settings,
            session,
            brake,
        };
        let place = self
            .attempt
            .stands(self.spec, &self.workspace, self.over_at, self.place(0, 0));
        keeping.job(&place, ending, last.as_ref(), &self.log).await;
    }

    /// Runs a step. The tables hear of the workspace meanwhile: it is of no use to anybody before a step is recorded, and
    /// a program need not wait for a commit to begin.
    async fn run(&mut self, position: usize, ordinal: i16) -> (StepRecord, Result<(), Stop>) {
        let place = self.place(position, ordinal);
        let place = self
            .attempt
            .stands(self.spec, &self.workspace, self.over_at, place);
        let Attempt {
            settings,
            session,
            brake,
            ..
        } = self.attempt;
        let step = &self.spec.steps[position];
        let span = tracing::info_span!("step", step.id = step.step_id, step.agent = step.agent);
        let running = step::run(settings, session, step, &place, &mut self.log, brake).instrument(span);
        if std::mem::replace(&mut self.noted, true) {
            return (running.await, Ok(()));
        }
        tokio::join!(running, self.attempt.note(&self.workspace))
    }

    fn place(&self, position: usize, ordinal: i16) -> (i16, i16) {
        (i16::try_from(position).unwrap_or(i16::MAX), ordinal)
    }

    /// What a step leads to: an end of the attempt, or `None` for the next step.
    fn decide(&mut self, position: usize, record: &mut StepRecord) -> Option<Ending> {
        let came = self.came(position, record);
        let retries = self.flow.retries();
        let verdict = self.flow.after(&came);
        record.verdict = verdict.word(&self.spec.steps);
        match (verdict, came) {
            (Verdict::Retry, Came::Failed(failure)) => {
                let first = Duration::from_secs(self.spec.steps[position].retry_backoff_sec.into());
                Some(Ending::Retried(failure, backoff(first, retries, rand::random())))
            }
            (Verdict::Ask, Came::Failed(failure) | Came::NeedsHuman(failure)) => {
                Some(Ending::Paused(format!(
                    "Step {:?} did not succeed: {} Approve to run it again, skip it, or reject.",
                    record.step_id, failure.message
                )))
            }
            _ => match self.flow.next() {
                Next::End(failure) => Some(ended(failure)),
                Next::Run(_) | Next::Skip(_) => None,
            },
        }
    }

    fn came(&self, position: usize, record: &StepRecord) -> Came {
        let Some(mut failure) = record.failure.clone() else {
            return if record.skipped {
                Came::Skipped
            } else {
                Came::Succeeded
            };
        };
        if failure.code == Code::Timeout && self.over_at.is_some_and(|at| at <= Instant::now()) {
            let seconds = self.spec.timeout_sec.unwrap_or_default();
            let sentence = step::out_of_time(seconds);
            return Came::OutOfTime(Failure::new(Code::Timeout, sentence));
        }
        if record.needs_human {
            return Came::NeedsHuman(failure);
        }
        if let OnFailure::Goto(target) = &self.spec.steps[position].on_failure
            && self.flow.is_at_its_bound()
        {
            let more = format!(" The job went back to {target:?} {MAX_JUMPS} times and stops here.");
            failure.message.push_str(&more);
        }
        Came::Failed(failure)
    }
}

impl Attempt<'_> {
    /// Where a step stands.
    fn stands<'s>(
        &'s self,
        spec: &'s JobSpec,
        workspace: &'s Workspace,
        over_at: Option<Instant>,
        (position, ordinal): (i16, i16),
    ) -> step::Place<'s> {
        step::Place {
            job: self.job,
            spec,
            position,
            ordinal,
            workspace,
            left: over_at.map(|at| at.saturating_duration_since(Instant::now())),
        }
    }

    /// What the attempts before this one left behind.
    async fn past(&self) -> Result<Past, Stop> {
        if self.job.fence.attempt <= 1 {
            return Ok(Past::default());
        }
        let mut pause = Backoff::default();
        loop {
            match self.session.history(self.job.fence.job).await {
                Ok(history) => return Ok(Past::of(history)),
                Err(error) => {
                    self.wait_for_tables("the past of a job", &error, &mut pause)
                        .await?;
                }
            }
        }
    }

    /// Keeps what an agent said and used, also of a step that did not end well.
    async fn keep_usage(&self, record: &StepRecord) -> Result<(), Stop> {
        let Some(usage) = &record.usage else { return Ok(()) };
        let mut pause = Backoff::default();
        loop {
            let kept = self
                .session
                .record_usage(self.job.fence, record.ordinal, usage)
                .await;
            match kept {
                // A lost lease is noticed, and said, where the attempt ends.
                Ok(_held) => return Ok(()),
                Err(error) => {
                    self.wait_for_tables("what an agent used", &error, &mut pause)
                        .await?;
                }
            }
        }
    }

    /// Records a step that is not the last.
    async fn record(&self, record: &StepRecord, next: i16) -> Result<(), Stop> {
        let fence = self.job.fence;
        let mut pause = Backoff::default();
        loop {
            match self.session.record_step(fence, record, next).await {
                Ok(true) => return Ok(()),
                Ok(false) => break,
                Err(error) => {
                    self.wait_for_tables("a step's result", &error, &mut pause)
                        .await?;
                }
            }
        }
        tracing::warn!(job.id = %fence.job, attempt = fence.attempt,
                       "the lease was lost: this attempt's result is discarded");
        Err(None)
    }

    /// Waits before the tables are asked again, unless that cannot help or comes too late.
    async fn wait_for_tables(&self, what: &str, error: &Error, pause: &mut Backoff) -> Result<(), Stop> {
        let job = self.job.fence.job;
        if self.brake.reason() == Some(Reason::LeaseLost) {
            return Err(None);
        }
        if error.is_unavailable() {
            tracing::warn!(job.id = %job, error = %error, "{what} waits for the database");
            // Told to stop already, the attempt would not wait at all.
            let stop = match self.brake.reason() {
                None => self.brake.token().clone(),
                Some(_) => CancellationToken::new(),
            };
            pause.wait(&stop).await;
            return Ok(());
        }
        tracing::error!(job.id = %job, error = %error, "{what} was refused by the database");
        let sentence = format!("The database refused {what}; the runner's log says why.");
        Err(Some(Ending::Failed(Failure::new(Code::Internal, sentence))))
    }
}

fn ended(failure: Option<Failure>) -> Ending {
    failure.map_or(Ending::Succeeded, Ending::Failed)
}

/// What a stopped attempt comes to.
fn ending(reason: Reason, step: Option<StepRecord>) -> Result<End, Stop> {
    match reason {
        Reason::LeaseLost => Err(None),
        Reason::Draining => Ok((Ending::HandedBack, step)),
        Reason::Cancelled => Ok((
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
