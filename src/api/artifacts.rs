//! What a job left behind: listed, and downloaded whole or in part.

mod json;

use std::ops::Range;

use axum::body::Body;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::auth::{Allowed, Read};
use super::extract::{PathId, no_such_job};
use super::pagination::Listing;
use super::problem::{Kind, Problem};
use crate::app::lease::key;
use crate::domain::id::JobId;
use crate::store;
use json::JsonArtifact;

/// Longest path of an artifact, in bytes.
const LONGEST: usize = 255;

/// A file that a job left behind.
#[derive(Serialize, ToSchema)]
pub(super) struct Artifact {
    /// Its path below the job's artifacts.
    #[schema(example = "steps/build/report.md")]
    path: String,
    /// Where to get it.
    #[schema(example = "/api/v1/jobs/01990000-0000-7000-8000-000000000000/artifacts/steps/build/report.md")]
    url: String,
    /// Its length in bytes.
    #[schema(minimum = 0, example = 13)]
    size: i64,
    /// The SHA-256 of its bytes, in hexadecimal digits; also its `ETag`.
    #[schema(
        pattern = "^[0-9a-f]{64}$",
        example = "2f0a3b0e3f3c1f5c8e9d1b7a6c5d4e3f2a1b0c9d8e7f6a5b4c3d2e1f0a9b8c7d"
    )]
    sha256: String,
    /// What it is.
    #[schema(example = "text/markdown; charset=utf-8")]
    media_type: String,
    /// The attempt that left it.
    #[schema(minimum = 1)]
    attempt: i32,
    /// When it was written.
    created_at: DateTime<Utc>,
}

/// List what a job left behind
///
/// Every artifact, by path. Those of a step are below `steps/<step_id>/` once it has ended, the job's own at the top
/// once it has. They are kept for a time of their own (`ARTIFACTS_TTL_SEC`).
#[utoipa::path(
    get,
    path = "/api/v1/jobs/{id}/artifacts",
    operation_id = "listArtifacts",
    tag = "jobs",
    params(("id" = JobId, Path, description = "The job")),
    responses((status = 200, description = "Every artifact", body = Listing<Artifact>)),
    security(("bearer" = ["read"])),
)]
pub(super) async fn list(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Read>,
    PathId(id): PathId<JobId>,
) -> Result<axum::Json<Listing<Artifact>>, Problem> {
    let standing = store::job::standing(&api.pool, id, caller.projects.as_deref()).await?;
    standing.ok_or_else(|| no_such_job(id))?;
    let artifacts = store::artifact::of_job(&api.pool, id).await?;
    let shown = artifacts.into_iter().map(|artifact| Artifact {
        url: api
            .settings
            .link(&format!("/api/v1/jobs/{id}/artifacts/{}", artifact.path)),
        path: artifact.path,
        size: artifact.size,
        sha256: hex::encode(artifact.sha256),
        media_type: artifact.media_type,
        attempt: artifact.attempt,
        created_at: artifact.created_at,
    });
    Ok(axum::Json(Listing::whole(shown.collect())))
}

/// The job and the path that an address names; the slashes of the path may be written as they are, or as `%2F`.
pub(super) struct ArtifactPath {
    job: JobId,
    path: String,
}

impl FromRequestParts<Api> for ArtifactPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let named = Path::<Vec<(String, String)>>::from_request_parts(parts, api).await;
        let Path(named) = named.map_err(|_| no_artifact())?;
        let (mut job, mut path) = (None, Vec::new());
        for (name, value) in named {
            match name.as_str() {
                "id" => job = value.parse().ok(),
                _ => path.push(value),
            }
        }
        let no_job = || Problem::new(Kind::NotFound, "a job's id is a UUID, and this is none");
        let path = path.join("/");
        // No artifact has such a name, and no table can be asked for one.
        match path.contains('\0') || path.len() > LONGEST {
            true => Err(no_artifact()),
            false => Ok(Self {
                job: job.ok_or_else(no_job)?,
                path,
            }),
        }
    }
}

