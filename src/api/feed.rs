//! What happened in all of the caller's projects: listed, or followed live.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::Extension;
use axum::extract::{FromRequestParts, State};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::response::Response;
use axum::response::sse::Event as Sent;
use futures_util::{Stream, stream};
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::Api;
use super::admission::{Streams, streamed};
use super::auth::{Allowed, Read};
use super::events::Event;
use super::jobs::within;
use super::logs::{number, wants_events};
use super::pagination::{Asked, Listing, Pages};
use super::pass::Pass;
use super::problem::Problem;
use crate::app::feed::{Feed, Following};
use crate::domain::id::JobId;
use crate::store::event::{self, Filter, Located};
use crate::store::{self, Pool};

/// Rows read at once.
const ROWS: u32 = 100;
/// How long a client is to wait before it takes a broken stream up again.
const RETRY: Duration = Duration::from_secs(1);
/// Longest time between two looks at the token of a stream on which nothing happens.
const RECHECK: Duration = Duration::from_secs(5);
/// Pause after a look that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Something that happened, and where.
#[derive(Serialize, ToSchema)]
pub(super) struct ProjectEvent {
    #[serde(flatten)]
    event: Event,
    /// Alias of the project it happened in; null for what concerns no single one.
    #[schema(example = "demo")]
    project_id: Option<String>,
    /// The job it happened to, if to one.
    job_id: Option<JobId>,
}

impl From<Located> for ProjectEvent {
    fn from(located: Located) -> Self {
        Self {
            event: located.event.into(),
            project_id: located.project_alias,
            job_id: located.job,
        }
    }
}

/// Which events are listed or followed.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Chosen {
    /// Only events in the project with this alias.
    #[param(example = "demo", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    project: Option<String>,
    /// Only kinds that begin so: `job.` for everything that happens to jobs, `job.failed` for one kind.
    #[param(example = "job.", min_length = 1, max_length = 64)]
    kind: Option<String>,
}

/// The event a reader saw last, as they send it when they take a stream up again.
#[derive(utoipa::IntoParams)]
#[into_params(names("Last-Event-ID"), parameter_in = Header)]
pub(super) struct LastSeen(
    /// Begin behind the event with this id; without it, with what happens from now on.
    #[param(value_type = String, required = false, pattern = "^[0-9]{1,18}$", example = "4711")]
    Option<i64>,
);

impl FromRequestParts<Api> for LastSeen {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get("last-event-id") else {
            return Ok(Self(None));
        };
        let id = value.to_str().ok().and_then(|text| number(text, 18));
        match id {
            Some(id) => Ok(Self(Some(id))),
            None => Err(Problem::parameter(
                "Last-Event-ID",
                "is no id of an event of this stream, which is a number",
            )),
        }
    }
}

/// What following takes.
#[derive(axum::extract::FromRequestParts)]
pub(super) struct Live {
    #[from_request(via(Extension))]
    streams: Streams,
    #[from_request(via(Extension))]
    feed: Feed,
}

