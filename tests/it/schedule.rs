//! Schedules against a second, slower implementation of the rules.

mod clock_changes;
mod missed_runs;
mod oracle;
mod properties;
mod refusals;
