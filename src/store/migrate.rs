//! Migrations: the files of `migrations/`, applied by refinery over our own driver.

use std::time::Duration;

use refinery_core::traits::r#async::{AsyncMigrate, AsyncQuery, AsyncTransaction};
use refinery_core::{Migration, Runner, Target};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::database::{DatabaseUrl, options};
use super::doctor::Backend;
use super::roles::{self, Standing};
use super::{Executor, Result};

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// Held while migrations run, so that any number of starts at once apply each file once.
/// The number is arbitrary and must only stay the same: "orch" in ASCII.
const LOCK: i64 = 0x6f72_6368;

/// SQLSTATEs of a lock that was not given in time, and of one given up so that others go on.
const LOCK_REFUSED: [&str; 2] = ["55P03", "40P01"];

/// SQLSTATE of a table that does not exist.
const UNDEFINED_TABLE: &str = "42P01";

/// Migrations could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database could not be reached, or refused the lock.
    #[error(transparent)]
    Store(#[from] super::Error),
    /// Somebody holds a table for longer than a migration may keep everybody else waiting behind it.
    #[error(
        "another session holds a table that a migration needs, and it was not given within {0:?}; the file was not applied, and \
         nothing waits for it. Run `orchestrator migrate` again; if it stays so, look who holds it: select pid, state, xact_start, \
         query from pg_stat_activity where xact_start < now() - interval '10 seconds'"
    )]
    Locked(Duration),
    /// A file failed, or an applied file is not the one this program carries.
    #[error("{}", chain(.0))]
    Migration(#[source] refinery::Error),
}

/// How long a migration waits for a table that others use, unless it is said otherwise. Longer than `deadlock_timeout`, a
/// second, after which an automatic vacuum gives way to who waits for it.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// [`migrate_within`] the usual patience.
///
/// # Errors
///
/// As there.
pub async fn migrate(url: &DatabaseUrl) -> std::result::Result<Migrated, Error> {
    migrate_within(url, PATIENCE).await
}

/// What a migration did.
#[derive(Clone, Debug)]
pub struct Migrated {
    /// The files that were applied.
    pub files: Vec<String>,
    /// How the database's roles stand now.
    pub roles: Standing,
}

/// Applies what is missing, and grants the roles what is theirs.
///
/// Safe to run at once from anywhere: the second waits for the first and finds nothing to do. Safe under
/// load: a statement that is not given its lock within `patience` gives up, instead of keeping
/// everybody waiting behind it.
///
/// # Errors
///
/// [`Error::Store`] when the database is away, [`Error::Locked`] when somebody holds a table, [`Error::Migration`] with
/// the cause when a file fails; each file is one transaction, so what was applied before it stays and the rest is not begun.
pub async fn migrate_within(url: &DatabaseUrl, patience: Duration) -> std::result::Result<Migrated, Error> {
    let options = options(url, "orchestrator-migrate")?;
    let connection = PgConnection::connect_with(&options)
        .await
        .map_err(super::Error::from)?;
    let mut session = Session(connection);
    sqlx::query!("select pg_advisory_lock($1)", LOCK)
        .execute(&mut session.0)
        .await
        .map_err(super::Error::from)?;
    // The lock ends with the session, whatever happens.
    let applied = apply(&mut session, patience).await.map_err(|error| match error {
        Error::Store(super::Error::Unavailable(cause)) if is_locked(&cause) => Error::Locked(patience),
        Error::Migration(cause) if refused_a_lock(&cause) => Error::Locked(patience),
        other => other,
    })?;
    session.0.close().await.map_err(super::Error::from)?;
    Ok(applied)
}

/// Brings an empty database to the schema of an older program, whose last file had that number.
///
/// # Errors
///
/// As [`migrate_within`].
pub async fn migrate_up_to(url: &DatabaseUrl, version: i32) -> std::result::Result<(), Error> {
    let options = options(url, "orchestrator-migrate")?;
    let connection = PgConnection::connect_with(&options)
        .await
        .map_err(super::Error::from)?;
    let mut session = Session(connection);
    roles::prepare(&mut session.0).await?;
    let target = Target::Version(version);
    runner()
        .set_target(target)
        .run_async(&mut session)
        .await
        .map_err(Error::Migration)?;
    Ok(session.0.close().await.map_err(super::Error::from)?)
}

async fn apply(session: &mut Session, patience: Duration) -> std::result::Result<Migrated, Error> {
    // Waiting for another migration is right; waiting for a table is not.
    let milliseconds = format!("{}ms", patience.as_millis());
    sqlx::query_scalar!("select set_config('lock_timeout', $1, false)", milliseconds)
        .fetch_one(&mut session.0)
        .await
        .map_err(super::Error::from)?;
    roles::prepare(&mut session.0).await?;
    let report = runner().run_async(session).await.map_err(Error::Migration)?;
    let files = report
        .applied_migrations()
        .iter()
        .map(ToString::to_string)
        .collect();
    let roles = roles::grant(&mut session.0).await?;
    Ok(Migrated { files, roles })
}

/// Whether somewhere in the chain PostgreSQL said that a lock was not given in time.
fn refused_a_lock(error: &refinery::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if error.downcast_ref::<sqlx::Error>().is_some_and(is_locked) {
            return true;
        }
        cause = error.source();
    }
    false
}

fn is_locked(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(answer) = error else {
        return false;
    };
    answer.code().is_some_and(|code| LOCK_REFUSED.contains(&&*code))
}

