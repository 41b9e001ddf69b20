//! What handlers take from a request, each refused with a problem that says what is wrong.

use std::str::FromStr;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use futures_util::StreamExt as _;

use super::Api;
use super::problem::{Kind, Problem};
use crate::domain::id::JobId;
use crate::domain::problem::Violation;

/// Longest time a body may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(30);
/// How deep arrays and objects of a body may lie in one another.
const DEPTH: usize = 64;

/// A part of the path that is text: an alias, a name.
pub(super) struct PathText(pub(super) String);

impl FromRequestParts<Api> for PathText {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        match Path::<String>::from_request_parts(parts, api).await {
            // PostgreSQL's texts hold no NUL, so nothing is named so.
            Ok(Path(text)) if !text.contains('\0') => Ok(Self(text)),
            _ => Err(Problem::new(Kind::NotFound, "nothing has such a name")),
        }
    }
}

/// A part of the path that is an id.
pub(super) struct PathId<T>(pub(super) T);

impl<T: FromStr> FromRequestParts<Api> for PathId<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let PathText(text) = PathText::from_request_parts(parts, api).await?;
        text.parse()
            .map(Self)
            .map_err(|_| Problem::new(Kind::NotFound, "an id is a UUID, and this is none"))
    }
}

/// There is no such job, or the caller may not know of it.
pub(super) fn no_such_job(id: JobId) -> Problem {
    Problem::new(
        Kind::NotFound,
        format!("there is no job {id} that this token can see"),
    )
}

/// The key under which a repeated request is answered with the first one's job.
#[derive(utoipa::IntoParams)]
#[into_params(names("Idempotency-Key"), parameter_in = Header)]
pub(super) struct IdempotencyKey(
    /// The same as `idempotency_key` in the body; both may be sent if they are equal.
    #[param(value_type = String, required = false, min_length = 1, max_length = 255, example = "build-4711")]
    pub(super) Option<String>,
);

impl IdempotencyKey {
    pub(super) const NAME: &str = "idempotency-key";

    /// The key of a request, if it has one.
    pub(super) fn read(headers: &HeaderMap) -> Result<Option<String>, Problem> {
        let mut values = headers.get_all(Self::NAME).iter();
        let (value, again) = (values.next(), values.next());
        let key = value.map(|value| value.to_str().unwrap_or_default());
        match key {
            None => Ok(None),
            Some(key) if (1..=255).contains(&key.len()) && again.is_none() => Ok(Some(key.to_owned())),
            Some(_) => Err(Problem::parameter(
                "Idempotency-Key",
                "must be there once, with 1 to 255 ASCII characters",
            )),
        }
    }
}

impl FromRequestParts<Api> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        Self::read(&parts.headers).map(Self)
    }
}

/// The bytes of a JSON body, as they came, within the size and the time there is for them.
pub(super) struct Json(pub(super) Bytes);

impl FromRequest<Api> for Json {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        must_be_json(request.headers())?;
        let (parts, body) = request.into_parts();
        let bytes = arrived(&parts.headers, body, api.settings.max_body_bytes).await?;
        match unreadable(&bytes) {
            Some(reason) => Err(Problem::body(vec![Violation::new("", reason)])),
            None => Ok(Self(bytes)),
        }
    }
}

/// A JSON body that may be left out.
pub(super) struct OptionalJson(pub(super) Option<Bytes>);

impl FromRequest<Api> for OptionalJson {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        if request.body().is_end_stream() {
            return Ok(Self(None));
        }
        let Json(bytes) = Json::from_request(request, api).await?;
        Ok(Self(Some(bytes)))
    }
}

fn must_be_json(headers: &HeaderMap) -> Result<(), Problem> {
    let value = headers
        .get(header::CONTENT_TYPE)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase());
    let essence = value
        .as_deref()
        .and_then(|value| value.split(';').next())
        .unwrap_or_default()
        .trim();
    let is_json = essence == "application/json" || (essence.contains('/') && essence.ends_with("+json"));
    if !is_json {
        return Err(Problem::new(
            Kind::UnsupportedMediaType,
            "send JSON, and say so: `Content-Type: application/json`",
        ));
    }
    must_be_plain(headers)
}

/// Bodies are kept to a size; one that grows when it is unpacked would get around that.
fn must_be_plain(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.get(header::CONTENT_ENCODING) {
        Some(coding) if coding != "identity" => Err(Problem::new(
            Kind::UnsupportedMediaType,
            "send the body as it is, without Content-Encoding",
        )),
        _ => Ok(()),
    }
}

/// The bytes of a body of any kind, as they came, and the headers that came with them.
pub(super) struct Raw {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl FromRequest<Api> for Raw {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        must_be_plain(request.headers())?;
        let (parts, body) = request.into_parts();
        let body = arrived(&parts.headers, body, api.settings.max_body_bytes).await?;
        Ok(Self {
            headers: parts.headers,
            body,
        })
    }
}

/// A whole body, within its size and the time there is for it.
pub(super) async fn arrived(headers: &HeaderMap, body: Body, most: usize) -> Result<Bytes, Problem> {
    if announced(headers).is_some_and(|length| length > most as u64) {
        return Err(too_large(most));
    }
    tokio::time::timeout(ARRIVAL, read(body, most))
        .await
        .map_err(|_| late())?
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn read(body: Body, most: usize) -> Result<Bytes, Problem> {
    let mut stream = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| {
            Problem::body(vec![Violation::new("", format!("could not be read: {error}"))])
        })?;
        if bytes.len() + chunk.len() > most {
            return Err(too_large(most));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.into())
}

fn too_large(most: usize) -> Problem {
    Problem::new(
        Kind::BodyTooLarge,
        format!("the body is larger than {most} bytes; MAX_WEBHOOK_BODY_BYTES sets the limit"),
    )
}

fn late() -> Problem {
    let seconds = ARRIVAL.as_secs();
    Problem::new(
        Kind::RequestTimeout,
        format!("the body did not arrive within {seconds} s"),
    )
    .with_header(header::CONNECTION, "close")
}

/// Why bytes cannot be JSON as we read it, where the parser's own words would puzzle.
fn unreadable(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [] => Some("the body is empty; send a JSON object"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..] => {
            Some("the body is not UTF-8 (it looks like UTF-16 or UTF-32); send UTF-8")
        }
        [0xef, 0xbb, 0xbf, ..] => Some("the body begins with a byte order mark; send UTF-8 without one"),
        bytes if depth(bytes) > DEPTH => Some("the body nests arrays and objects more than 64 levels deep"),
        _ => None,
    }
}

/// How deep arrays and objects lie in one another.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_counted_outside_of_strings() {
        for (json, expected) in [
            ("", 0),
            ("1", 0),
            ("{}", 1),
            (r#"{"a": [[], {"b": []}], "c": {}}"#, 4),
            (r#"["[[[[", "\"[[", "\\", []]"#, 2),
            ("]]][", 1),
        ] {
            assert_eq!(depth(json.as_bytes()), expected, "{json}");
        }
    }
}
