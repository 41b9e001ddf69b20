//! What is due, what is done about it, and when to look again.

use std::num::NonZeroU16;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::expression::Expression;
use super::jitter::Jitter;
use super::zone::Zone;

/// How late a run may be released and still count as on time, unless the schedule says otherwise.
///
/// It covers a scheduler's restart; what is later than that was missed.
pub const DEFAULT_GRACE: TimeDelta = TimeDelta::seconds(60);
/// The longest grace, which bounds how many runs one look can find on time.
pub const LONGEST_GRACE: TimeDelta = TimeDelta::minutes(15);
/// The most missed runs of one look that get an occurrence of their own without being run.
const RECORDED_SINGLY: usize = 25;
/// How far the runs beyond those are counted.
const COUNTED: u64 = 10_000;

/// What a schedule does about runs that were missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    /// None is run.
    Skip,
    /// One run makes up for all of them: one that is due on time, else the latest missed.
    #[default]
    Once,
    /// The latest of them are run, oldest first, up to this many.
    All(NonZeroU16),
}

/// What of a schedule decides when it is due.
#[derive(Debug, Clone)]
pub struct Timetable {
    /// When it runs.
    pub expression: Expression,
    /// The zone the expression is read in.
    pub zone: Zone,
    /// The schedule's creation, from which intervals are counted.
    pub anchor: DateTime<Utc>,
    /// Nothing is due before this instant; a run at it is due.
    pub starts_at: Option<DateTime<Utc>>,
    /// Nothing is due from this instant on.
    pub ends_at: Option<DateTime<Utc>>,
    /// What is done about runs that were missed.
    pub missed: Missed,
    /// How late a run may be released and count as on time; cut to [`LONGEST_GRACE`].
    pub grace: TimeDelta,
    /// How long after its due instant a run is released.
    pub jitter: Jitter,
}

/// An instant that was due, and what was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occurrence {
    /// The instant the expression names: with the schedule, the occurrence's key.
    pub due_at: DateTime<Utc>,
    /// When it could first be released: the due instant and the schedule's jitter.
    pub fire_at: DateTime<Utc>,
    /// Whether it is run, and why.
    pub decision: Decision,
}

/// What was decided about an occurrence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Run: it is on time.
    RunOnTime,
    /// Run: it was missed and the schedule's policy makes up for it.
    RunLate,
    /// Not run: it was missed and the policy is to skip.
    SkipMissed,
    /// Not run: it was missed and one other run makes up for it.
    SkipMadeUp,
    /// Not run: it was missed with more of its kind than the policy's bound.
    SkipBeyondBound,
    /// Not run, and not recorded one by one: this occurrence stands for all missed runs from
    /// its own due instant to `last_due_at`.
    SkipMany {
        /// The last of them.
        last_due_at: DateTime<Utc>,
        /// How many there were; counted up to 10,000.
        count: u64,
        /// There were more than were counted.
        or_more: bool,
    },
}

impl Decision {
    /// Whether a job is to be made.
    #[must_use]
    pub fn is_run(self) -> bool {
        matches!(self, Self::RunOnTime | Self::RunLate)
    }

    /// The stable code recorded with the occurrence.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::RunOnTime => "on_time",
            Self::RunLate => "late",
            Self::SkipMissed => "missed",
            Self::SkipMadeUp => "missed_made_up",
            Self::SkipBeyondBound => "missed_beyond_bound",
            Self::SkipMany { .. } => "missed_many",
        }
    }
}

/// What one look at a schedule found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Occurrences to record, in the order they were due.
    pub occurrences: Vec<Occurrence>,
    /// The first instant not yet decided, never earlier than the one given; `None` when the
    /// schedule has come to its end.
    pub next_due_at: Option<DateTime<Utc>>,
    /// When to look again: the next due instant and the schedule's jitter.
    pub next_fire_at: Option<DateTime<Utc>>,
}

/// Decides about everything due from `next_due_at` to `now`.
///
/// Nothing earlier than `next_due_at` is looked at, so a clock set back yields nothing twice; it
/// need not be an instant of the expression, which may have changed since it was stored. However
/// long the time passed, the answer is bounded: runs up to the policy's bound, some skipped ones,
/// and one that stands for the rest.
#[must_use]
pub fn occurrences(timetable: &Timetable, next_due_at: DateTime<Utc>, now: DateTime<Utc>) -> Due {
    let delay = timetable.jitter.delay();
    // A run is released its jitter after it is due, so the clock is read that much earlier.
    let released = now - delay;
    if released < next_due_at {
        return Due {
            occurrences: Vec::new(),
            next_due_at: Some(next_due_at),
            next_fire_at: Some(next_due_at + delay),
        };
    }
    let next = timetable.next_after(released);
    Due {
        occurrences: timetable.decide(next_due_at, released),
        next_due_at: next,
        next_fire_at: next.map(|due| due + delay),
    }
}