/// Download an artifact
///
/// Its bytes as they are. `ETag` is the SHA-256 of them: with `If-None-Match` they are sent only if they changed, and
/// `Range` asks for a part. The slashes of the path may be written as they are, or as `%2F`.
#[utoipa::path(
    get,
    path = "/api/v1/jobs/{id}/artifacts/{path}",
    operation_id = "readArtifact",
    tag = "jobs",
    params(
        ("id" = JobId, Path, description = "The job"),
        ("path" = String, Path, description = "The artifact", pattern = r"^[^\u0000]{1,255}$", example = "steps/build/report.md"),
        ("Range" = Option<String>, Header, description = "The part to send; one range of bytes", max_length = 1000, example = "bytes=0-1023"),
        ("If-None-Match" = Option<String>, Header, description = "Send nothing if this is still its `ETag`", max_length = 1000),
    ),
    responses(
        (status = 200, description = "The artifact", content(
            (String = "application/octet-stream", example = "# Step build\n"),
            (JsonArtifact = "application/json", example = json!({"goal": "Build and test", "context_strategy": null, "context_window": []})),
        ), headers(
            ("ETag" = String, description = "The SHA-256 of all of it"),
            ("Accept-Ranges" = String, description = "`bytes`"),
        )),
        (status = 206, description = "The part of it that was asked for", content((String = "application/octet-stream", example = "# Step")), headers(
            ("Content-Range" = String, description = "Which part of how much"),
        )),
        (status = 304, description = "It has not changed"),
    ),
    security(("bearer" = ["read"])),
    extensions(("x-problems" = json!(["range_not_satisfiable"]))),
)]
pub(super) async fn read(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Read>,
    ArtifactPath { job, path }: ArtifactPath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let standing = store::job::standing(&api.pool, job, caller.projects.as_deref()).await?;
    standing.ok_or_else(|| no_such_job(job))?;
    let found = store::artifact::find(&api.pool, job, &path).await?;
    let artifact = found.ok_or_else(no_artifact)?;
    let (tag, size) = (
        format!("\"{}\"", hex::encode(&artifact.sha256)),
        artifact.size.unsigned_abs(),
    );
    let common = [
        (header::ETAG, text(&tag)),
        (header::ACCEPT_RANGES, HeaderValue::from_static("bytes")),
        (
            header::CACHE_CONTROL,
            HeaderValue::from_static("private, no-cache"),
        ),
        // Whatever it holds, a browser shows it in no page of ours.
        (
            HeaderName::from_static("content-security-policy"),
            HeaderValue::from_static("sandbox; default-src 'none'"),
        ),
    ];
    if is_known(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, common).into_response());
    }
    let part = part(&headers, &tag, size)?;
    let opened = api.objects.open(&key(job, &path), part.clone()).await;
    let opened = opened.map_err(|error| {
        tracing::error!(job.id = %job, artifact.path = %path, error = %error, "an artifact cannot be read");
        Problem::new(
            Kind::Internal,
            "the artifact cannot be read; the log of the API says why",
        )
    })?;
    // What retention took just now, or somebody else did, is not there.
    let opened = opened
        .filter(|opened| opened.size == size)
        .ok_or_else(no_artifact)?;
    let sent = part.clone().unwrap_or(0..size);
    let mut response = (common, Body::from_stream(opened.bytes)).into_response();
    let answer = response.headers_mut();
    answer.insert(header::CONTENT_TYPE, text(&artifact.media_type));
    answer.insert(header::CONTENT_LENGTH, (sent.end - sent.start).into());
    if part.is_some() {
        let range = format!("bytes {}-{}/{size}", sent.start, sent.end - 1);
        answer.insert(header::CONTENT_RANGE, text(&range));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

/// What of ours is written in headers is ASCII.
fn text(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

fn no_artifact() -> Problem {
    Problem::new(
        Kind::NotFound,
        "the job has no such artifact: it was not left yet, or is past its time (ARTIFACTS_TTL_SEC)",
    )
}

/// Whether the caller has it already.
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let known = headers.get_all(header::IF_NONE_MATCH).iter();
    known
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|known| matches!(known.trim(), "*") || known.trim().trim_start_matches("W/") == tag)
}

/// The part that is asked for; `None` is all of it. What is no single range of bytes is not understood, and so ignored,
/// as is one that is meant for another version.
fn part(headers: &HeaderMap, tag: &str, size: u64) -> Result<Option<Range<u64>>, Problem> {
    let value = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    if value(header::IF_RANGE).is_some_and(|meant| meant != tag) {
        return Ok(None);
    }
    let asked = value(header::RANGE).and_then(|value| value.strip_prefix("bytes="));
    let Some((from, to)) = asked.and_then(|range| range.trim().split_once('-')) else {
        return Ok(None);
    };
    let range = match (from.parse::<u64>(), to.parse::<u64>()) {
        (Ok(from), Ok(to)) if from <= to => from..to.saturating_add(1).min(size),
        (Ok(from), Err(_)) if to.is_empty() => from..size,
        (Err(_), Ok(last)) if from.is_empty() => size.saturating_sub(last)..size,
        _ => return Ok(None),
    };
    match range.is_empty() {
        false => Ok(Some(range)),
        true => Err(Problem::new(
            Kind::RangeNotSatisfiable,
            format!("the artifact has {size} bytes, and the range begins behind them"),
        )
        .with_header(header::CONTENT_RANGE, &format!("bytes */{size}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(range: &str) -> Option<Option<Range<u64>>> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, HeaderValue::from_str(range).unwrap());
        part(&headers, "\"a\"", 10).ok()
    }

    #[test]
    fn a_range_is_kept_to_what_is_there() {
        for (range, expected) in [
            ("bytes=0-3", Some(0..4)),
            ("bytes=5-", Some(5..10)),
            ("bytes=-3", Some(7..10)),
            ("bytes=-30", Some(0..10)),
            ("bytes=2-99999999999999999999", None),
            ("bytes=2-18446744073709551615", Some(2..10)),
            ("bytes=3-2", None),
            ("bytes=0-1,3-4", None),
            ("lines=0-1", None),
            ("bytes=x", None),
        ] {
            assert_eq!(of(range), Some(expected), "{range}");
        }
        for range in ["bytes=10-", "bytes=10-20", "bytes=-0"] {
            assert_eq!(of(range), None, "{range}");
        }
    }
}
