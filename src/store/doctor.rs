//! What an operator wants to know when something seems wrong, each question one statement.

pub mod spending;

use chrono::{DateTime, Utc};

use super::{Executor, Result};
use crate::domain::id::RunnerId;

/// The server and who we are there.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its version, as it says it.
    pub version: String,
    /// Its version as a number, 150004 for 15.4.
    pub number: i32,
    /// Our role.
    pub role: String,
    /// Whether that role may do everything.
    pub superuser: bool,
    /// Whether the server takes no writes.
    pub standby: bool,
    /// Settings that give up what was committed, or tidying up, as `fsync=off`.
    pub careless: Vec<String>,
    /// Whether our connection is encrypted; `None` where it does not leave this host.
    pub encrypted: Option<bool>,
    /// Its clock.
    pub clock: DateTime<Utc>,
}

/// Asks the server about itself.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn server(db: impl Executor<'_>) -> Result<Server> {
    let row = sqlx::query!(
        r#"
        select current_setting('server_version') as "version!",
               current_setting('server_version_num')::integer as "number!",
               current_user::text as "role!",
               (select rolsuper from pg_roles where rolname = current_user) as "superuser!",
               pg_is_in_recovery() as "standby!",
               array(select name || '=' || setting from pg_settings
                      where name in ('fsync', 'synchronous_commit', 'autovacuum', 'full_page_writes') and setting = 'off'
                      order by name) as "careless!",
               case when inet_client_addr() is not null and not inet_client_addr() <<= any (array['127.0.0.0/8', '::1']::inet[])
                    then (select ssl from pg_stat_ssl where pid = pg_backend_pid()) end as "encrypted?",
               clock_timestamp() as "clock!"
        "#
    )
    .fetch_one(db)
    .await?;
    Ok(Server {
        version: row.version,
        number: row.number,
        role: row.role,
        superuser: row.superuser,
        standby: row.standby,
        careless: row.careless,
        encrypted: row.encrypted,
        clock: row.clock,
    })
}

/// A bound on connections, and how much of it is used.
#[derive(Clone, Debug)]
pub struct Room {
    /// What has the bound: the server, this database or our role.
    pub of: String,
    /// How many there may be.
    pub room: i64,
    /// How many there are.
    pub used: i64,
}

/// The bound on connections that is nearest to being reached, of those that hold for ordinary roles.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn connections(db: impl Executor<'_>) -> Result<Room> {
    let room = sqlx::query_as!(
        Room,
        r#"
        with client as (
            -- Of other roles' sessions the kind is hidden; what is the server's own has no role, or no database.
            select datname, usename from pg_stat_activity
             where backend_type = 'client backend' or (backend_type is null and usesysid is not null and datid is not null)
        ), bound (of, room, used) as (
            select 'of the server', current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint
                       -- From PostgreSQL 16 on some may be kept for others.
                       - coalesce(current_setting('reserved_connections', true), '0')::bigint,
                   (select count(*) from client)
             union all
            select 'of this database', datconnlimit, (select count(*) from client where datname = current_database())
              from pg_database where datname = current_database() and datconnlimit >= 0
             union all
            select 'of role ' || rolname, rolconnlimit, (select count(*) from client where usename = current_user)
              from pg_roles where rolname = current_user and rolconnlimit >= 0
        )
        select of as "of!", room as "room!", used as "used!" from bound
         order by used::numeric / greatest(room, 1) desc limit 1
        "#
    )
    .fetch_one(db)
    .await?;
    Ok(room)
}

/// Tables of ours that are there and that our role may not use as services do.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn closed_tables(db: impl Executor<'_>) -> Result<Vec<String>> {
    let tables = sqlx::query_scalar!(
        r#"
        select name as "name!" from unnest(array['job', 'job_spec', 'attempt', 'step', 'log', 'runner', 'event']) as name
         where to_regclass(name) is not null and not (has_table_privilege(to_regclass(name), 'select') and has_table_privilege(to_regclass(name), 'insert'))
         union all
        select name from unnest(array['refinery_schema_history']) as name
         where to_regclass(name) is not null and not has_table_privilege(to_regclass(name), 'select')
        "#
    )
    .fetch_all(db)
    .await?;
    Ok(tables)
}

