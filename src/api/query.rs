//! The parameters of a query. Unknown ones are refused, so that a misspelt filter is never ignored, and so is what could
//! be read in two ways.

use std::collections::BTreeSet;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use url::form_urlencoded::{self, Serializer};

use super::Api;
use super::problem::Problem;
use crate::domain::problem::plainly;

/// The parameters of a query as a type.
pub(super) struct Parameters<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<Api> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        read(parts.uri.query().unwrap_or_default(), |_| true).map(Self)
    }
}

/// Reads those parameters of a query whose names are `wanted`.
pub(super) fn read<T: DeserializeOwned>(query: &str, wanted: impl Fn(&str) -> bool) -> Result<T, Problem> {
    check(query)?;
    let wanted = only(query, wanted);
    let pairs = form_urlencoded::parse(wanted.as_bytes());
    serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs)).map_err(|error| {
        let path = error.path().to_string();
        let said = error.inner().to_string();
        match said.strip_prefix("missing field ") {
            Some(name) => Problem::parameter(name.trim_matches('`'), "is required"),
            None => Problem::parameter(path.trim_matches('.'), plainly(&said)),
        }
    })
}

/// The same query with only those parameters whose names are `wanted`.
pub(super) fn only(query: &str, wanted: impl Fn(&str) -> bool) -> String {
    let pairs = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| wanted(name));
    Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// Refuses what is no text, what PostgreSQL's texts do not hold, and what is there twice.
fn check(query: &str) -> Result<(), Problem> {
    for pair in query.split('&') {
        if percent_decode_str(pair).decode_utf8().is_err() {
            let (name, _) = pair.split_once('=').unwrap_or((pair, ""));
            return Err(Problem::parameter(name, "is not UTF-8"));
        }
    }
    let mut names = BTreeSet::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name.contains('\0') || value.contains('\0') {
            let name = name.replace('\0', "\u{fffd}");
            return Err(Problem::parameter(&name, "must not hold a NUL character"));
        }
        if !names.insert(name.clone()) {
            return Err(Problem::parameter(&name, "is there more than once; send it once"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wanted {
        count: u8,
        name: Option<String>,
        deep: Option<bool>,
    }

    fn refusal(query: &str) -> String {
        let problem = read::<Wanted>(query, |_| true).unwrap_err();
        let response = problem.clone().into_response();
        assert_eq!(response.status(), 422);
        problem.to_string()
    }

    #[test]
    fn what_is_wrong_with_a_parameter_is_said_of_it() {
        for (query, sentence) in [
            ("", "count: is required"),
            ("count=", "count: must be a whole number"),
            ("count=-1", "count: must be a whole number"),
            ("count=256", "count: is too large"),
            ("count=1&deep=yes", "deep: must be true or false"),
            ("count=1&count=1", "count: is there more than once; send it once"),
            (
                "count=1&n%61me=a&name=b",
                "name: is there more than once; send it once",
            ),
            ("count=1&name=%00", "name: must not hold a NUL character"),
            ("count=1&n%00=1", "n\u{fffd}: must not hold a NUL character"),
            ("count=1&name=%ff", "name: is not UTF-8"),
            (
                "count=1&title=a",
                "title: unknown field `title`, expected one of `count`, `name`, `deep`",
            ),
        ] {
            assert_eq!(refusal(query), sentence, "{query}");
        }
        let read: Wanted =
            read("&count=1&&name=%EF%BF%BD+%2B", |_| true).unwrap_or_else(|problem| panic!("{problem:?}"));
        assert_eq!(
            (read.count, read.name.as_deref(), read.deep),
            (1, Some("\u{fffd} +"), None)
        );
    }
}
