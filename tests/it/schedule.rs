//! Schedules against a second, slower implementation of the rules.

mod clock_changes;
mod comparison;
mod missed_runs;
mod oracle;
mod properties;
mod refusals;
