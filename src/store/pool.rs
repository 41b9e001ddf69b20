//! Connections: the driver's pool, and in front of it the few that were used last.
//!
//! The driver's pool asks the server whether a connection is good before it lends it, and once more when it has it back, so that
//! one statement costs three round trips; and it lends the one that waited longest, so that a statement is planned
//! anew on every connection there is. A connection whose statement just came to its end is known to be good: it
//! stays here for the next. One that was left in the middle of something goes back to the driver's pool, which sees to it.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt as _, TryFutureExt as _, TryStreamExt as _};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{
    Connection as _, Describe, Either, Execute, Executor, PgConnection, PgPool, PgTransaction, Postgres,
    SqlStr,
};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

/// Most connections that are kept here: more do not make a server faster, and transactions want some as well.
const MOST: u32 = 4;
/// How long a connection is taken for good without being asked.
const FRESH: Duration = Duration::from_secs(1);
/// How long one that rested may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a connection is kept from the driver's pool, which closes those that are old or idle.
const KEPT: Duration = Duration::from_secs(60);

/// How long an answer is waited for. The server ends a statement after 60 s; when nobody says so, nobody is there, and
/// the network would let us wait for a quarter of an hour or for ever.
const ANSWER: Duration = Duration::from_secs(75);

/// Connections to one database. Cheap to clone.
///
/// A statement is run on `&Pool`; a transaction begins with [`Pool::begin`].
#[derive(Clone)]
pub struct Pool {
    all: PgPool,
    front: Arc<Mutex<Front>>,
    barred: Arc<AtomicBool>,
}

/// What is kept in front of the driver's pool.
struct Front {
    spare: Vec<Spare>,
    most: usize,
    /// Who waits for the driver's pool: what comes back while somebody does goes there.
    waiting: usize,
}

/// A connection on which nothing is under way.
#[derive(Debug)]
struct Spare {
    connection: PoolConnection<Postgres>,
    /// When the driver's pool lent it.
    lent: Instant,
    /// When it was used last.
    used: Instant,
}

/// Somebody who waits for the driver's pool.
struct Waiting<'a>(&'a Pool);

impl Pool {
    pub(super) fn of(all: PgPool) -> Self {
        let most = all.options().get_max_connections().saturating_sub(1).min(MOST);
        let front = Front {
            spare: Vec::new(),
            most: most as usize,
            waiting: 0,
        };
        Self {
            all,
            front: Arc::new(Mutex::new(front)),
            barred: Arc::default(),
        }
    }

    /// Lends nothing until [`Pool::unbar`]: whoever asks is told that the database is not available.
    pub fn bar(&self) {
        self.barred.store(true, Ordering::Relaxed);
    }

    /// Lends from now on.
    pub fn unbar(&self) {
        self.barred.store(false, Ordering::Relaxed);
    }

    fn check(&self) -> sqlx::Result<()> {
        match self.barred.load(Ordering::Relaxed) {
            false => Ok(()),
            true => Err(sqlx::Error::Io(io::Error::new(
                io::ErrorKind::NotConnected,
                "it is not known yet whether what leads to it keeps connections apart",
            ))),
        }
    }

