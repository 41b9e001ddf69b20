//! What is wrong with an input, and where.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One thing that is wrong, and the path of the field it is wrong in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Violation {
    /// The field, as `steps[0].argv`; empty for the whole document.
    #[schema(example = "steps[0].argv")]
    pub path: String,
    /// What is wrong and what is allowed.
    #[schema(example = "must not be empty")]
    pub message: String,
}

impl Violation {
    /// A violation at `path`.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
        }
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}

/// Reads JSON into `T`, or says where it does not fit.
///
/// # Errors
///
/// One [`Violation`] with the path at which reading stopped.
pub fn read_json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Violation> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = match error.path().to_string() {
            whole if whole == "." => String::new(),
            path => path,
        };
        Violation::new(path, error.inner().to_string())
    })?;
    reader
        .end()
        .map_err(|error| Violation::new("", error.to_string()))?;
    Ok(value)
}

/// Reads a value that was JSON or became it, or says where it does not fit.
///
/// # Errors
///
/// One [`Violation`] with the path at which reading stopped.
pub fn read_value<T: DeserializeOwned>(value: serde_json::Value) -> Result<T, Violation> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = match error.path().to_string() {
            whole if whole == "." => String::new(),
            path => path,
        };
        Violation::new(path, error.inner().to_string())
    })
}

/// Reads JSON into `T` and checks it.
///
/// # Errors
///
/// Everything that is wrong, each with its path.
pub fn read_valid<'a, T>(bytes: &'a [u8]) -> Result<T, Vec<Violation>>
where
    T: Deserialize<'a> + garde::Validate<Context = ()>,
{
    let value: T = read_json(bytes).map_err(|violation| vec![violation])?;
    match value.validate() {
        Ok(()) => Ok(value),
        Err(report) => Err(violations(&report)),
    }
}

/// What [`garde`] found, in our words.
#[must_use]
pub fn violations(report: &garde::Report) -> Vec<Violation> {
    report
        .iter()
        .map(|(path, error)| Violation::new(path.to_string(), error.message()))
        .collect()
}