/// A session of this database, by how PostgreSQL shows it.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Its process on the server.
    pub pid: i32,
    /// What it calls itself.
    pub application: String,
    /// Where it comes from; empty for a local socket.
    pub client: String,
    /// How long its transaction, or its session where it has none, is open, in seconds.
    pub age_sec: f64,
}

/// How many sessions of this database belong to roles whose transactions ours may not see.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn hidden_sessions(db: impl Executor<'_>) -> Result<i64> {
    let hidden = sqlx::query_scalar!(
        r#"
        select count(*) as "hidden!" from pg_stat_activity
         -- Who may not see a session is told neither its kind nor its transaction.
         where datname = current_database() and usesysid is not null and backend_type is null
        "#
    )
    .fetch_one(db)
    .await?;
    Ok(hidden)
}

/// A transaction that was prepared for a commit in two phases, and how long ago, in seconds. No session
/// holds it: it stays through restarts until somebody ends it.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// What its maker called it.
    pub name: String,
    /// How long ago.
    pub age_sec: f64,
}

/// The oldest prepared transaction of this database.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn oldest_prepared(db: impl Executor<'_>) -> Result<Option<Prepared>> {
    let row = sqlx::query_as!(
        Prepared,
        r#"
        select gid as "name!", extract(epoch from now() - prepared)::double precision as "age_sec!"
          from pg_prepared_xacts where database = current_database() order by prepared limit 1
        "#
    )
    .fetch_optional(db)
    .await?;
    Ok(row)
}

/// The session whose transaction is open for longest, of those we may see. What it can still see
/// cannot be tidied up.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn oldest_transaction(db: impl Executor<'_>) -> Result<Option<Backend>> {
    let row = sqlx::query_as!(
        Backend,
        r#"
        select pid as "pid!", coalesce(application_name, '') as "application!", coalesce(host(client_addr), '') as "client!",
               extract(epoch from now() - xact_start)::double precision as "age_sec!"
          from pg_stat_activity
         where datname = current_database() and xact_start is not null and backend_type = 'client backend'
           and pid <> pg_backend_pid()
         order by xact_start
         limit 1
        "#
    )
    .fetch_optional(db)
    .await?;
    Ok(row)
}

/// Jobs that could be claimed, by what a runner must have for them.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// The queue.
    pub queue: String,
    /// The label a runner must have; empty for any.
    pub label: String,
    /// How many.
    pub jobs: i64,
    /// How long the oldest has waited, in seconds.
    pub oldest_sec: f64,
    /// Whether an operator paused the queue.
    pub paused: bool,
    /// Whether a runner lives that claims them.
    pub served: bool,
}

/// What waits to be claimed.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn waiting(db: impl Executor<'_>) -> Result<Vec<Waiting>> {
    let rows = sqlx::query_as!(
        Waiting,
        r#"
        select waiting.queue as "queue!", waiting.runs_on as "label!", waiting.jobs as "jobs!",
               extract(epoch from now() - waiting.since)::double precision as "oldest_sec!",
               coalesce(queue.paused_at is not null, false) as "paused!",
               exists (select from runner
                        where runner.ended_at is null and runner.lease_expires_at > now() and runner.drain_asked_at is null
                          and waiting.queue = any (runner.queues)
                          and (waiting.runs_on = '' or waiting.runs_on = any (runner.labels))) as "served!"
          from (select job.queue, job.runs_on, count(*) as jobs, min(job.run_at) as since
                  from job where job.state = 'available' group by 1, 2) as waiting
               left join queue on queue.name = waiting.queue
         order by 1, 2
        "#
    )
    .fetch_all(db)
    .await?;
    Ok(rows)
}

/// What a scheduler should have done.
#[derive(Clone, Debug)]
pub struct Overdue {
    /// Jobs that are due and not available, for more than a minute.
    pub jobs: i64,
    /// Schedules whose instant passed undecided, more than a minute ago.
    pub schedules: i64,
}

