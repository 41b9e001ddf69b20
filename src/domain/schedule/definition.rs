//! A schedule as its author writes it: when, what, and what is done when things go wrong.

use std::num::{NonZeroU16, NonZeroU32};

use chrono::{DateTime, TimeDelta, Utc};
use garde::Validate;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr};
use utoipa::ToSchema;
use uuid::Uuid;

use super::expression::Expression;
use super::jitter::Jitter;
use super::occurrences::{Missed, Timetable};
use super::overlap::{FailureBudget, Overlap};
use super::zone::Zone;
use crate::domain::problem::{self, Violation};
use crate::domain::spec::JobSpec;
use crate::domain::spec::check::{name_shape, refuse, within_the_calendar};

/// The most missed runs a schedule may make up for one by one.
pub const MOST_MISSED: u16 = 1000;

/// A cron expression with a time zone, the job it makes, and its policies.
///
/// Fields this version does not know are refused with their path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ScheduleDefinition)]
pub struct Definition {
    /// Its name, unique in its project.
    #[garde(custom(name_shape))]
    #[schema(example = "nightly-report", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    pub name: String,
    /// When it is due: five cron fields (minute, hour, day of month, month, day of week), six with
    /// seconds first, a name such as `@daily`, or an interval such as `every 15m`.
    #[garde(skip)]
    #[schema(value_type = String, max_length = 1000, example = "30 2 * * MON-FRI")]
    pub expression: Expression,
    /// The time zone the expression is read in, by its IANA name.
    #[garde(skip)]
    #[serde(default)]
    #[schema(value_type = String, default = "UTC", example = "Europe/Berlin")]
    pub zone: Zone,
    /// The job each run makes, as `POST /api/v1/jobs` takes it, without `idempotency_key`, `run_at` and
    /// `needs`. Its project is the schedule's.
    #[garde(dive, custom(template))]
    pub job: JobSpec,
    /// What is done about runs that nobody released in time.
    #[garde(skip)]
    #[serde(default)]
    #[schema(inline, default = "once")]
    pub missed: MissedRuns,
    /// With `missed: all`, how many of the latest are run, 1–1000; the others are recorded.
    #[garde(range(min = 1, max = MOST_MISSED))]
    #[serde(default = "ten")]
    #[schema(minimum = 1, maximum = 1000, default = 10)]
    pub missed_limit: u16,
    /// What is done about a run that is due while an earlier one has not ended.
    #[garde(skip)]
    #[serde(default)]
    #[schema(inline, default = "skip")]
    pub overlap: Overlap,
    /// Runs are released up to so many seconds after they are due, 0–86400: always the same for one
    /// schedule, different for others, so that a thousand `@hourly` do not begin at once.
    #[garde(range(max = 86400))]
    #[serde(default)]
    #[schema(maximum = 86400, default = 0)]
    pub jitter_sec: u32,
    /// How late a run may be released and count as on time, 0–900 s; later, it was missed.
    #[garde(range(max = 900))]
    #[serde(default = "sixty")]
    #[schema(maximum = 900, default = 60)]
    pub grace_sec: u32,
    /// Nothing is due before this time (RFC 3339).
    #[garde(inner(custom(within_the_calendar)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<DateTime<Utc>>,
    /// Nothing is due from this time on (RFC 3339).
    #[garde(inner(custom(within_the_calendar)), custom(after_start(&self.starts_at)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<DateTime<Utc>>,
    /// After so many failures in a row, 1–1000, it is paused. Absent: never.
    #[garde(inner(range(min = 1, max = 1000)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000, example = 5)]
    pub failure_budget: Option<u32>,
    /// `false` pauses it, `true` resumes it without what was missed. Absent: as it is; a new one runs.
    #[garde(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// What a schedule does about runs that were missed.
#[derive(
    Clone,
    Copy,
    Debug,
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
pub enum MissedRuns {
    /// None is run.
    Skip,
    /// One run makes up for all of them.
    #[default]
    Once,
    /// The latest of them are run, up to `missed_limit`.
    All,
}

impl Definition {
    /// Reads and checks a definition.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, each with its path; where it cannot be read, just that one.
    pub fn read(json: &[u8]) -> Result<Self, Vec<Violation>> {
        let definition: Self = problem::read_json(json).map_err(|violation| vec![violation])?;
        definition.checked()
    }

    /// Reads and checks a definition that was written in another form than JSON.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub fn read_value(value: serde_json::Value) -> Result<Self, Vec<Violation>> {
        let definition: Self = problem::read_value(value).map_err(|violation| vec![violation])?;
        definition.checked()
    }

    /// Checks a definition that was made in another way.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, each with its path.
    pub fn checked(mut self) -> Result<Self, Vec<Violation>> {
        if self.job.steps.is_empty() {
            // The default pipeline; what else is wrong with the job is found below.
            self.job = self.job.clone().checked().unwrap_or(self.job);
        }
        match self.validate() {
            Ok(()) => Ok(self),
            Err(report) => Err(problem::violations(&report)),
        }
    }

