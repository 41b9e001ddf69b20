//! The database: reached, of an age, ours, with the time of day and room for connections.

use super::{Check, duration, queue};
use crate::domain::clock;
use crate::domain::environment::DatabaseUrl;
use crate::store::migrate::{Fit, fit, holder};
use crate::store::{self, Pool, doctor};

/// The oldest PostgreSQL this program is tested with.
const OLDEST: i32 = 150_000;
/// How far the clocks of this host and of the server may be apart, in seconds: leases go by the server's alone,
/// but what people compare are logs.
const SKEW_SEC: f64 = 2.0;
/// How long a transaction may be open, in seconds, before it holds up tidying.
const OPEN_SEC: f64 = 600.0;
/// What mends a bound on connections that is reached, or nearly.
const FULL: &str = "raise the bound (max_connections, connection limit of database and role), lower DATABASE_MAX_CONNECTIONS, or run fewer processes";

/// A project and its directory.
pub(super) type Project = (String, String);

/// Looks at the database and at what it says of queue, runners and tokens. Answers with the projects.
pub(super) async fn look(url: &DatabaseUrl, checks: &mut Vec<Check>) -> Vec<Project> {
    if let Err(error) = store::database::reach(url, "orchestrator-doctor").await {
        let remedy =
            "is the server running, and do DATABASE_URL, pg_hba.conf and the firewall let this user in?";
        checks.push(refused(&error, remedy));
        return Vec::new();
    }
    match examine(url, checks).await {
        Ok(projects) => projects,
        Err(error) => {
            let remedy = "the server was there a moment ago; look at its log, then run doctor again";
            checks.push(refused(&error, remedy));
            Vec::new()
        }
    }
}

/// Nobody is let in where there is no room, whatever else is in order.
fn refused(error: &store::Error, remedy: &str) -> Check {
    match error.is_full() {
        true => Check::fail("connections", error.to_string(), FULL),
        false => Check::fail("database", error.to_string(), remedy),
    }
}

async fn examine(url: &DatabaseUrl, checks: &mut Vec<Check>) -> store::Result<Vec<Project>> {
    let pool = store::database::pool(url, "orchestrator-doctor", 1)?;
    if store::database::lends_connections(&pool).await? {
        checks.push(Check::fail(
            "pooler",
            "DATABASE_URL leads to a pooler that lends connections by the transaction; services refuse it",
            "set pool_mode = session for this database in PgBouncer, or connect to PostgreSQL itself",
        ));
        // What it answers may be another client's.
        return Ok(Vec::new());
    }
    server(&pool, checks).await?;
    transactions(&pool, checks).await?;
    let closed = doctor::closed_tables(&pool).await?;
    if !closed.is_empty() {
        checks.push(Check::fail(
            "role",
            format!("this role may not read and write {}", closed.join(", ")),
            "run the services as the role that migrated, or as orchestrator_app",
        ));
        return Ok(Vec::new());
    }
    let fit = fit(&pool).await?;
    checks.extend(schema(fit));
    if let Some(holder) = holder(&pool).await? {
        checks.push(Check::warn(
            "migration",
            format!("session {} holds the migration lock", holder.pid),
            "let it finish; if it hangs: orchestrator unlock",
        ));
    }
    if matches!(fit, Fit::Behind { .. }) {
        return Ok(Vec::new());
    }
    queue::look(&pool, checks).await?;
    doctor::directories(&pool).await
}

