//! Following a job's output to its end.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::Event;
use futures_util::{Stream, stream};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::{LogEnd, LogEvent, ROWS, Writer, place};
use crate::api::Api;
use crate::api::pass::Pass;
use crate::domain::id::JobId;
use crate::store::job::Standing;
use crate::store::log::{self, Line, Place};
use crate::store::{self, Pool};

/// Shortest and longest pause between two looks that found nothing.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// How long a client is to wait before it takes a broken stream up again.
const RETRY: Duration = Duration::from_secs(1);

/// One reader who follows one job.
pub(super) struct Follower {
    pool: Pool,
    pass: Pass,
    job: JobId,
    seen: Place,
    writer: Writer,
    stop: CancellationToken,
    read: VecDeque<Line>,
    pause: Duration,
    ended: bool,
    greeted: bool,
    _seat: OwnedSemaphorePermit,
}

impl Follower {
    pub(super) fn new(
        api: &Api,
        pass: Pass,
        job: JobId,
        seen: Place,
        writer: Writer,
        seat: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            pool: api.pool.clone(),
            pass,
            job,
            seen,
            writer,
            stop: api.stop.clone(),
            read: VecDeque::new(),
            pause: PAUSES.0,
            ended: false,
            greeted: false,
            _seat: seat,
        }
    }

    /// Every piece of output, then the end. Ends early, without `end`, when the server stops.
    pub(super) fn events(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, |mut follower| async move {
            let event = follower.next().await?;
            Some((Ok(event), follower))
        })
    }

    async fn next(&mut self) -> Option<Event> {
        if !std::mem::replace(&mut self.greeted, true) {
            return Some(Event::default().retry(RETRY).comment("following"));
        }
        loop {
            if self.ended {
                return None;
            }
            if let Some(line) = self.read.pop_front() {
                return Some(logged(self.writer.write(line)));
            }
            match self.look().await {
                Ok(Some(standing)) => return Some(self.end(standing)),
                Ok(None) if !self.read.is_empty() => self.pause = PAUSES.0,
                Ok(None) => self.rest().await?,
                // The reader hears nothing of it but a pause; their place is kept.
                Err(error) => {
                    tracing::debug!(error = %error, job.id = %self.job, "a look at a followed log failed");
                    self.rest().await?;
                }
            }
        }
    }

    /// Reads on; answers with how the job stands when it has ended and everything is read.
    ///
    /// The job is looked at first: what is printed is kept before a job ends, so output that is not
    /// there after the end was seen will never be.
    async fn look(&mut self) -> store::Result<Option<Standing>> {
        let standing = store::job::standing(&self.pool, self.job, None).await?;
        let lines = log::after(&self.pool, self.job, self.seen, ROWS).await?;
        if !self.pass.holds().await? {
            self.ended = true;
            return Ok(None);
        }
        if let Some(last) = lines.last() {
            self.seen = place(last);
        }
        self.read = lines.into();
        Ok(match standing {
            // Retention took the job away: its followers are told what is known, that it is over.
            None => {
                self.ended = true;
                None
            }
            Some(standing) if standing.state.is_terminal() && self.read.is_empty() => Some(standing),
            Some(_) => None,
        })
    }

    fn end(&mut self, standing: Standing) -> Event {
        self.ended = true;
        let end = LogEnd {
            state: standing.state,
            code: standing.code,
            message: standing.message,
        };
        data("end", &end)
    }

    /// Waits a little longer each time; `None` when the server stops meanwhile.
    async fn rest(&mut self) -> Option<()> {
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSES.1);
        self.stop.run_until_cancelled(tokio::time::sleep(pause)).await
    }
}

fn logged(line: Line) -> Event {
    let id = format!("{}-{}", line.attempt, line.seq);
    data("log", &LogEvent::from(line)).id(id)
}

fn data(name: &str, data: &impl serde::Serialize) -> Event {
    // Strings and numbers: nothing here can fail to become JSON.
    Event::default()
        .event(name)
        .data(serde_json::to_string(data).unwrap_or_default())
}
