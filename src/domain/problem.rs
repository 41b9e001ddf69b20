//! What is wrong with an input, and where.

mod json;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use json::Meant;

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
    let value = serde_path_to_error::deserialize(Meant(&mut reader)).map_err(misfit)?;
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
    serde_path_to_error::deserialize(Meant(value)).map_err(misfit)
}

/// What the reader found, in words that hold no names of this program's types. The path says where a value does not
/// fit; only what is no JSON at all has a line and a column.
fn misfit(error: serde_path_to_error::Error<serde_json::Error>) -> Violation {
    // Where reading stopped within a name, the name is unknown: `?`.
    let path = error.path().to_string();
    let path = path.trim_end_matches(['?', '.']);
    let error = error.into_inner();
    let said = error.to_string();
    if !error.is_data() {
        return Violation::new(path, said);
    }
    let said = said.rsplit_once(" at line ").map_or(&*said, |(said, _)| said);
    let field = |said: &str| match path.is_empty() {
        true => said.trim_matches('`').to_owned(),
        false => format!("{path}.{}", said.trim_matches('`')),
    };
    if let Some(name) = said.strip_prefix("missing field ") {
        return Violation::new(field(name), "is required");
    }
    if let Some(name) = said.strip_prefix("duplicate field ") {
        return Violation::new(field(name), "is there twice");
    }
    match said.split_once("expected struct ") {
        Some((before, _)) => Violation::new(path, format!("{before}expected an object")),
        None => Violation::new(path, plainly(said)),
    }
}

/// What a time looks like.
pub const TIME: &str = "must be a time with its zone, as 2030-01-01T02:00:00Z";
/// What an identifier looks like.
pub const ID: &str = "must be an id of 36 characters, as 01934f5a-7e1c-7c3a-9b1e-5f8d2a6c4e10";

/// What libraries say of a number, a time or an id that cannot be read, as it is meant.
#[must_use]
pub fn plainly(said: &str) -> &str {
    match said {
        "invalid digit found in string" | "cannot parse integer from empty string" => {
            "must be a whole number"
        }
        "number too large to fit in target type" => "is too large",
        "number too small to fit in target type" => "is too small",
        "provided string was not `true` or `false`" => "must be true or false",
        "input contains invalid characters"
        | "input is not enough for unique date and time"
        | "input is out of range"
        | "no possible date and time matching input"
        | "premature end of input"
        | "trailing input" => TIME,
        _ if said.starts_with("UUID parsing failed") => ID,
        other => other,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Order {
        count: i16,
        #[serde(default)]
        price: Option<f64>,
        #[serde(default)]
        parts: Vec<Part>,
        #[serde(default)]
        note: serde_json::Value,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Part {
        size: Option<u8>,
    }

    #[test]
    fn a_time_and_an_id_that_cannot_be_read_are_answered_with_what_one_looks_like() {
        type Time = chrono::DateTime<chrono::Utc>;
        for text in [
            "",
            "soon",
            "2030",
            "2030-01-01",
            "2030-13-01T00:00:00Z",
            "2030-01-01T02:00:00",
            "2030-01-01T02:00:00Zz",
        ] {
            let json = serde_json::json!(text).to_string();
            let said = read_json::<Time>(json.as_bytes()).unwrap_err().message;
            assert_eq!(
                said, "must be a time with its zone, as 2030-01-01T02:00:00Z",
                "{text}"
            );
        }
        for text in ["", "12", "01934f5a-7e1c-7c3a-9b1e-5f8d2a6c4e1x"] {
            let json = serde_json::json!(text).to_string();
            let said = read_json::<crate::domain::id::JobId>(json.as_bytes())
                .unwrap_err()
                .message;
            assert!(
                said.starts_with("must be an id of 36 characters"),
                "{text}: {said}"
            );
        }
    }

    fn read(json: &str) -> Result<Order, String> {
        read_json(json.as_bytes()).map_err(|violation: Violation| violation.to_string())
    }

    #[test]
    fn a_whole_number_may_be_written_with_a_fraction_of_zero() {
        let order = read(r#"{"count": 2.0, "price": 2.5, "parts": [{"size": 1e1}], "note": [2.0]}"#).unwrap();
        assert_eq!((order.count, order.price), (2, Some(2.5)));
        assert_eq!(order.parts, [Part { size: Some(10) }]);
        assert_eq!(
            order.note,
            serde_json::json!([2.0]),
            "what has no type is left as it is"
        );
        for (json, sentence) in [
            (
                r#"{"count": 2.5}"#,
                "count: invalid type: floating point `2.5`, expected a whole number",
            ),
            (
                r#"{"count": 32768}"#,
                "count: invalid value: integer `32768`, expected i16",
            ),
            (
                r#"{"count": 32768.0}"#,
                "count: invalid value: integer `32768`, expected i16",
            ),
            (
                r#"{"count": 1e300}"#,
                "count: invalid type: floating point `1e+300`, expected a whole number",
            ),
            (
                r#"{"count": "2"}"#,
                "count: invalid type: string \"2\", expected a whole number",
            ),
            (
                r#"{"count": 1, "parts": [{"size": -1}]}"#,
                "parts[0].size: invalid value: integer `-1`, expected u8",
            ),
        ] {
            assert_eq!(read(json).unwrap_err(), sentence, "{json}");
        }
    }

    #[test]
    fn a_list_is_no_object() {
        for (json, sentence) in [
            ("[1]", "invalid type: sequence, expected an object"),
            (
                r#"{"count": 1, "parts": [[1]]}"#,
                "parts[0]: invalid type: sequence, expected an object",
            ),
            ("null", "invalid type: null, expected an object"),
        ] {
            assert_eq!(read(json).unwrap_err(), sentence, "{json}");
        }
    }

    #[test]
    fn no_text_holds_a_nul_however_deep_it_lies() {
        for (json, sentence) in [
            (
                r#"{"count": 1, "note": {"a": ["\u0000"]}}"#,
                "note.a[0]: must not hold a NUL character",
            ),
            (
                r#"{"count": 1, "note": {"a\u0000": 1}}"#,
                "note: must not hold a NUL character",
            ),
        ] {
            assert_eq!(read(json).unwrap_err(), sentence, "{json}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_of_the_field() {
        for (json, sentence) in [
            ("{}", "count: is required"),
            (r#"{"count": 1, "count": 2}"#, "count: is there twice"),
            (
                r#"{"count": 1"#,
                "EOF while parsing an object at line 1 column 11",
            ),
        ] {
            assert_eq!(read(json).unwrap_err(), sentence, "{json}");
        }
        let value = serde_json::json!({"count": 1, "parts": [[]]});
        let violation = read_value::<Order>(value).unwrap_err();
        assert_eq!(
            violation.to_string(),
            "parts[0]: invalid type: sequence, expected an object"
        );
    }
}
