//! When a schedule is due, in every time zone and across every change of clocks.
//!
//! Everything here is a pure function of what it is given: no clock, no database.

mod calendar;
mod describe;
mod error;
mod expression;
mod field;
mod interval;
mod jitter;
mod occurrences;
mod overlap;
mod preview;
mod runs;
mod zone;

pub use error::{ExpressionError, Reason};
pub use expression::{Expression, LONGEST_EXPRESSION};
pub use field::Field;
pub use jitter::Jitter;
pub use occurrences::{
    DEFAULT_GRACE, Decision, Due, LONGEST_GRACE, Missed, Occurrence, Timetable, occurrences,
};
pub use overlap::{Admission, FailureBudget, Overlap, Refusal, Unfinished};
pub use preview::{LONGEST_PREVIEW, Preview, Run, preview};
pub use zone::{Zone, ZoneError};