    /// One more connection to the same database, made when it is first asked for, for what may not wait behind others.
    #[must_use]
    pub fn apart(&self) -> Self {
        // It is kept: where there is none to be had, another could not be made.
        let options = self
            .all
            .options()
            .clone()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None);
        Self::of(options.connect_lazy_with(self.all.connect_options().as_ref().clone()))
    }

    /// Begins a transaction.
    ///
    /// # Errors
    ///
    /// The driver's, when there is no connection to be had.
    pub async fn begin(&self) -> sqlx::Result<PgTransaction<'static>> {
        self.check()?;
        let _waiting = self.wait();
        #[expect(clippy::disallowed_methods, reason = "what `app` calls")]
        let transaction = PgPool::begin(&self.all);
        transaction.await
    }

    /// A connection of one's own, until it is dropped.
    ///
    /// # Errors
    ///
    /// The driver's, when there is none to be had.
    pub async fn acquire(&self) -> sqlx::Result<PoolConnection<Postgres>> {
        self.check()?;
        let _waiting = self.wait();
        self.all.acquire().await
    }

    /// Closes all connections, each when it is given back.
    pub async fn close(&self) {
        // It is closed from here on, so that nothing comes back behind what is taken.
        let closing = self.all.close();
        let spare = std::mem::take(&mut self.front().spare);
        drop(spare);
        closing.await;
    }

    fn front(&self) -> MutexGuard<'_, Front> {
        self.front.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the driver's pool, and lets it have one that is spare: it may have none, and its own count of them
    /// does not say who waits for them already.
    fn wait(&self) -> Waiting<'_> {
        let mut front = self.front();
        front.waiting += 1;
        drop(front.spare.pop());
        Waiting(self)
    }

    /// The connection that was used last, or another. Whoever has it says when nothing is under way on it any more;
    /// otherwise it is dropped, and the driver's pool sees to it.
    ///
    /// # Errors
    ///
    /// The driver's, when there is none to be had.
    pub async fn lend(&self) -> sqlx::Result<Lent<'_>> {
        self.check()?;
        loop {
            let spare = {
                let mut front = self.front();
                let spare = front.spare.pop();
                if spare.is_none() {
                    front.waiting += 1;
                }
                spare
            };
            let Some(mut spare) = spare else { break };
            let (rested, kept) = (spare.used.elapsed(), spare.lent.elapsed());
            let good = rested < FRESH
                || kept < KEPT && matches!(timeout(PATIENCE, spare.connection.ping()).await, Ok(Ok(())));
            if good {
                return Ok(Lent { pool: self, spare });
            }
            // Not by way of the driver's pool, which would wait for an answer that may never come.
            drop(spare.connection.detach());
        }
        let _waiting = Waiting(self);
        let connection = self.all.acquire().await?;
        let now = Instant::now();
        let spare = Spare {
            connection,
            lent: now,
            used: now,
        };
        Ok(Lent { pool: self, spare })
    }

    /// A server that ended one connection ended all of them: none of those that are here is to fail another statement.
    fn failed(&self, error: sqlx::Error) -> sqlx::Error {
        let ended = match &error {
            sqlx::Error::Io(_) => true,
            sqlx::Error::Database(answer) => answer.code().is_some_and(|code| code.starts_with("57P")),
            _ => false,
        };
        if ended {
            self.front().forget();
        }
        error
    }

    /// What came of a statement on a connection that goes back, unless it was left without an answer.
    fn heard<T>(&self, lent: Lent<'_>, answer: Result<sqlx::Result<T>, Elapsed>) -> sqlx::Result<T> {
        let error = match answer {
            Ok(Ok(answer)) => {
                lent.done();
                return Ok(answer);
            }
            Ok(Err(error)) => error,
            Err(elapsed) => {
                drop(lent.spare.connection.detach());
                sqlx::Error::Io(elapsed.into())
            }
        };
        Err(self.failed(error))
    }

    fn keep(&self, mut spare: Spare) {
        let mut front = self.front();
        let wanted = front.waiting == 0 && front.spare.len() < front.most && !self.all.is_closed();
        if wanted && spare.lent.elapsed() < KEPT {
            spare.used = Instant::now();
            front.spare.push(spare);
        }
    }
}

/// A connection in somebody's hands.
#[derive(Debug)]
pub struct Lent<'a> {
    pool: &'a Pool,
    spare: Spare,
}

impl Lent<'_> {
    /// Begins a transaction on it.
    ///
    /// # Errors
    ///
    /// The driver's, when the connection is lost.
    pub async fn begin(&mut self) -> sqlx::Result<PgTransaction<'_>> {
        PgConnection::begin(self).await
    }

    /// Gives it back; nothing is under way on it.
    pub fn done(self) {
        self.pool.keep(self.spare);
    }
}

impl Deref for Lent<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.spare.connection
    }
}

impl DerefMut for Lent<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.spare.connection
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.front().waiting -= 1;
    }
}

impl Front {
    /// Closes what is here, without a word to anybody.
    fn forget(&mut self) {
        self.spare
            .drain(..)
            .for_each(|spare| drop(spare.connection.detach()));
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        // Nobody is left to give them back to, and perhaps no runtime to do it.
        self.forget();
    }
}

impl Deref for Pool {
    type Target = PgPool;

    fn deref(&self) -> &PgPool {
        &self.all
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Pool").field(&self.all).finish()
    }
}

impl<'p> Executor<'p> for &'p Pool {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, sqlx::Result<Either<PgQueryResult, PgRow>>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let answer = async move {
            let mut lent = self.lend().await?;
            // All of it, so that the connection can be kept: there is no list without a bound.
            let rows = timeout(ANSWER, lent.fetch_many(query).try_collect()).await;
            let rows: Vec<_> = self.heard(lent, rows)?;
            Ok(stream::iter(rows.into_iter().map(Ok)))
        };
        Box::pin(answer.try_flatten_stream())
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, sqlx::Result<Option<PgRow>>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let answer = async move {
            let mut lent = self.lend().await?;
            let row = timeout(ANSWER, lent.fetch_optional(query)).await;
            self.heard(lent, row)
        };
        answer.boxed()
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, sqlx::Result<PgStatement>>
    where
        'p: 'e,
    {
        Box::pin(async move { self.acquire().await?.prepare_with(sql, parameters).await })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, sqlx::Result<Describe<Postgres>>>
    where
        'p: 'e,
    {
        Box::pin(async move { self.acquire().await?.describe(sql).await })
    }
}