impl Timetable {
    /// The first due instant strictly after `from`, within the start and end dates.
    ///
    /// For a new schedule `from` is now. For one whose expression changed it is the later of now
    /// and the last instant already decided, so that nothing is due twice.
    #[must_use]
    pub fn next_after(&self, from: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let from = self.starts_at.map_or(from, |start| from.max(just_before(start)));
        self.expression
            .after(self.zone, from, self.anchor)
            .next()
            .filter(|due| self.has_not_ended(*due))
    }

    /// Where a paused schedule that stood at `next_due_at` goes on.
    ///
    /// What was due while it was paused is passed over, unless `catch_up` asks for it; then the
    /// policy for missed runs decides about it.
    #[must_use]
    pub fn resume(
        &self,
        next_due_at: DateTime<Utc>,
        now: DateTime<Utc>,
        catch_up: bool,
    ) -> Option<DateTime<Utc>> {
        let from = if catch_up {
            next_due_at
        } else {
            next_due_at.max(now)
        };
        self.next_after(just_before(from))
    }

    /// What was due from `next_due_at` until just before `now` and is not run: the latest of it one by
    /// one, the rest as one. Whoever passes over it says why.
    #[must_use]
    pub fn passed_over(&self, next_due_at: DateTime<Utc>, now: DateTime<Utc>) -> Vec<Occurrence> {
        if now <= next_due_at {
            return Vec::new();
        }
        let skipping = Self {
            missed: Missed::Skip,
            grace: TimeDelta::zero(),
            ..self.clone()
        };
        skipping.decide(next_due_at, just_before(now))
    }

    fn has_not_ended(&self, due: DateTime<Utc>) -> bool {
        self.ends_at.is_none_or(|end| due < end)
    }

    fn decide(&self, first: DateTime<Utc>, released: DateTime<Utc>) -> Vec<Occurrence> {
        let first = self.starts_at.map_or(first, |start| first.max(start));
        let until = self
            .ends_at
            .map_or(released, |end| released.min(just_before(end)));
        let on_time_from = released - self.grace.clamp(TimeDelta::zero(), LONGEST_GRACE);
        let mut back = self
            .expression
            .before(self.zone, until + INSTANT, self.anchor)
            .take_while(|due| *due >= first)
            .peekable();
        let mut decided = Vec::new();
        while let Some(due) = back.next_if(|due| *due >= on_time_from) {
            decided.push(self.occurrence(due, Decision::RunOnTime));
        }
        let policy = MissedPolicy {
            missed: self.missed,
            made_up: !decided.is_empty(),
        };
        for (index, due) in back.by_ref().take(policy.recorded()).enumerate() {
            decided.push(self.occurrence(due, policy.decide(index)));
        }
        if back.next().is_some() {
            let oldest = decided
                .last()
                .map_or(until + INSTANT, |occurrence| occurrence.due_at);
            decided.extend(self.rest(first, oldest));
        }
        decided.reverse();
        decided
    }

    /// The one occurrence that stands for every missed one from `first` until `end`.
    fn rest(&self, first: DateTime<Utc>, end: DateTime<Utc>) -> Option<Occurrence> {
        let mut passed = self
            .expression
            .after(self.zone, just_before(first), self.anchor)
            .take_while(|due| *due < end);
        let due = passed.next()?;
        let mut count = 1;
        while count < COUNTED && passed.next().is_some() {
            count += 1;
        }
        let or_more = count == COUNTED && passed.next().is_some();
        let last_due_at = self.expression.before(self.zone, end, self.anchor).next()?;
        Some(self.occurrence(
            due,
            Decision::SkipMany {
                last_due_at,
                count,
                or_more,
            },
        ))
    }

    fn occurrence(&self, due_at: DateTime<Utc>, decision: Decision) -> Occurrence {
        Occurrence {
            due_at,
            fire_at: due_at + self.jitter.delay(),
            decision,
        }
    }
}

/// The policy for missed runs, in the light of whether another run is due now.
struct MissedPolicy {
    missed: Missed,
    made_up: bool,
}

impl MissedPolicy {
    /// How many missed runs, the latest first, get an occurrence of their own.
    fn recorded(&self) -> usize {
        match self.missed {
            Missed::All(bound) => usize::from(bound.get()).max(RECORDED_SINGLY),
            Missed::Skip | Missed::Once => RECORDED_SINGLY,
        }
    }

    /// The decision about a missed run, the latest of them being number 0.
    fn decide(&self, index: usize) -> Decision {
        match self.missed {
            Missed::Skip => Decision::SkipMissed,
            Missed::Once if index == 0 && !self.made_up => Decision::RunLate,
            Missed::Once => Decision::SkipMadeUp,
            Missed::All(bound) if index < usize::from(bound.get()) => Decision::RunLate,
            Missed::All(_) => Decision::SkipBeyondBound,
        }
    }
}

/// The smallest step of time a due instant can differ by.
const INSTANT: TimeDelta = TimeDelta::nanoseconds(1);

fn just_before(at: DateTime<Utc>) -> DateTime<Utc> {
    at - INSTANT
}
