//! The only door to the wall clock.
//!
//! The database's clock decides who is due and whose lease is over; this one stamps what a process
//! sees itself (a line of output, a step's begin and end).

use chrono::{DateTime, Utc};

/// The host's wall clock, in UTC.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the room the lint points to")]
pub fn now() -> DateTime<Utc> {
    Utc::now()
}

/// Which instant the database takes for "now" when it decides who is due.
///
/// `None` is the database's own clock, and what every service passes. Tests pass an instant to walk
/// through days in milliseconds.
pub type Instant = Option<DateTime<Utc>>;
