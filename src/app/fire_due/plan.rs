//! What is decided about due instants, before anything is written: the policies of the domain, put to
//! what the tables say.

use chrono::{DateTime, Utc};

use crate::domain::id::{JobId, ScheduleId};
use crate::domain::schedule::{
    Admission, Decision, Definition, Occurrence, Overlap, Refusal, Unfinished, occurrences,
};
use crate::store::schedule::occurrence::{Open, Record};
use crate::store::schedule::{Advance, Schedule};

/// A schedule that is locked and understood.
pub(in crate::app) struct Ready {
    pub(in crate::app) row: Schedule,
    pub(in crate::app) definition: Definition,
}

impl Ready {
    pub(in crate::app) fn id(&self) -> ScheduleId {
        ScheduleId(self.row.id)
    }

    pub(in crate::app) fn minds_overlap(&self) -> bool {
        self.definition.overlap != Overlap::Allow
    }

    pub(in crate::app) fn actor(&self) -> String {
        format!("schedule:{}", self.row.name)
    }
}

/// A job to be made.
pub(in crate::app) struct Run {
    pub(in crate::app) job: JobId,
    /// Index of the schedule whose template it follows.
    pub(in crate::app) of: usize,
}

/// What is to be written.
#[derive(Default)]
pub(in crate::app) struct Batch {
    pub(in crate::app) records: Vec<Record>,
    pub(in crate::app) runs: Vec<Run>,
    /// Jobs that make way, and the index of the schedule they make way for.
    pub(in crate::app) displaced: Vec<(JobId, usize)>,
    /// Schedules whose waiting occurrence another takes the place of.
    pub(in crate::app) superseded: Vec<ScheduleId>,
    pub(in crate::app) advances: Vec<Advance>,
}

/// An instant to be recorded, before the overlap is looked at.
pub(in crate::app) struct Candidate {
    pub(in crate::app) runs: bool,
    pub(in crate::app) record: Record,
}

impl Batch {
    /// Decides about everything that is due of one schedule.
    pub(in crate::app) fn add_due(&mut self, index: usize, ready: &Ready, open: &[Open], now: DateTime<Utc>) {
        let Some(next_due_at) = ready.row.next_due_at else {
            return;
        };
        let timetable = ready.definition.timetable(ready.row.id, ready.row.anchor);
        let due = occurrences(&timetable, next_due_at, now);
        self.advances.push(Advance {
            id: ready.id(),
            next_due_at: due.next_due_at,
            fire_at: due.next_fire_at,
        });
        let candidates = due
            .occurrences
            .iter()
            .map(|occurrence| candidate(ready, occurrence, now))
            .collect();
        self.add(index, ready, open, candidates);
    }

    /// Decides about instants of one schedule in the light of what of it has not ended.
    pub(in crate::app) fn add(
        &mut self,
        index: usize,
        ready: &Ready,
        open: &[Open],
        candidates: Vec<Candidate>,
    ) {
        let mut unfinished = unfinished(open);
        let last = candidates.iter().rposition(|candidate| candidate.runs);
        for (place, Candidate { runs, record }) in candidates.into_iter().enumerate() {
            if !runs {
                self.records.push(record);
                continue;
            }
            // Of several that are due together only the last would be left in the end.
            if ready.definition.overlap == Overlap::CancelRunning && Some(place) != last {
                let detail = "A later run that is due as well took its place (overlap: cancel_running).";
                self.skip(record, "overlap_superseded", detail.to_owned());
                continue;
            }
            let admission = ready.definition.overlap.admit(unfinished);
            self.admit(index, ready, open, admission, record);
            unfinished = unfinished.following(admission);
        }
    }

    fn admit(&mut self, index: usize, ready: &Ready, open: &[Open], admission: Admission, record: Record) {
        match admission {
            Admission::Start => self.fire(index, record),
            Admission::Queue => {
                let detail = format!("Waits for {} to end (overlap: queue_one).", named(open));
                self.wait(record, "overlap_queued", detail);
            }
            Admission::CancelThenStart => {
                self.displaced
                    .extend(open.iter().filter_map(|open| Some((open.job?, index))));
                if open.iter().any(|open| open.job.is_none()) {
                    self.superseded.push(ready.id());
                }
                if open.iter().any(|open| open.begun) {
                    let detail = format!(
                        "Waits for {}, which it takes the place of, to end (overlap: cancel_running).",
                        named(open)
                    );
                    self.wait(record, "overlap_cancelled", detail);
                } else {
                    self.fire(index, record);
                }
            }
            Admission::Skip(refusal) => {
                let detail = match refusal {
                    Refusal::Unfinished if open.is_empty() => {
                        "An earlier run, due with it, has not ended (overlap: skip).".to_owned()
                    }
                    Refusal::Unfinished => format!("{} has not ended (overlap: skip).", named(open)),
                    Refusal::AlreadyQueued => {
                        "Another run has not begun, and one waits at most (overlap: queue_one).".to_owned()
                    }
                };
                self.skip(record, refusal.code(), capitalised(&detail));
            }
        }
    }