    /// When the schedule `id`, whose intervals are counted from `anchor`, is due and released.
    #[must_use]
    pub fn timetable(&self, id: Uuid, anchor: DateTime<Utc>) -> Timetable {
        let bound = NonZeroU16::new(self.missed_limit).unwrap_or(NonZeroU16::MIN);
        Timetable {
            expression: self.expression.clone(),
            zone: self.zone,
            anchor,
            starts_at: self.starts_at,
            ends_at: self.ends_at,
            missed: match self.missed {
                MissedRuns::Skip => Missed::Skip,
                MissedRuns::Once => Missed::Once,
                MissedRuns::All => Missed::All(bound),
            },
            grace: TimeDelta::seconds(i64::from(self.grace_sec)),
            jitter: Jitter::of(id, TimeDelta::seconds(i64::from(self.jitter_sec))),
        }
    }

    /// How many failures in a row it is allowed.
    #[must_use]
    pub fn budget(&self) -> FailureBudget {
        FailureBudget(self.failure_budget.and_then(NonZeroU32::new))
    }

    /// Whether it names other instants than `other`.
    #[must_use]
    pub fn is_due_otherwise_than(&self, other: &Self) -> bool {
        (&self.expression, self.zone, self.starts_at, self.ends_at)
            != (&other.expression, other.zone, other.starts_at, other.ends_at)
    }
}

/// What each run would share with the one before, or wait for, is no part of a template.
fn template(job: &JobSpec, (): &()) -> garde::Result {
    if job.idempotency_key.is_some() {
        return refuse("leave idempotency_key (job_id) out: each run is a job of its own");
    }
    if job.run_at.is_some() {
        return refuse("leave run_at out: the expression says when");
    }
    if !job.needs.is_empty() {
        return refuse("leave needs out: each run stands for itself");
    }
    Ok(())
}

fn after_start(
    starts_at: &Option<DateTime<Utc>>,
) -> impl FnOnce(&Option<DateTime<Utc>>, &()) -> garde::Result + '_ {
    move |ends_at, ()| match (starts_at, ends_at) {
        (Some(start), Some(end)) if end <= start => refuse("must be later than starts_at"),
        _ => Ok(()),
    }
}

fn ten() -> u16 {
    10
}

fn sixty() -> u32 {
    60
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(fields: &str) -> Vec<String> {
        let text = format!(
            r#"{{"name": "n", "expression": "@daily", "job": {{"goal": "g", "project_id": "p"}}{fields}}}"#
        );
        match Definition::read(text.as_bytes()) {
            Ok(_) => Vec::new(),
            Err(violations) => violations
                .into_iter()
                .map(|violation| violation.to_string())
                .collect(),
        }
    }

    #[test]
    fn little_is_enough_and_the_rest_is_filled_in() {
        let text = br#"{"name": "n", "expression": "@daily", "job": {"goal": "g", "project_id": "p"}}"#;
        let definition = Definition::read(text).unwrap();
        assert_eq!(definition.zone, Zone::UTC);
        assert_eq!(
            (definition.missed, definition.overlap),
            (MissedRuns::Once, Overlap::Skip)
        );
        assert_eq!(definition.job.steps.len(), 3);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_path() {
        assert_eq!(paths(""), Vec::<String>::new());
        for (fields, said) in [
            (r#", "zone": "Mars/Base""#, "zone: `Mars/Base` is not a time zone"),
            (r#", "overlap": "maybe""#, "overlap: unknown variant"),
            (r#", "jitter_sec": 86401"#, "jitter_sec: "),
            (r#", "missed_limit": 0"#, "missed_limit: "),
            (r#", "failure_budget": 0"#, "failure_budget"),
            (
                r#", "starts_at": "2030-01-02T00:00:00Z", "ends_at": "2030-01-02T00:00:00Z""#,
                "ends_at: must be later than starts_at",
            ),
            (r#", "cron": "* * * * *""#, "cron: unknown field"),
        ] {
            let found = paths(fields);
            assert!(
                found.len() == 1 && found[0].starts_with(said),
                "{fields}: {found:?}"
            );
        }
    }

    #[test]
    fn template_holds_nothing_that_runs_would_share() {
        for field in [
            r#""job_id": "a""#,
            r#""run_at": "2030-01-01T00:00:00Z""#,
            r#""needs": ["a"]"#,
        ] {
            let text = format!(
                r#"{{"name": "n", "expression": "@daily", "job": {{"goal": "g", "project_id": "p", {field}}}}}"#
            );
            let violations = Definition::read(text.as_bytes()).unwrap_err();
            assert!(
                violations[0].to_string().starts_with("job: leave "),
                "{violations:?}"
            );
        }
    }
}
