//! What a job's steps printed: as text up to now, or followed live.
//!
//! The table is the only source. A reader is a place in it, `attempt-seq`, and nothing is held for
//! them between two looks: not a connection to PostgreSQL, not a buffer, so a slow one costs only
//! their own connection, and one that lost it goes on at the place they name.

mod follow;

use std::str::FromStr;

use axum::Extension;
use axum::body::Body;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use futures_util::stream;
use serde::{Deserialize, Serialize};

use super::Api;
use super::admission::{Streams, streamed};
use super::auth::{Allowed, Read};
use super::extract::{PathId, no_such_job};
use super::pass::Pass;
use super::problem::Problem;
use super::query::Parameters;
use crate::domain::ansi::Both;
use crate::domain::id::JobId;
use crate::domain::job::{Code, JobState};
use crate::store::{self, Pool, log};
use follow::Follower;

/// Rows read at once; a row has at most 64 KiB.
const ROWS: u32 = 64;

/// The data of an event `log`: a piece of output.
#[derive(Serialize)]
pub(super) struct LogEvent {
    /// The attempt that printed it.
    attempt: i32,
    /// Its place within the attempt.
    seq: i32,
    /// Index of the step that printed it.
    position: i16,
    /// `stdout`, `stderr` or `system`.
    stream: String,
    /// When it was read.
    at: DateTime<Utc>,
    /// The text; it may end within a line.
    body: String,
}

/// The data of the event `end`: the job has ended, and so has its output.
#[derive(Serialize)]
pub(super) struct LogEnd {
    state: JobState,
    /// Why it failed or was cancelled.
    code: Option<Code>,
    /// The same as a sentence.
    message: Option<String>,
}

impl From<log::Line> for LogEvent {
    fn from(line: log::Line) -> Self {
        Self {
            attempt: line.attempt,
            seq: line.seq,
            position: line.position,
            stream: line.stream,
            at: line.at,
            body: line.body,
        }
    }
}

/// The event a reader saw last, as they send it when they take a stream up again.
#[derive(utoipa::IntoParams)]
#[into_params(names("Last-Event-ID"), parameter_in = Header)]
pub(super) struct LastEvent(
    /// Begin behind the event with this id; without it, at the beginning.
    #[param(value_type = String, required = false, pattern = "^[0-9]{1,9}-[0-9]{1,9}$", example = "1-41")]
    log::Place,
);

impl FromRequestParts<Api> for LastEvent {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get("last-event-id") else {
            return Ok(Self(log::Place::START));
        };
        let place = || {
            let (attempt, seq) = value.to_str().ok()?.split_once('-')?;
            Some(log::Place {
                attempt: number(attempt, 9)?,
                seq: number(seq, 9)?,
            })
        };
        place().map(Self).ok_or_else(|| {
            let reason = "is no id of an event of this stream, which looks like 1-41";
            Problem::parameter("Last-Event-ID", reason)
        })
    }
}

/// A number as it was sent out: at most so many digits, and nothing else.
pub(super) fn number<T: FromStr>(text: &str, most: usize) -> Option<T> {
    let digits = text.len() <= most && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// How the text is written.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
enum Format {
    /// As it was printed: a terminal shows its colours.
    #[default]
    Terminal,
    /// As it reads: without escape sequences and control characters.
    Text,
}

/// Writes pieces of output in a format; an escape sequence may be cut between two.
#[derive(Default)]
struct Writer {
    format: Format,
    text: Both,
}

impl Writer {
    fn of(format: Format) -> Self {
        Self {
            format,
            ..Self::default()
        }
    }

    fn write(&mut self, mut line: log::Line) -> log::Line {
        if self.format == Format::Text {
            line.body = self.text.read(&line.stream, &line.body);
        }
        line
    }
}

/// How the output is to be written.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Writing {
    /// `terminal` keeps colours and other escape sequences, `text` leaves them out.
    #[serde(default)]
    #[param(inline)]
    format: Format,
}

/// Read or follow a job's output
///
/// As `text/plain`: everything printed up to now, in order, with the escape sequences that colour it, or
/// without them (`format=text`). With `Accept: text/event-stream`: an
/// event `log` for each piece, as it comes, until an event `end` says how the job ended. Their data
/// is JSON: `attempt`, `seq`, `position` (of the step), `stream` (`stdout`, `stderr`, `system`), `at`
/// and `body` of a `log`; `state`, `code` and `message` of the `end`. An event's id is `attempt-seq`;
/// send the last one seen as `Last-Event-ID` to go on behind it, with nothing lost or doubled. A
/// stream that closes without `end` is to be taken up again.
#[utoipa::path(
    get,
    path = "/api/v1/jobs/{id}/logs",
    operation_id = "readLogs",
    tag = "jobs",
    params(("id" = JobId, Path, description = "The job"), Writing, LastEvent),
    responses((status = 200, description = "What the steps printed", content(
        (String = "text/plain", example = "hello\n"),
        (String = "text/event-stream", example = "event: log\nid: 1-0\ndata: {\"attempt\":1,\"seq\":0,\"position\":0,\"stream\":\"stdout\",\"at\":\"2030-01-01T02:00:00Z\",\"body\":\"hello\\n\"}\n\nevent: end\ndata: {\"state\":\"succeeded\",\"code\":null,\"message\":null}\n\n"),
    ))),
    security(("bearer" = ["read"])),
)]
pub(super) async fn read(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Read>,
    PathId(id): PathId<JobId>,
    Parameters(writing): Parameters<Writing>,
    LastEvent(after): LastEvent,
    Extension(streams): Extension<Streams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let standing = store::job::standing(&api.pool, id, caller.projects.as_deref()).await?;
    standing.ok_or_else(|| no_such_job(id))?;
    if !wants_events(&headers) {
        return text(api.pool.clone(), id, after, writing.format).await;
    }
    let seat = streams.seat()?;
    let writer = Writer::of(writing.format);
    let pass = Pass::of(&api, &caller);
    let events = Follower::new(&api, pass, id, after, writer, seat).events();
    Ok(streamed(events))
}

pub(super) fn wants_events(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|accept| accept.to_ascii_lowercase().contains("text/event-stream"))
}

/// Everything up to now. The first rows are read before the answer begins, so that a database that
/// is away is still a problem and not a cut text.
async fn text(pool: Pool, id: JobId, after: log::Place, format: Format) -> Result<Response, Problem> {
    let first = log::after(&pool, id, after, ROWS).await?;
    let rows = stream::try_unfold((Some(first), Writer::of(format)), move |(rows, mut writer)| {
        let pool = pool.clone();
        async move {
            let Some(rows) = rows else { return Ok(None) };
            let Some(last) = rows.last() else { return Ok(None) };
            let place = place(last);
            let next = match rows.len() < ROWS as usize {
                true => None,
                false => Some(log::after(&pool, id, place, ROWS).await?),
            };
            let text: String = rows.into_iter().map(|line| writer.write(line).body).collect();
            Ok::<_, store::Error>(Some((text, (next, writer))))
        }
    });
    let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    Ok((kind, Body::from_stream(rows)).into_response())
}

/// Where a reader is who has seen `line`.
fn place(line: &log::Line) -> log::Place {
    log::Place {
        attempt: line.attempt,
        seq: line.seq,
    }
}
