//! Versions of what can be changed: `ETag` on the way out, `If-Match` on the way in.
//!
//! A row's version is the time of its last change, which every change moves. A handler that changes a
//! row reads it, holds its version against [`IfMatch`], and writes with the version in the `where`: no
//! row changed then means that somebody else was faster, which is [`changed`].

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::Api;
use super::problem::{Kind, Problem};

/// Longest `If-Match` that is read, in bytes.
const LONGEST: usize = 4096;

/// The version as a tag, quotes and all.
fn tag(version: DateTime<Utc>) -> String {
    format!("\"{:x}\"", version.timestamp_micros())
}

/// The version the caller saw, if they sent one: their change holds only for that.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(names("If-Match"), parameter_in = Header)]
pub(super) struct IfMatch(
    /// Change only this version: the `ETag` of the answer it was read in. `*` is any version.
    #[param(value_type = String, required = false, min_length = 1, max_length = 4096, example = "\"63f0a2b41c8d2\"")]
    Option<String>,
);

impl FromRequestParts<Api> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        let mut tags = Vec::new();
        for value in parts.headers.get_all(header::IF_MATCH) {
            let text = value
                .to_str()
                .map_err(|_| Problem::parameter("If-Match", "is not ASCII"))?;
            tags.push(text);
        }
        let tags = (!tags.is_empty()).then(|| tags.join(","));
        match tags.as_ref().map_or(1, String::len) {
            1..=LONGEST => Ok(Self(tags)),
            _ => Err(Problem::parameter("If-Match", "must have 1 to 4096 characters")),
        }
    }
}

impl IfMatch {
    /// Whether the caller sent one at all.
    pub(super) fn was_sent(&self) -> bool {
        self.0.is_some()
    }

    /// Refuses with 412 when the caller saw another version than `current`.
    ///
    /// Proxies that compress mark a tag as weak; it names the same version, so the mark is let go.
    pub(super) fn admits(&self, current: DateTime<Utc>) -> Result<(), Problem> {
        let Some(seen) = &self.0 else { return Ok(()) };
        let current = tag(current);
        let matches = seen.split(',').map(str::trim).any(|tag| {
            let tag = tag.strip_prefix("W/").unwrap_or(tag);
            tag == "*" || tag == current
        });
        match matches {
            true => Ok(()),
            false => Err(changed()),
        }
    }
}

/// Somebody else changed it.
pub(super) fn changed() -> Problem {
    Problem::new(
        Kind::PreconditionFailed,
        "it was changed after you read it; read it again, and send its new ETag as If-Match",
    )
}

/// An answer with the version of what it shows.
pub(super) struct Tagged<T> {
    pub(super) version: DateTime<Utc>,
    pub(super) body: T,
}

impl<T: Serialize> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        let mut response = axum::Json(self.body).into_response();
        // Quotes and hexadecimal digits: always a header's value.
        if let Ok(tag) = HeaderValue::from_str(&tag(self.version)) {
            response.headers_mut().insert(header::ETAG, tag);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_version_that_was_seen_is_admitted() {
        let version = DateTime::from_timestamp_micros(1_700_000_000_000_001).unwrap();
        let own = tag(version);
        let admits = |text: &str| IfMatch(Some(text.to_owned())).admits(version).is_ok();
        for good in ["*", &own, &format!("W/{own}"), &format!("\"a\", {own}")] {
            assert!(admits(good), "{good}");
        }
        for bad in ["", "\"\"", "\"a\"", own.trim_matches('"'), &own.to_uppercase()] {
            assert!(!admits(bad), "{bad}");
        }
        assert!(IfMatch(None).admits(version).is_ok());
    }
}
