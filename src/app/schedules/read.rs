//! A schedule's row, understood.

use std::str::FromStr;

use crate::domain::schedule::{Definition, Expression, Zone};
use crate::domain::spec::JobSpec;
use crate::store::schedule::Schedule;

/// The definition a row holds, without a word on whether it is paused.
///
/// # Errors
///
/// A sentence, when the row was written by hand or by another version and cannot be understood.
pub fn definition(row: &Schedule) -> Result<Definition, String> {
    let job: JobSpec =
        serde_json::from_value(row.spec.clone()).map_err(|error| format!("its job template: {error}"))?;
    Ok(Definition {
        name: row.name.clone(),
        expression: Expression::parse(&row.expression).map_err(|error| format!("its expression: {error}"))?,
        zone: Zone::parse(&row.zone).map_err(|error| format!("its zone: {error}"))?,
        job,
        missed: word("missed", &row.missed)?,
        missed_limit: number("missed_limit", row.missed_limit)?,
        overlap: word("overlap", &row.overlap)?,
        jitter_sec: number("jitter_sec", row.jitter_sec)?,
        grace_sec: number("grace_sec", row.grace_sec)?,
        starts_at: row.starts_at,
        ends_at: row.ends_at,
        failure_budget: row
            .failure_budget
            .map(|budget| number("failure_budget", budget))
            .transpose()?,
        enabled: None,
    })
}

fn word<T: FromStr>(column: &str, word: &str) -> Result<T, String> {
    word.parse()
        .map_err(|_| format!("its {column} is {word:?}, which this version does not know"))
}

fn number<N: Copy + std::fmt::Display, T: TryFrom<N>>(column: &str, number: N) -> Result<T, String> {
    T::try_from(number).map_err(|_| format!("its {column} is {number}, which is out of range"))
}