    fn fire(&mut self, index: usize, record: Record) {
        let job = JobId::generate();
        self.runs.push(Run { job, of: index });
        self.records.push(Record {
            decision: "fired",
            job: Some(job),
            ..record
        });
    }

    fn wait(&mut self, record: Record, reason: &'static str, detail: String) {
        self.records.push(Record {
            decision: "waiting",
            reason,
            detail,
            ..record
        });
    }

    fn skip(&mut self, record: Record, reason: &'static str, detail: String) {
        self.records.push(Record {
            decision: "skipped",
            reason,
            detail,
            ..record
        });
    }
}

fn unfinished(open: &[Open]) -> Unfinished {
    let running = open.iter().filter(|open| open.begun).count();
    Unfinished {
        running: u32::try_from(running).unwrap_or(u32::MAX),
        queued: u32::try_from(open.len() - running).unwrap_or(u32::MAX),
    }
}

/// The jobs that have not ended, for a sentence.
fn named(open: &[Open]) -> String {
    let jobs: Vec<String> = open
        .iter()
        .filter_map(|open| open.job)
        .map(|job| job.to_string())
        .collect();
    match jobs.as_slice() {
        [] => "an earlier run".to_owned(),
        [one] => format!("job {one} of an earlier run"),
        [first, rest @ ..] => format!("job {first} and {} more of earlier runs", rest.len()),
    }
}

fn capitalised(sentence: &str) -> String {
    let mut chars = sentence.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

fn candidate(ready: &Ready, occurrence: &Occurrence, now: DateTime<Utc>) -> Candidate {
    let Occurrence {
        due_at,
        fire_at,
        decision,
    } = *occurrence;
    let (last_due_at, stands_for) = many(decision);
    Candidate {
        runs: decision.is_run(),
        record: Record {
            schedule: ready.id(),
            due_at,
            fire_at,
            decision: "skipped",
            reason: decision.code(),
            detail: said(&ready.definition, occurrence, now),
            origin: "schedule",
            actor: "scheduler".to_owned(),
            trigger_key: None,
            job: None,
            last_due_at,
            stands_for,
        },
    }
}

/// An instant that is passed over, for a reason that is not the policy for missed runs.
pub(in crate::app) fn passed_over(
    schedule: ScheduleId,
    occurrence: &Occurrence,
    reason: &'static str,
    detail: &str,
    actor: &str,
) -> Record {
    let (last_due_at, stands_for) = many(occurrence.decision);
    Record {
        schedule,
        due_at: occurrence.due_at,
        fire_at: occurrence.fire_at,
        decision: "skipped",
        reason,
        detail: detail.to_owned(),
        origin: "schedule",
        actor: actor.to_owned(),
        trigger_key: None,
        job: None,
        last_due_at,
        stands_for,
    }
}

fn many(decision: Decision) -> (Option<DateTime<Utc>>, i32) {
    match decision {
        Decision::SkipMany {
            last_due_at, count, ..
        } if count > 1 => (Some(last_due_at), i32::try_from(count).unwrap_or(i32::MAX)),
        _ => (None, 1),
    }
}

/// The decision as a sentence.
fn said(definition: &Definition, occurrence: &Occurrence, now: DateTime<Utc>) -> String {
    let Definition {
        missed_limit,
        grace_sec,
        ..
    } = definition;
    let missed: &str = definition.missed.into();
    match occurrence.decision {
        Decision::RunOnTime => "Released on time.".to_owned(),
        Decision::RunLate => {
            let late = (now - occurrence.fire_at).num_seconds();
            format!("Missed, and made up for {late} s after it was to be released (missed: {missed}).")
        }
        Decision::SkipMissed => {
            format!(
                "Nobody released it within {grace_sec} s, and what is missed is not run (missed: {missed})."
            )
        }
        Decision::SkipMadeUp => format!("Missed; another run makes up for it (missed: {missed})."),
        Decision::SkipBeyondBound => {
            format!(
                "Missed, with {missed_limit} later ones that are run (missed: {missed}, missed_limit: {missed_limit})."
            )
        }
        Decision::SkipMany {
            last_due_at,
            count,
            or_more,
        } => {
            let more = if or_more { " or more" } else { "" };
            format!("{count}{more} runs up to {last_due_at} were missed; this row stands for all of them.")
        }
    }
}
