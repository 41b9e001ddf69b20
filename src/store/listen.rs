//! Wake-ups. A notification is a hint: it may be lost or doubled, and the table is the truth.

use std::time::Duration;

use sqlx::postgres::PgListener;
use tokio::time::timeout;

use super::database::DatabaseUrl;
use super::{Executor, Result};

/// Work has come to a queue; the payload is its name, with a `!` behind it when some of it is urgent.
pub const WORK: &str = "orchestrator_work";

/// What [`WORK`] says: the queue, and whether something in it goes before most.
#[must_use]
pub fn work(payload: &str) -> (&str, bool) {
    // No name of a queue has a `!`.
    payload
        .strip_suffix('!')
        .map_or((payload, false), |queue| (queue, true))
}

/// A runner session is to look whether something is asked of it; the payload is its id.
pub const CONTROL: &str = "orchestrator_control";

/// Says on `channel` that there may be something to do.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away; whoever listens polls anyway.
pub async fn notify(db: impl Executor<'_>, channel: &str, payloads: &[String]) -> Result<()> {
    sqlx::query!(
        "select pg_notify($1, payload) from unnest($2::text[]) as payload",
        channel,
        payloads
    )
    .execute(db)
    .await?;
    Ok(())
}

/// How long nothing is said before the server is asked whether it is there.
const QUIET: Duration = Duration::from_secs(60);
/// How long its answer is waited for.
const ANSWER: Duration = Duration::from_secs(10);

/// What was said, and where.
#[derive(Clone, Debug)]
pub struct Hint {
    /// The channel.
    pub channel: String,
    /// What was said.
    pub payload: String,
}

/// A connection of its own that listens. It connects again by itself; what was said meanwhile is lost.
pub struct Listener(PgListener);

impl Listener {
    /// Begins to listen on `channels`; only what is said from now on arrives.
    ///
    /// # Errors
    ///
    /// [`super::Error`] when PostgreSQL is away.
    pub async fn on(url: &DatabaseUrl, channels: &[&str]) -> Result<Self> {
        let pool = super::database::pool(url, "orchestrator-listen", 1)?;
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.listen_all(channels.iter().copied()).await?;
        Ok(Self(listener))
    }

    /// Waits for the next hint. `None`: the connection broke and is back, or nothing was said for a minute and the server is
    /// there; anything may have happened.
    ///
    /// # Errors
    ///
    /// [`super::Error`] when the connection is lost and cannot be had back now, or the server does not answer on it any
    /// more; listen anew then.
    pub async fn next(&mut self) -> Result<Option<Hint>> {
        let Ok(hint) = timeout(QUIET, self.0.try_recv()).await else {
            self.is_heard().await?;
            // It may have been about to connect again.
            return Ok(None);
        };
        Ok(hint?.map(|hint| Hint {
            channel: hint.channel().to_owned(),
            payload: hint.payload().to_owned(),
        }))
    }

    /// Somebody who only listens never learns that nobody is left to say anything.
    async fn is_heard(&mut self) -> Result<()> {
        let asked = sqlx::raw_sql("select 1").execute(&mut self.0);
        timeout(ANSWER, asked)
            .await
            .map_err(|elapsed| sqlx::Error::Io(elapsed.into()))??;
        Ok(())
    }
}
