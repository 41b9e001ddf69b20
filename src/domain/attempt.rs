//! What a runner says of an attempt when it ends, and of each step in it.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::id::JobId;
use super::job::{Code, JobState};
use super::usage::Usage;

/// A claim of a job by one runner session. The number is the fence: every write about the job
/// carries it, and changes nothing once another session has claimed the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fence {
    /// The job.
    pub job: JobId,
    /// The number of the claim, from 1.
    pub attempt: i32,
}

/// A failure with its stable code and a sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The stable reason.
    pub code: Code,
    /// One sentence for a person.
    pub message: String,
}

impl Failure {
    /// A failure with `code` and a sentence.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every step succeeded.
    Succeeded,
    /// The job has failed for good.
    Failed(Failure),
    /// Somebody asked for it, and nothing of it runs any more.
    Cancelled(Failure),
    /// The runner stops; another goes on at the step the job row names.
    HandedBack,
    /// The step the job row names failed and is tried again after a wait.
    Retried(Failure, Duration),
    /// Somebody is asked this before the step the job row names goes on.
    Paused(String),
}

impl Ending {
    /// The state the job is in afterwards.
    #[must_use]
    pub fn state(&self) -> JobState {
        match self {
            Self::Succeeded => JobState::Succeeded,
            Self::Failed(_) => JobState::Failed,
            Self::Cancelled(_) => JobState::Cancelled,
            Self::HandedBack => JobState::Available,
            Self::Retried(..) => JobState::Scheduled,
            Self::Paused(_) => JobState::AwaitingApproval,
        }
    }

    /// The word the attempt's row keeps.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::HandedBack => "handed_back",
            Self::Retried(..) => "retried",
            ended => ended.state().as_str(),
        }
    }

    /// How long the job waits before it is due again.
    #[must_use]
    pub fn wait(&self) -> Duration {
        match self {
            Self::Retried(_, wait) => *wait,
            _ => Duration::ZERO,
        }
    }

    /// Why, unless it succeeded or goes on elsewhere.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed(failure) | Self::Cancelled(failure) | Self::Retried(failure, _) => Some(failure),
            Self::Succeeded | Self::HandedBack | Self::Paused(_) => None,
        }
    }

    /// One sentence for a person: why, or what is asked.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        match self {
            Self::Paused(question) => Some(question),
            ended => ended.failure().map(|failure| failure.message.as_str()),
        }
    }
}

/// A step that has ended. Written once.
#[derive(Clone, Debug)]
pub struct StepRecord {
    /// Order of the end within the attempt, from 0.
    pub ordinal: i16,
    /// Index in the specification, from 0.
    pub position: i16,
    /// The step's id in the specification.
    pub step_id: String,
    /// Who did it.
    pub agent: String,
    /// Whether it was passed over.
    pub skipped: bool,
    /// Why it did not succeed, if it did not.
    pub failure: Option<Failure>,
    /// Whether it cannot go on without somebody's word, whatever its `on_failure` says.
    pub needs_human: bool,
    /// What its agent said and used, if it is an agent's.
    pub usage: Option<Box<Usage>>,
    /// What its failure led to, see [`super::flow::Verdict::word`].
    pub verdict: Option<String>,
    /// The program's exit code, when it exited.
    pub exit_code: Option<i32>,
    /// The signal that ended the program, when one did.
    pub signal: Option<i32>,
    /// When the program was started, by the runner's clock.
    pub started_at: DateTime<Utc>,
    /// When it had ended, by the runner's clock.
    pub finished_at: DateTime<Utc>,
    /// Bytes printed on both streams.
    pub output_bytes: i64,
    /// Whether what it changed is kept as a patch.
    pub patched: bool,
    /// What it used.
    pub measured: Measured,
}

/// What a step used. Sums are of all its processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// Processor time, in milliseconds.
    pub cpu_ms: i64,
    /// Most memory the largest of its processes held at once, in bytes.
    pub peak_memory_bytes: i64,
    /// Bytes of its output kept in the log.
    pub logged_bytes: i64,
    /// How often a secret was taken out of its output.
    pub redactions: i32,
}

impl StepRecord {
    /// The word the step's row keeps.
    #[must_use]
    pub fn status(&self) -> &'static str {
        match self.failure.as_ref().map(|failure| failure.code) {
            None if self.skipped => "skipped",
            None => "succeeded",
            Some(Code::Cancelled) => "cancelled",
            Some(Code::Interrupted) => "interrupted",
            Some(_) => "failed",
        }
    }
}
