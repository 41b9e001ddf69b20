//! What becomes of a run that is due while an earlier one is not finished, and of a schedule
//! whose runs keep failing.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr};
use utoipa::ToSchema;

/// What a schedule does when a run is due and an earlier one is unfinished.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    Serialize,
    Deserialize,
    ToSchema,
    Display,
    EnumString,
    IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Overlap {
    /// Both run side by side.
    Allow,
    /// The new one is not run.
    #[default]
    Skip,
    /// The new one waits for the earlier to end; one waits at most, later ones are not run.
    QueueOne,
    /// The earlier is cancelled and the new one runs.
    CancelRunning,
}

/// The unfinished jobs of one schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unfinished {
    /// Jobs that have begun: running, or waiting for an approval or a retry.
    pub running: u32,
    /// Jobs that have not begun.
    pub queued: u32,
}

/// What to do with a run that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Insert its job, free to be claimed at once.
    Start,
    /// Insert its job so that it begins when the unfinished ones have ended.
    Queue,
    /// Ask every unfinished job of the schedule to stop, then insert the new one, to begin when
    /// they have.
    CancelThenStart,
    /// Insert no job; the occurrence is recorded with the reason.
    Skip(Refusal),
}

/// Why an overlapping run was not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// `skip`: an earlier run is unfinished.
    Unfinished,
    /// `queue_one`: another run waits already.
    AlreadyQueued,
}

impl Refusal {
    /// The stable code recorded with the occurrence.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Unfinished => "overlap",
            Self::AlreadyQueued => "overlap_already_queued",
        }
    }
}

impl Overlap {
    /// Decides about one run that is due.
    #[must_use]
    pub fn admit(self, unfinished: Unfinished) -> Admission {
        let Unfinished { running, queued } = unfinished;
        match self {
            _ if running == 0 && queued == 0 => Admission::Start,
            Self::Allow => Admission::Start,
            Self::Skip => Admission::Skip(Refusal::Unfinished),
            Self::QueueOne if queued > 0 => Admission::Skip(Refusal::AlreadyQueued),
            Self::QueueOne => Admission::Queue,
            Self::CancelRunning => Admission::CancelThenStart,
        }
    }
}

impl Unfinished {
    /// What is unfinished once `admission` has been carried out, for the next run due with it.
    ///
    /// A cancelled job stops counting at once: the next run has only the newest to replace.
    #[must_use]
    pub fn following(self, admission: Admission) -> Self {
        match admission {
            Admission::Start | Admission::Queue => Self {
                queued: self.queued.saturating_add(1),
                ..self
            },
            Admission::CancelThenStart => Self {
                running: 0,
                queued: 1,
            },
            Admission::Skip(_) => self,
        }
    }
}

/// How many failures in a row a schedule is allowed before it is paused; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FailureBudget(pub Option<NonZeroU32>);

impl FailureBudget {
    /// The sentence to pause the schedule with, once `failures` runs in a row have failed.
    #[must_use]
    pub fn exhausted(self, failures: u32) -> Option<String> {
        let budget = self.0.filter(|budget| failures >= budget.get())?;
        let times = if failures == 1 {
            "once".to_owned()
        } else {
            format!("{failures} times in a row")
        };
        Some(format!(
            "paused: its job failed {times} (failure budget {budget}); put the cause right and resume it"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICIES: [Overlap; 4] = [
        Overlap::Allow,
        Overlap::Skip,
        Overlap::QueueOne,
        Overlap::CancelRunning,
    ];

    fn admissions(running: u32, queued: u32) -> [Admission; 4] {
        POLICIES.map(|policy| policy.admit(Unfinished { running, queued }))
    }

    #[test]
    fn run_with_nothing_unfinished_always_starts() {
        assert_eq!(admissions(0, 0), [Admission::Start; 4]);
    }

    #[test]
    fn unfinished_run_is_met_by_the_policy() {
        assert_eq!(
            admissions(1, 0),
            [
                Admission::Start,
                Admission::Skip(Refusal::Unfinished),
                Admission::Queue,
                Admission::CancelThenStart
            ]
        );
        let waiting = [
            Admission::Start,
            Admission::Skip(Refusal::Unfinished),
            Admission::Skip(Refusal::AlreadyQueued),
            Admission::CancelThenStart,
        ];
        assert_eq!(admissions(1, 1), waiting);
        assert_eq!(admissions(0, 1), waiting);
    }

    #[test]
    fn runs_due_together_see_each_other() {
        let admitted = |policy: Overlap| {
            let mut unfinished = Unfinished {
                running: 1,
                queued: 0,
            };
            [(); 4].map(|()| {
                let admission = policy.admit(unfinished);
                unfinished = unfinished.following(admission);
                admission
            })
        };
        let refused = Admission::Skip(Refusal::AlreadyQueued);
        assert_eq!(
            admitted(Overlap::QueueOne),
            [Admission::Queue, refused, refused, refused]
        );
        assert_eq!(admitted(Overlap::Allow), [Admission::Start; 4]);
        assert_eq!(admitted(Overlap::CancelRunning), [Admission::CancelThenStart; 4]);
        assert_eq!(admitted(Overlap::Skip), [Admission::Skip(Refusal::Unfinished); 4]);
    }

    #[test]
    fn failure_budget_is_spent_by_failures_in_a_row() {
        let budget = FailureBudget(NonZeroU32::new(3));
        assert_eq!(budget.exhausted(2), None);
        let reason = budget.exhausted(3).expect("spent");
        assert!(
            reason.starts_with("paused: its job failed 3 times in a row (failure budget 3)"),
            "{reason}"
        );
        assert!(budget.exhausted(4).is_some());
        assert_eq!(FailureBudget(None).exhausted(u32::MAX), None);
    }
}
