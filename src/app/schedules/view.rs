//! A schedule and its history as people and programs see them, over HTTP and at the command line.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::read::definition;
use crate::domain::id::{JobId, ScheduleId};
use crate::domain::schedule::{Definition, Run};
use crate::store;

/// A schedule and where it stands.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Schedule)]
pub struct Shown {
    /// Its id.
    pub id: ScheduleId,
    /// Alias of the project it belongs to.
    #[schema(example = "demo")]
    pub project_id: String,
    /// Its name, unique in the project.
    #[schema(example = "nightly-report")]
    pub name: String,
    /// The expression as a sentence.
    #[schema(example = "At 02:30, Monday to Friday.")]
    pub description: String,
    /// What it is; this is what a change begins with. Null when the row cannot be read: `unreadable` says why.
    pub definition: Option<Definition>,
    /// Why the row cannot be read by this version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
    /// Since when it is paused.
    pub paused_at: Option<DateTime<Utc>>,
    /// Why it is paused.
    pub pause_reason: Option<String>,
    /// How many of its runs failed in a row.
    #[schema(minimum = 0)]
    pub failures: i32,
    /// The next instant to be decided; while it is paused, the first that was not.
    pub next_due_at: Option<DateTime<Utc>>,
    /// When that is released: the same, or its jitter later.
    pub next_fire_at: Option<DateTime<Utc>>,
    /// The next runs as the clocks of its zone show them. In a list there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub next_runs: Vec<Run>,
    /// The set of files that `schedule apply` keeps it in step with.
    pub managed_by: Option<String>,
    /// Goes up with every change of its definition or pause; also its `ETag`.
    #[schema(minimum = 1)]
    pub version: i32,
    /// When it was made; intervals are counted from then.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

impl Shown {
    /// The schedule with its next `runs` after `from`.
    #[must_use]
    pub fn with_runs(row: store::schedule::Schedule, from: DateTime<Utc>, runs: usize) -> Self {
        let read = definition(&row);
        let next_runs = match &read {
            Ok(definition) if row.paused_at.is_none() => {
                let timetable = definition.timetable(row.id, row.anchor);
                timetable.preview(from, runs).runs
            }
            _ => Vec::new(),
        };
        let (definition, unreadable) = match read {
            Ok(mut definition) => {
                definition.enabled = Some(row.paused_at.is_none());
                (Some(definition), None)
            }
            Err(why) => (None, Some(why)),
        };
        let description = definition.as_ref().map(|read| read.expression.describe());
        Self {
            id: ScheduleId(row.id),
            project_id: row.project_alias,
            name: row.name,
            description: description.unwrap_or_default(),
            definition,
            unreadable,
            paused_at: row.paused_at,
            pause_reason: row.pause_reason,
            failures: row.failures,
            next_due_at: row.next_due_at,
            next_fire_at: row.fire_at,
            next_runs,
            managed_by: row.managed_by,
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

impl From<store::schedule::Schedule> for Shown {
    fn from(row: store::schedule::Schedule) -> Self {
        Self::with_runs(row, DateTime::UNIX_EPOCH, 0)
    }
}

/// One due instant of a schedule, and what was decided.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Occurrence)]
pub struct ShownOccurrence {
    /// The instant the expression names, or when it was triggered.
    pub due_at: DateTime<Utc>,
    /// When it could first be released: the same, or the schedule's jitter later.
    pub fire_at: Option<DateTime<Utc>>,
    /// When it was decided.
    pub decided_at: DateTime<Utc>,
    /// `fired`: it made a job. `waiting`: it makes one when earlier runs have ended. `skipped`: it makes none.
    #[schema(example = "fired")]
    pub decision: String,
    /// Why, as a stable word.
    #[schema(example = "on_time")]
    pub reason: String,
    /// Why, as a sentence.
    #[schema(example = "Released on time.")]
    pub detail: String,
    /// `schedule`, or `trigger` when somebody asked for it.
    #[schema(example = "schedule")]
    pub origin: String,
    /// Who decided or asked for it.
    #[schema(example = "scheduler")]
    pub actor: String,
    /// The job it made.
    pub job_id: Option<JobId>,
    /// Where that job is now.
    #[schema(example = "succeeded")]
    pub job_state: Option<String>,
    /// How the job ended, once its schedule has heard of it; stays when the job is deleted.
    #[schema(example = "succeeded")]
    pub outcome: Option<String>,
    /// The last instant it stands for, when it stands for many.
    pub last_due_at: Option<DateTime<Utc>>,
    /// How many due instants it stands for.
    #[schema(minimum = 1)]
    pub stands_for: i32,
}

impl From<store::schedule::occurrence::Occurrence> for ShownOccurrence {
    fn from(row: store::schedule::occurrence::Occurrence) -> Self {
        Self {
            due_at: row.due_at,
            fire_at: row.fire_at,
            decided_at: row.decided_at,
            decision: row.decision,
            reason: row.reason,
            detail: row.detail,
            origin: row.origin,
            actor: row.actor,
            job_id: row.job_id.map(JobId),
            job_state: row.job_state,
            outcome: row.outcome,
            last_due_at: row.last_due_at,
            stands_for: row.stands_for,
        }
    }
}
