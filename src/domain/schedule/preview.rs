//! What an expression means and when it runs next, before anything is stored.

use chrono::{DateTime, FixedOffset, SecondsFormat, Utc};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::expression::Expression;
use super::occurrences::Timetable;
use super::zone::Zone;

/// The most runs a preview lists.
pub const LONGEST_PREVIEW: usize = 1000;

/// An expression in words and its next runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Preview {
    /// One English sentence.
    #[schema(example = "At 02:30, Monday to Friday.")]
    pub description: String,
    /// The next runs, soonest first; fewer than asked for only where the calendar ends.
    pub runs: Vec<Run>,
}

/// One run to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ScheduleRun)]
pub struct Run {
    /// When, with the zone's offset at that instant; RFC 3339, `+00:00` rather than `Z`.
    #[serde(serialize_with = "with_offset")]
    #[schema(value_type = DateTime<Utc>, example = "2026-03-29T03:00:00+02:00")]
    pub at: DateTime<FixedOffset>,
}

/// The next `count` runs strictly after `from`, at most [`LONGEST_PREVIEW`].
///
/// Intervals are counted from `from`, as they would be for a schedule created then.
#[must_use]
pub fn preview(expression: &Expression, zone: Zone, from: DateTime<Utc>, count: usize) -> Preview {
    let runs = expression
        .after(zone, from, from)
        .take(count.min(LONGEST_PREVIEW))
        .map(|at| Run { at: zone.local(at) })
        .collect();
    Preview {
        description: expression.describe(),
        runs,
    }
}

impl Timetable {
    /// What it means in words, and the next `count` runs strictly after `from`, within its dates.
    #[must_use]
    pub fn preview(&self, from: DateTime<Utc>, count: usize) -> Preview {
        let runs = std::iter::successors(self.next_after(from), |last| self.next_after(*last))
            .take(count.min(LONGEST_PREVIEW))
            .map(|at| Run {
                at: self.zone.local(at),
            })
            .collect();
        Preview {
            description: self.expression.describe(),
            runs,
        }
    }
}

fn with_offset<S: Serializer>(at: &DateTime<FixedOffset>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&at.to_rfc3339_opts(SecondsFormat::Secs, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preview_is_a_description_and_runs_with_their_offset() {
        let expression = Expression::parse("30 2 * * *").expect("a line");
        let zone = Zone::parse("Europe/London").expect("a zone");
        let from = DateTime::parse_from_rfc3339("2026-03-28T12:00:00Z")
            .expect("a time")
            .to_utc();
        let json = serde_json::to_string(&preview(&expression, zone, from, 2)).expect("JSON");
        assert_eq!(
            json,
            r#"{"description":"At 02:30.","runs":[{"at":"2026-03-29T02:30:00+01:00"},{"at":"2026-03-30T02:30:00+01:00"}]}"#
        );
        let winter = preview(&expression, Zone::UTC, from, 1);
        assert!(
            serde_json::to_string(&winter)
                .expect("JSON")
                .contains("2026-03-29T02:30:00+00:00")
        );
    }

    #[test]
    fn preview_is_bounded() {
        let expression = Expression::parse("* * * * * *").expect("a line");
        let preview = preview(&expression, Zone::UTC, DateTime::UNIX_EPOCH, usize::MAX);
        assert_eq!(preview.runs.len(), LONGEST_PREVIEW);
    }
}