async fn server(pool: &Pool, checks: &mut Vec<Check>) -> store::Result<()> {
    // The first statement also connects.
    doctor::server(pool).await?;
    let before = clock::now();
    let server = doctor::server(pool).await?;
    let after = clock::now();
    let version = format!("PostgreSQL {}", server.version);
    checks.push(match server {
        _ if server.standby => Check::fail(
            "database",
            format!("{version}, a standby"),
            "point DATABASE_URL at the primary",
        ),
        _ if server.number < OLDEST => Check::fail("database", version, "use PostgreSQL 15 or newer"),
        _ => Check::ok("database", version),
    });
    checks.push(match server.superuser {
        true => Check::warn(
            "role",
            format!("{} is a superuser", server.role),
            "give the services a role that is none: what they do needs rows only",
        ),
        false => Check::ok("role", format!("{}, no superuser", server.role)),
    });
    if !server.careless.is_empty() {
        checks.push(Check::warn(
            "durability",
            format!("the server runs with {}", server.careless.join(", ")),
            "turn them on, unless losing accepted jobs, or growing tables, is no matter here",
        ));
    }
    checks.extend(server.encrypted.map(transport));
    let middle = before + (after - before) / 2;
    let skew = (server.clock - middle).as_seconds_f64();
    checks.push(match skew.abs() > SKEW_SEC {
        true => Check::warn(
            "clock",
            format!("the server's clock is {skew:+.1} s from this host's"),
            "run an NTP client on both; jobs go by the server's clock, logs by the host's",
        ),
        false => Check::ok("clock", "this host's clock and the server's agree"),
    });
    let room = doctor::connections(pool).await?;
    let found = format!("{} of {} connections {} are taken", room.used, room.room, room.of);
    checks.push(match room.used * 100 / room.room.max(1) {
        95.. => Check::fail("connections", found, FULL),
        80.. => Check::warn("connections", found, FULL),
        _ => Check::ok("connections", found),
    });
    Ok(())
}

/// Of a connection that leaves this host.
fn transport(encrypted: bool) -> Check {
    match encrypted {
        true => Check::ok("transport", "the connection to the server is encrypted"),
        false => Check::warn(
            "transport",
            "everybody on the way to the server can read what goes there, and change it",
            "let the server take TLS (ssl = on, hostssl in pg_hba.conf), and end DATABASE_URL with ?sslmode=verify-full",
        ),
    }
}

async fn transactions(pool: &Pool, checks: &mut Vec<Check>) -> store::Result<()> {
    let before = checks.len();
    if let Some(oldest) = doctor::oldest_transaction(pool).await?
        && oldest.age_sec > OPEN_SEC
    {
        checks.push(Check::warn(
            "transactions",
            format!(
                "session {} ({}) has had a transaction open for {}, which keeps dead rows in every table",
                oldest.pid,
                oldest.application,
                duration(oldest.age_sec)
            ),
            format!("end it: select pg_terminate_backend({})", oldest.pid),
        ));
    }
    if let Some(oldest) = doctor::oldest_prepared(pool).await?
        && oldest.age_sec > OPEN_SEC
    {
        checks.push(Check::warn(
            "transactions",
            format!(
                "transaction {} was prepared {} ago and never ended, which keeps dead rows in every table",
                oldest.name,
                duration(oldest.age_sec)
            ),
            format!(
                "end it: rollback prepared '{}', or commit it",
                oldest.name.replace('\'', "''")
            ),
        ));
    }
    if checks.len() == before {
        let found = match doctor::hidden_sessions(pool).await? {
            0 => "none is open for long".to_owned(),
            hidden => format!(
                "none is open for long, of those this role may see; {hidden} sessions of others are hidden from it"
            ),
        };
        checks.push(Check::ok("transactions", found));
    }
    Ok(())
}

/// `None` where it does not matter yet: of a standby enough was said.
fn schema(fit: Fit) -> Option<Check> {
    match fit {
        Fit::Current => Some(Check::ok("schema", "is this program's")),
        Fit::Behind { .. } => Some(Check::fail(
            "schema",
            fit.to_string(),
            "run: orchestrator migrate",
        )),
        Fit::Ahead { .. } => Some(Check::warn(
            "schema",
            fit.to_string(),
            "upgrade the program, unless this is a roll-back",
        )),
        Fit::Standby => None,
    }
}