/// Counts what no scheduler did in time.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn overdue(db: impl Executor<'_>) -> Result<Overdue> {
    let row = sqlx::query_as!(
        Overdue,
        r#"
        select (select count(*) from job
                 where state = 'scheduled' and gate is null and run_at < now() - interval '1 minute') as "jobs!",
               (select count(*) from schedule
                 where paused_at is null and next_due_at < now() - interval '1 minute') as "schedules!"
        "#
    )
    .fetch_one(db)
    .await?;
    Ok(row)
}

/// A runner session that was not ended and whose lease has passed.
#[derive(Clone, Debug)]
pub struct Lost {
    /// The session.
    pub id: RunnerId,
    /// What the operator calls it.
    pub instance: String,
    /// Its host.
    pub host: String,
    /// Jobs it still holds.
    pub jobs: i64,
}

/// The sessions that vanished.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn lost_runners(db: impl Executor<'_>) -> Result<Vec<Lost>> {
    let rows = sqlx::query!(
        r#"
        select id, instance, host,
               (select count(*) from job where job.runner_id = runner.id and job.state = 'running') as "jobs!"
          from runner
         where ended_at is null and lease_expires_at <= now()
         order by id
        "#
    )
    .fetch_all(db)
    .await?;
    let lost = rows.into_iter().map(|row| Lost {
        id: RunnerId(row.id),
        instance: row.instance,
        host: row.host,
        jobs: row.jobs,
    });
    Ok(lost.collect())
}

/// A token somebody should look at.
#[derive(Clone, Debug)]
pub struct OddToken {
    /// What people call it.
    pub name: String,
    /// The beginning of its secret.
    pub prefix: String,
    /// `expired`, `expires` within two weeks, or `unused` for three months.
    pub why: String,
    /// When it expires.
    pub expires_at: Option<DateTime<Utc>>,
}

/// How many tokens are good, and those to look at.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn tokens(db: impl Executor<'_> + Copy) -> Result<(i64, Vec<OddToken>)> {
    let good = sqlx::query_scalar!(
        r#"select count(*) as "good!" from token where revoked_at is null and (expires_at is null or expires_at > now())"#
    )
    .fetch_one(db)
    .await?;
    let odd = sqlx::query_as!(
        OddToken,
        r#"
        select name, prefix, why as "why!", expires_at
          from (select token.*, case when expires_at <= now() then 'expired'
                                     when expires_at < now() + interval '14 days' then 'expires'
                                     when coalesce(last_used_at, created_at) < now() - interval '90 days' then 'unused'
                                end as why
                  from token where revoked_at is null) as token
         where why is not null
         order by expires_at, name
        "#
    )
    .fetch_all(db)
    .await?;
    Ok((good, odd))
}

/// Callbacks somebody should look at.
#[derive(Clone, Copy, Debug)]
pub struct Callbacks {
    /// On their way.
    pub pending: i64,
    /// Due for more than five minutes: nobody tries them.
    pub stuck: i64,
    /// Tried five times and more, and not yet given up.
    pub failing: i64,
    /// Given up within a day.
    pub dead: i64,
}

/// How callbacks do.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn callbacks(db: impl Executor<'_>) -> Result<Callbacks> {
    let row = sqlx::query_as!(
        Callbacks,
        r#"
        select count(*) filter (where state = 'pending') as "pending!",
               count(*) filter (where state = 'pending' and due_at < now() - interval '5 minutes') as "stuck!",
               count(*) filter (where state = 'pending' and tries >= 5) as "failing!",
               count(*) filter (where state = 'dead' and finished_at > now() - interval '1 day') as "dead!"
          from delivery
        "#
    )
    .fetch_one(db)
    .await?;
    Ok(row)
}

/// Aliases and directories of all projects.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn directories(db: impl Executor<'_>) -> Result<Vec<(String, String)>> {
    let rows = sqlx::query!("select alias, directory from project order by alias")
        .fetch_all(db)
        .await?;
    Ok(rows.into_iter().map(|row| (row.alias, row.directory)).collect())
}
