//! What an expression means and when it runs next, before anything is stored.

use chrono::{DateTime, FixedOffset, SecondsFormat, Utc};
use serde::{Serialize, Serializer};

use super::expression::Expression;
use super::zone::Zone;

/// The most runs a preview lists.
pub const LONGEST_PREVIEW: usize = 1000;

/// An expression in words and its next runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Preview {
    /// One English sentence.
    pub description: String,
    /// The next runs, soonest first; fewer than asked for only where the calendar ends.
    pub runs: Vec<Run>,
}

/// One run to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Run {
    /// When, with the zone's offset at that instant; RFC 3339, `+00:00` rather than `Z`.
    #[serde(serialize_with = "with_offset")]
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

fn with_offset<S: Serializer>(at: &DateTime<FixedOffset>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&at.to_rfc3339_opts(SecondsFormat::Secs, false))
}
