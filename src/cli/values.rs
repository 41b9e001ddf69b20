//! Values of the command line that clap does not know, with what to write instead of a wrong one.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use strum::VariantNames;

use crate::domain::problem;

/// A point in time.
///
/// # Errors
///
/// What one looks like.
pub(super) fn time(text: &str) -> Result<DateTime<Utc>, &'static str> {
    let time = DateTime::parse_from_rfc3339(text).map(|time| time.to_utc());
    time.map_err(|_| problem::TIME)
}

/// One of a few words; another is answered with all of them.
pub(super) fn word<T>() -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err: std::error::Error + Send + Sync> + VariantNames + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(T::VARIANTS).try_map(|word| word.parse())
}