/// The session that migrates now, if any does.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn holder(db: impl Executor<'_>) -> Result<Option<Backend>> {
    // A key of 64 bits is shown in two halves, and `objsubid` says that it was one.
    let row = sqlx::query_as!(
        Backend,
        r#"
        select pg_locks.pid as "pid!", coalesce(application_name, '') as "application!", coalesce(host(client_addr), '') as "client!",
               extract(epoch from now() - coalesce(backend_start, now()))::double precision as "age_sec!"
          from pg_locks left join pg_stat_activity using (pid)
         where locktype = 'advisory' and granted and objsubid = 1
           and pg_locks.database = (select oid from pg_database where datname = current_database())
           and (classid::bigint << 32) | objid::bigint = $1
        "#,
        LOCK,
    )
    .fetch_optional(db)
    .await?;
    Ok(row)
}

/// Ends a session of the server; answers whether there was one to end.
///
/// # Errors
///
/// [`super::Error::Statement`] when the session is of a role that ours may not end.
pub async fn end_session(db: impl Executor<'_>, pid: i32) -> Result<bool> {
    let ended = sqlx::query_scalar!(r#"select pg_terminate_backend($1) as "ended!""#, pid)
        .fetch_one(db)
        .await?;
    Ok(ended)
}

/// How the database's schema stands to this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// The schema is this program's.
    Current,
    /// Files of this program are missing there.
    Behind {
        /// The last file applied; 0 when none is.
        database: i32,
        /// The last file of this program.
        program: i32,
    },
    /// The database was migrated by a newer program.
    Ahead {
        /// The last file applied.
        database: i32,
        /// The last file of this program.
        program: i32,
    },
    /// The server is a copy of another, which alone takes writes.
    Standby,
}

impl std::fmt::Display for Fit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Current => f.write_str("the schema is current"),
            Self::Behind { database, program } => write!(
                f,
                "the database's schema is at version {database}, this program needs {program}: run `orchestrator migrate`"
            ),
            Self::Ahead { database, program } => write!(
                f,
                "the database's schema is at version {database}, newer than this program's {program}: upgrade the program"
            ),
            Self::Standby => f.write_str(
                "the server is a standby, which takes no writes: point DATABASE_URL at the primary",
            ),
        }
    }
}

/// Compares the database's schema with this program's.
///
/// # Errors
///
/// [`super::Error::Unavailable`] when the database is away.
pub async fn fit(db: impl Executor<'_>) -> Result<Fit> {
    // The table is refinery's and does not exist before the first migration, so this is no macro.
    let answer = sqlx::query_as("select max(version), pg_is_in_recovery() from refinery_schema_history")
        .fetch_one(db)
        .await;
    let database = match answer {
        Ok((_, true)) => return Ok(Fit::Standby),
        Ok((version, false)) => Option::<i32>::unwrap_or_default(version),
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(UNDEFINED_TABLE) => 0,
        Err(error) => return Err(error.into()),
    };
    let program = runner()
        .get_migrations()
        .iter()
        .map(Migration::version)
        .max()
        .unwrap_or_default();
    Ok(match database.cmp(&program) {
        std::cmp::Ordering::Less => Fit::Behind { database, program },
        std::cmp::Ordering::Equal => Fit::Current,
        std::cmp::Ordering::Greater => Fit::Ahead { database, program },
    })
}

/// A file newer than this program is no fault here: `fit` reports it. A changed or lost one is.
fn runner() -> Runner {
    embedded::migrations::runner().set_abort_missing(false)
}

/// refinery's message hides the cause; people need the whole chain.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// A connection lent to refinery.
struct Session(PgConnection);

impl AsyncTransaction for Session {
    type Error = sqlx::Error;

    async fn execute<'a, T: Iterator<Item = &'a str> + Send + 'a>(
        &'a mut self,
        queries: T,
    ) -> std::result::Result<usize, sqlx::Error> {
        // Sent as text: `begin` and `commit` here are refinery's transaction, one a file.
        let mut done = 0;
        sqlx::raw_sql("begin").execute(&mut self.0).await?;
        for query in queries {
            sqlx::raw_sql(AssertSqlSafe(query.to_owned()))
                .execute(&mut self.0)
                .await?;
            done += 1;
        }
        sqlx::raw_sql("commit").execute(&mut self.0).await?;
        Ok(done)
    }
}

impl AsyncQuery<Vec<Migration>> for Session {
    async fn query<'a>(&'a mut self, query: &'a str) -> std::result::Result<Vec<Migration>, sqlx::Error> {
        let rows = sqlx::raw_sql(AssertSqlSafe(query.to_owned()))
            .fetch_all(&mut self.0)
            .await?;
        rows.iter().map(applied).collect()
    }
}

impl AsyncMigrate for Session {}

fn applied(row: &sqlx::postgres::PgRow) -> std::result::Result<Migration, sqlx::Error> {
    let broken = |error: String| sqlx::Error::Decode(format!("refinery_schema_history: {error}").into());
    let on: String = row.try_get(2)?;
    let on = OffsetDateTime::parse(&on, &Rfc3339).map_err(|error| broken(error.to_string()))?;
    let checksum: String = row.try_get(3)?;
    let checksum = checksum
        .parse()
        .map_err(|error: std::num::ParseIntError| broken(error.to_string()))?;
    Ok(Migration::applied(row.try_get(0)?, row.try_get(1)?, on, checksum))
}
