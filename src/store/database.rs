//! Connections: one typed setting, one way to open a pool.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgConnection, Row as _};

use super::{Pool, Result};

pub use crate::domain::environment::DatabaseUrl;

/// How to connect as `application`, the name PostgreSQL shows in `pg_stat_activity`.
pub(super) fn options(url: &DatabaseUrl, application: &str) -> Result<PgConnectOptions> {
    // PgBouncer refuses start-up parameters it does not know, so none beyond the name is sent.
    Ok(PgConnectOptions::from_str(url.expose())?
        .application_name(application)
        .extra_float_digits(None))
}

/// Connects once and answers with why that failed, if it did.
///
/// # Errors
///
/// [`super::Error::Unavailable`] when nobody answers within 10 s; [`super::Error::Statement`] when the
/// server refuses who we are.
pub async fn reach(url: &DatabaseUrl, application: &str) -> Result<()> {
    let options = options(url, application)?;
    let connect = PgConnection::connect_with(&options);
    let connection = tokio::time::timeout(Duration::from_secs(10), connect)
        .await
        .map_err(|_| sqlx::Error::PoolTimedOut)??;
    Ok(connection.close().await?)
}

/// Bounds on every session: a lock that is not given is an error somebody sees, and a transaction nobody ends does not
/// hold back vacuum for ever. Without `jit`: statements that find rows by keys can look dear, as what has no way but a whole
/// table, or knows nothing of one yet, and to compile one takes longer than all that it does.
const BOUNDS: &str =
    "select set_config('lock_timeout', '10s', false), set_config('statement_timeout', '60s', false),
                             set_config('idle_in_transaction_session_timeout', '60s', false),
                             set_config('default_transaction_isolation', 'read committed', false),
                             set_config('timezone', 'UTC', false), set_config('jit', 'off', false)";

/// Longest that a lock is waited for by what others wait for in turn, as a gate, or the schedules that are due with this one.
pub(super) const BRIEFLY: &str = "1s";

/// What [`keyed`] sets besides.
const KEYED: &str = "select set_config('plan_cache_mode', 'force_generic_plan', false),
                            set_config('enable_seqscan', 'off', false), set_config('enable_hashjoin', 'off', false),
                            set_config('enable_mergejoin', 'off', false)";

/// A pool of at most `max` connections, opened when they are first needed: a service starts while
/// its database is away, says that it is not ready, and becomes ready by itself.
///
/// # Errors
///
/// [`super::Error::Statement`] when the URL cannot be used at all.
pub fn pool(url: &DatabaseUrl, application: &str, max: u32) -> Result<Pool> {
    open(url, application, max, &[BOUNDS])
}

/// The same for statements that are the same all day and find each row by a key: what a runner asks.
///
/// PostgreSQL would plan these anew each time, because what they are given are arrays, and takes as long for it as for
/// carrying them out; and what it plans while a table is new reads all of it until statistics exist. Here each
/// connection plans a statement once, along the keys. Not for lists, whose way depends on what is asked for, nor for what
/// joins two arrays that may be long.
///
/// # Errors
///
/// As [`pool`].
pub fn keyed(url: &DatabaseUrl, application: &str, max: u32) -> Result<Pool> {
    open(url, application, max, &[BOUNDS, KEYED])
}

/// A pool whose connections say `settings` first.
fn open(url: &DatabaseUrl, application: &str, max: u32, settings: &'static [&'static str]) -> Result<Pool> {
    let pool = PgPoolOptions::new()
        .max_connections(max)
        .acquire_timeout(Duration::from_secs(3))
        .max_lifetime(Duration::from_secs(30 * 60))
        .after_connect(move |connection, _| {
            Box::pin(async move {
                for setting in settings {
                    sqlx::query(*setting).execute(&mut *connection).await?;
                }
                Ok(())
            })
        });
    Ok(Pool::of(pool.connect_lazy_with(options(url, application)?)))
}

/// Rounds of looking whether two connections stay apart.
const LOOKS: usize = 2;

/// Whether something between us and the server lends its connections by the transaction, as PgBouncer
/// does with `pool_mode = transaction`. The driver prepares a statement and runs it in two steps; there
/// they may meet different connections, and the answer is silently that of another client's statement.
///
/// Two connections that are open at once have different server processes, and each keeps its own. Only
/// the simple protocol is used to ask, which such a pooler answers rightly.
///
/// # Errors
///
/// [`super::Error::Unavailable`] when there is no answer, or no second connection, within 10 s.
pub async fn lends_connections(pool: &Pool) -> Result<bool> {
    let look = async {
        let options = pool.connect_options();
        let mut one = PgConnection::connect_with(&options).await?;
        let mut other = PgConnection::connect_with(&options).await?;
        let (first, second) = (backend(&mut one).await?, backend(&mut other).await?);
        let mut lends = first == second;
        // The other first: a pooler that lends in turn would give each its own again.
        for _ in 0..LOOKS {
            lends |= backend(&mut other).await? != second || backend(&mut one).await? != first;
            lends |= backend(&mut one).await? != first || backend(&mut other).await? != second;
        }
        one.close().await?;
        other.close().await?;
        Ok::<_, sqlx::Error>(lends)
    };
    let looked = tokio::time::timeout(Duration::from_secs(10), look);
    Ok(looked.await.map_err(|_| sqlx::Error::PoolTimedOut)??)
}

/// The server process that answers, as it says.
async fn backend(connection: &mut PgConnection) -> sqlx::Result<String> {
    let row = sqlx::raw_sql("select pg_backend_pid()::text")
        .fetch_one(connection)
        .await?;
    row.try_get(0)
}
