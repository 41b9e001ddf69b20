//! How long what is kept.

use std::time::Duration;

use strum::{EnumIter, IntoStaticStr};

/// Kinds of rows with a time of their own, in the order they are looked at: what belongs to a job
/// before the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Kept {
    /// What jobs left behind, files and rows.
    Artifacts,
    /// What steps printed.
    Logs,
    /// Steps that ended.
    Steps,
    /// What agents said and used in them.
    Usages,
    /// Attempts that ended.
    Attempts,
    /// Jobs that ended, with everything of theirs but their events.
    Jobs,
    /// The audit log.
    Events,
    /// Decided instants of schedules.
    Occurrences,
    /// Callbacks that went out and events that came in.
    Deliveries,
    /// Sessions of runners.
    Runners,
    /// Sums by day and hour.
    Reports,
}

/// How long each kind is kept; `None` is for ever, and for parts of a job as long as the job.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Time between two passes.
    pub every: Duration,
    /// Counted from the end of the job.
    pub artifacts: Option<Duration>,
    /// Counted from the end of the job.
    pub logs: Option<Duration>,
    /// Counted from the end of the job.
    pub steps: Option<Duration>,
    /// Counted from the end of the job.
    pub attempts: Option<Duration>,
    /// Counted from its end.
    pub jobs: Option<Duration>,
    /// Counted from when it happened.
    pub events: Option<Duration>,
    /// Counted from the instant and from the decision, whichever was later.
    pub occurrences: Option<Duration>,
    /// Counted from when it came to its end.
    pub deliveries: Option<Duration>,
    /// Counted from the end of the session.
    pub runners: Option<Duration>,
    /// Counted from the day.
    pub reports: Option<Duration>,
    /// How long a job with an idempotency key is kept at least, counted from when it was accepted.
    pub keys: Duration,
}

impl Retention {
    /// The time of one kind.
    #[must_use]
    pub fn of(&self, kept: Kept) -> Option<Duration> {
        match kept {
            // A job is kept as long as its artifacts are, so they go first.
            Kept::Artifacts => self.artifacts.or(self.jobs),
            Kept::Logs => self.logs,
            Kept::Steps | Kept::Usages => self.steps,
            Kept::Attempts => self.attempts,
            Kept::Jobs => self.jobs,
            Kept::Events => self.events,
            Kept::Occurrences => self.occurrences,
            Kept::Deliveries => self.deliveries,
            Kept::Runners => self.runners,
            Kept::Reports => self.reports,
        }
    }
}
