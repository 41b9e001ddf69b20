//! When a schedule is due, in every time zone and across every change of clocks.
//!
//! Everything here is a pure function of what it is given: no clock, no database. An
//! [`Expression`] names instants in a [`Zone`]; a [`Timetable`] adds a schedule's dates and
//! policies; [`occurrences`] decides about what is due, [`Overlap`] about what is already running.
//!
//! # Expressions
//!
//! Five fields (minute, hour, day of month, month, day of week), six with seconds first; `@hourly
//! @daily @midnight @weekly @monthly @yearly @annually`; or `every 15m`, `every 1h30m`, counted in
//! elapsed time from the schedule's creation, the first run one interval after it.
//!
//! A field is `*`, a number, a range `1-5`, a step `*/15` or `10-40/10`, a name (`JAN`, `MON`), or a
//! list of these. The day of month may be `L` (the last), `LW` (the last Monday-to-Friday day) or
//! `15W` (the one nearest the 15th, in the same month); the day of week `5L` (the last Friday) or
//! `5#2` (the second). Sunday is 0 or 7. As in Vixie cron, a date matches when either day field
//! does, unless one of them begins with `*`: then both must.
//!
//! # Changes of clocks
//!
//! What counts is how the time of day is written. Where hour, minute and second are all numbers,
//! ranges (stepped ones, too) or lists, each member is a **fixed time** and behaves as it would alone. Where any of
//! the three is `*` or `*/n`, runs **follow elapsed time**: at every moment that passes and shows a
//! matching time. A list of both is the union of both.
//!
//! | Europe/Berlin | | 29 March: 02:00 becomes 03:00 | 25 October: 03:00 becomes 02:00 |
//! |---|---|---|---|
//! | `30 2 * * *` | fixed | 03:00, right after the gap | 02:30 the first time |
//! | `0,30 2 * * *` | fixed | 03:00, once for both | 02:00 and 02:30 the first time |
//! | `30 2,14 * * *` | fixed | 03:00, 14:30 | 02:30 the first time, 14:30 |
//! | `0 2,3 * * *` | fixed | 03:00, once for both | 02:00 the first time, 03:00 |
//! | `0 1-3 * * *` | fixed | 01:00, 03:00 | 01:00, 02:00 the first time, 03:00 |
//! | `0-59/15 2 * * *` | fixed | 03:00 | four times, in the first 02:00 hour |
//! | `5 * * * *` | elapsed | 01:05, 03:05 | 01:05, 02:05 twice, 03:05 |
//! | `*/30 * * * *` | elapsed | 01:30, 03:00 | every half hour, 02:00 and 02:30 twice |
//! | `*/15 2 * * *` | elapsed | none: there is no 02:00 hour | eight times, four in each |
//! | `*/30 1-3 * * *` | elapsed | 01:00, 01:30, 03:00, 03:30 | 02:00 and 02:30 twice |
//! | `0 */2 * * *` | elapsed | 00:00, 04:00 | 00:00, 02:00 twice, 04:00 |
//! | `*/20,7 2 * * *` | both | 03:00, for the 7 | 02:07 the first time, the rest twice |
//! | `every 1h30m` | interval | an hour and a half apart | an hour and a half apart |
//!
//! A day a zone leaves out is a gap like any other: Apia had no 30 December 2011, and its fixed
//! times run once as the 31st begins. One instant is one run, whatever names it twice.

mod calendar;
mod change;
mod definition;
mod describe;
mod error;
mod expression;
mod field;
mod interval;
mod jitter;
mod members;
mod occurrences;
mod overlap;
mod predecessor;
mod preview;
mod runs;
mod zone;

pub use change::{Change, changes};
pub use definition::{Definition, MOST_MISSED, MissedRuns};
pub use error::{ExpressionError, Reason};
pub use expression::{Expression, LONGEST_EXPRESSION};
pub use field::Field;
pub use jitter::Jitter;
pub use occurrences::{
    DEFAULT_GRACE, Decision, Due, LONGEST_GRACE, Missed, Occurrence, Timetable, occurrences,
};
pub use overlap::{Admission, FailureBudget, Overlap, Refusal, Unfinished};
pub use predecessor::{is_predecessors, of_predecessor};
pub use preview::{LONGEST_PREVIEW, Preview, Run, preview};
pub use zone::{Zone, ZoneError};