/// List or follow events
///
/// What happened in the projects that the token reaches: every change of a job's state, and what
/// operators did. As JSON: the latest first, a page at a time; with filters a page may hold few rows or
/// none and still name the next. With `Accept: text/event-stream`: an event as it happens, for as long
/// as the stream is held; the name of each is its `kind`, its data the JSON of a row, its id what to send
/// as `Last-Event-ID` to go on behind it, with nothing lost or doubled.
#[utoipa::path(
    get,
    path = "/api/v1/events",
    operation_id = "listEvents",
    tag = "events",
    params(Chosen, Pages, LastSeen),
    responses((status = 200, description = "A page of events, or events as they happen", content(
        (Listing<ProjectEvent> = "application/json"),
        (String = "text/event-stream", example = "event: job.succeeded\nid: 42\ndata: {\"id\":42,\"at\":\"2030-01-01T02:00:00Z\",\"attempt\":1,\"kind\":\"job.succeeded\",\"actor\":\"runner:1\",\"detail\":null,\"project_id\":\"demo\",\"job_id\":\"01934f5a-7e1c-7c3a-9b1e-5f8d2a6c4e10\"}\n\n"),
    ), headers(("Link" = String, description = "`rel=\"next\"`: the next page, when there is one")))),
    security(("bearer" = ["read"])),
)]
pub(super) async fn list(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Read>,
    asked: Asked<Chosen>,
    LastSeen(seen): LastSeen,
    live: Live,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = &asked.filter;
    if query
        .kind
        .as_ref()
        .is_some_and(|kind| !(1..=64).contains(&kind.len()))
    {
        return Err(Problem::parameter(
            "kind",
            "must be 1 to 64 characters, as job. or job.failed",
        ));
    }
    let pass = Pass::of(&api, &caller);
    let filter = Filter {
        projects: within(&api, &caller, query.project.as_deref()).await?,
        kind: query.kind.clone(),
    };
    if !wants_events(&headers) {
        let page = event::page(&api.pool, &filter, asked.after, asked.limit).await?;
        return Ok(asked.answer::<_, ProjectEvent>(page, &api.settings));
    }
    // As after the database was restored to what it was earlier: what such a reader waits for would pass them by.
    if let Some(seen) = seen
        && seen > event::highest(&api.pool).await?
    {
        return Err(Problem::parameter(
            "Last-Event-ID",
            "is behind the last event there is; follow without it, and read what you may have missed from the list",
        ));
    }
    let seat = live.streams.seat()?;
    let following = live.feed.follow().await?;
    let follower = Follower {
        pass,
        seen: seen.unwrap_or_else(|| following.settled()),
        pool: api.pool.clone(),
        filter,
        following,
        stop: api.stop.clone(),
        read: VecDeque::new(),
        greeted: false,
        _seat: seat,
    };
    Ok(streamed(follower.events()))
}

/// One reader who follows.
struct Follower {
    pool: Pool,
    pass: Pass,
    filter: Filter,
    following: Following,
    seen: i64,
    stop: CancellationToken,
    read: VecDeque<Located>,
    greeted: bool,
    _seat: OwnedSemaphorePermit,
}

impl Follower {
    /// Every event, until the server stops.
    fn events(self) -> impl Stream<Item = Result<Sent, Infallible>> {
        stream::unfold(self, |mut follower| async move {
            let event = follower.next().await?;
            Some((Ok(event), follower))
        })
    }

    /// What happened up to `settled`; `None` when the token is good no longer.
    async fn look(&self, settled: i64) -> store::Result<Option<Vec<Located>>> {
        let rows = event::between(&self.pool, &self.filter, self.seen, settled, ROWS).await?;
        Ok(self.pass.holds().await?.then_some(rows))
    }

    /// The next event; `None` when the server stops or the token is good no longer.
    async fn next(&mut self) -> Option<Sent> {
        if !std::mem::replace(&mut self.greeted, true) {
            return Some(Sent::default().retry(RETRY).comment("following"));
        }
        loop {
            if let Some(located) = self.read.pop_front() {
                return Some(sent(located));
            }
            let beyond = tokio::time::timeout(RECHECK, self.following.beyond(self.seen));
            let settled = self.stop.run_until_cancelled(beyond).await?.unwrap_or(self.seen);
            match self.look(settled).await {
                Ok(None) => return None,
                Ok(Some(rows)) => {
                    // Fewer than asked for: nothing more of theirs is up to there.
                    self.seen = match rows.last() {
                        Some(last) if rows.len() == ROWS as usize => last.event.id,
                        _ => settled,
                    };
                    self.read = rows.into();
                }
                Err(error) => {
                    tracing::debug!(error = %error, "a look at followed events failed");
                    self.stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await?;
                }
            }
        }
    }
}

fn sent(located: Located) -> Sent {
    let event = ProjectEvent::from(located);
    // Strings, numbers and JSON: nothing here can fail to become JSON.
    Sent::default()
        .event(event.event.kind())
        .id(event.event.id().to_string())
        .data(serde_json::to_string(&event).unwrap_or_default())
}
