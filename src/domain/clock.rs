//! The only door to the wall clock, and to the one that leases are measured by.
//!
//! The database's clock decides who is due and whose lease is over; the host's stamps what a process
//! sees itself (a line of output, a step's begin and end).

use std::time::Duration;

use chrono::{DateTime, Utc};
use rustix::time::{ClockId, clock_gettime};

/// The host's wall clock, in UTC.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the room the lint points to")]
pub fn now() -> DateTime<Utc> {
    Utc::now()
}

/// How long ago the host was started: the same for all its processes, set by nobody, and not still while the host is suspended,
/// as [`std::time::Instant`] is on Linux. A lease goes on meanwhile.
#[must_use]
pub fn since_boot() -> Duration {
    #[cfg(target_os = "linux")]
    let clock = ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = ClockId::Monotonic;
    // It never goes below zero.
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}

/// Which instant the database takes for "now" when it decides who is due.
///
/// `None` is the database's own clock, and what every service passes. Tests pass an instant to walk
/// through days in milliseconds.
pub type Instant = Option<DateTime<Utc>>;
