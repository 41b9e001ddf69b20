//! `doctor` where the server, the way to it, this host's disks or an administrator's word are not as they should be.

use assert_cmd::Command;
use orchestrator::store::{Pool, database as pools};
use sqlx::{Connection as _, PgConnection};

use super::{findings, in_order, out, says_to_people};
use crate::support::{Database, ask, scratch, tell, user_of};

/// A database whose sessions find another function than PostgreSQL's under a name: what they hear is what a server in
/// that state would say.
async fn says(pool: &Pool, function: &str) {
    let name = ask(pool, "current_database()").await;
    tell(
        pool,
        &format!(
            "create schema said; create function said.{function};
             alter database {name} set search_path = said, pg_catalog, public"
        ),
    )
    .await;
}

#[tokio::test]
async fn doctor_says_that_connections_are_nearly_and_all_taken_of_database_and_role() {
    let (database, pool) = in_order().await;
    let name = ask(&pool, "current_database()").await;
    let login = database.login(Some("orchestrator_app")).await;
    pool.close().await;
    let pool = pools::pool(&database.url, "test", 1).unwrap();
    let mut held = Vec::new();
    for _ in 0..30 {
        held.push(PgConnection::connect(login.expose()).await.unwrap());
    }
    // Thirty, this test's one, doctor's one, and at most one of doctor's that is just ending.
    let limits = [(60, ""), (38, "warn connections"), (33, "fail connections")];
    for (limit, finding) in limits {
        let statement = format!("alter database {name} connection limit {limit}");
        tell(&pool, &statement).await;
        let expected: &[&str] = if finding.is_empty() { &[] } else { &[finding] };
        assert_eq!(findings(&database), expected, "{limit}");
    }
    tell(&pool, &format!("alter database {name} connection limit -1")).await;
    // Nobody of this role is let in any more, which is no reason to look at the firewall.
    tell(
        &pool,
        &format!("alter role {} connection limit 30", user_of(&login)),
    )
    .await;
    let said = says_to_people(login.expose());
    assert!(
        said.contains("FAIL  connections")
            && said.contains("(SQLSTATE 53300)")
            && said.contains("raise the bound"),
        "{said}"
    );
    assert!(!said.contains("firewall"), "{said}");
    tell(
        &pool,
        &format!("alter role {} connection limit 36", user_of(&login)),
    )
    .await;
    let said = says_to_people(login.expose());
    assert!(
        said.contains("WARN  connections") && said.contains("of 36 connections of role login_"),
        "{said}"
    );
}

#[tokio::test]
async fn doctor_names_the_session_that_has_had_a_transaction_open_for_ten_minutes() {
    let (database, pool) = in_order().await;
    let mut forgotten = PgConnection::connect(database.url.expose()).await.unwrap();
    sqlx::raw_sql("set application_name = 'analyst'; begin; select count(*) from job")
        .execute(&mut forgotten)
        .await
        .unwrap();
    // The transaction is of now. The clock that its age is reckoned by goes on: by nine minutes, then by eleven.
    says(&pool, &clock_on(9)).await;
    assert_eq!(findings(&database), [""; 0]);
    tell(
        &pool,
        &format!("create or replace function said.{}", clock_on(11)),
    )
    .await;
    assert_eq!(findings(&database), ["warn transactions"]);
    let said = says_to_people(database.url.expose());
    assert!(
        said.contains("(analyst) has had a transaction open for 11 min"),
        "{said}"
    );
    let pid = ask(
        &pool,
        "select pid from pg_stat_activity where datname = current_database() and application_name = 'analyst'",
    )
    .await;
    assert!(
        said.contains(&format!("select pg_terminate_backend({pid})")),
        "{said}"
    );
    // A login of the services sees its own sessions only, and says so instead of calling it well.
    let login = database.login(Some("orchestrator_app")).await;
    let said = says_to_people(login.expose());
    assert!(
        said.contains("OK    transactions") && said.contains("sessions of others are hidden from it"),
        "{said}"
    );
}

/// `now()`, so many minutes later.
fn clock_on(minutes: u32) -> String {
    format!(
        "now() returns timestamptz stable language sql as $$ select pg_catalog.now() + interval '{minutes} minutes' $$"
    )
}

#[tokio::test]
async fn doctor_fails_for_a_postgresql_that_is_older_than_the_program_is_tested_with() {
    let (database, pool) = in_order().await;
    let version = |number: u32, name: &str| {
        format!(
            "current_setting(text) returns text stable language sql as $$ select case $1 when 'server_version_num' then '{number}'
             when 'server_version' then '{name}' else pg_catalog.current_setting($1) end $$"
        )
    };
    says(&pool, &version(140_019, "14.19")).await;
    assert_eq!(findings(&database), ["fail database"]);
    let said = says_to_people(database.url.expose());
    assert!(
        said.contains("FAIL  database      PostgreSQL 14.19") && said.contains("use PostgreSQL 15 or newer"),
        "{said}"
    );
    tell(
        &pool,
        &format!("create or replace function said.{}", version(150_000, "15.0")),
    )
    .await;
    assert_eq!(findings(&database), [""; 0]);
}

#[tokio::test]
async fn doctor_warns_of_a_way_to_the_server_that_others_can_read() {
    let (database, pool) = in_order().await;
    let from = |address: &str| {
        format!("inet_client_addr() returns inet stable language sql as $$ select inet '{address}' $$")
    };
    says(&pool, &from("127.0.0.5")).await;
    assert_eq!(findings(&database), [""; 0]);
    tell(
        &pool,
        &format!("create or replace function said.{}", from("10.0.0.5")),
    )
    .await;
    assert_eq!(findings(&database), ["warn transport"]);
}

/// What doctor says where the directory that `setting` names has no room left, and there is no sandbox.
fn on_a_full_disk(database: &Database, setting: &str) -> String {
    let (directory, other) = (scratch(), scratch());
    // A file system of a megabyte, seen by this one process alone, with a byte and then no room left.
    let mut command = Command::new("unshare");
    let script = "mount -t tmpfs -o size=1m full \"$1\" && head -c 1040000 /dev/zero >\"$1/file\" && exec \"$2\" doctor";
    command
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .arg(directory.as_os_str())
        .arg(env!("CARGO_BIN_EXE_orchestrator"))
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
        .env("DATABASE_URL", database.url.expose())
        .env("WORKSPACES_ROOT", other.as_os_str())
        .env("ARTIFACTS_ROOT", other.as_os_str())
        .env(setting, directory.as_os_str())
        .env("SANDBOX_WRAPPER", "/no/such/bwrap");
    out(command, 2)
}

#[tokio::test]
async fn doctor_names_projects_without_a_sandbox_and_budgets_near_their_end() {
    let (database, pool) = in_order().await;
    tell(&pool, "update project set sandbox = false").await;
    let said = says_to_people(database.url.expose());
    assert!(
        said.contains("WARN  sandbox       steps of demo run without a sandbox")
            && said.contains("orchestrator project set ALIAS --sandbox on"),
        "{said}"
    );
    tell(
        &pool,
        "update project set max_daily_calls = 10, max_daily_cost_usd = 5;
         insert into spending select (now() at time zone 'UTC')::date, 'project', id::text, 7, 3999999 from project;
         insert into spending select (now() at time zone 'UTC')::date - 1, 'project', id::text, 10, 5000000 from project",
    )
    .await;
    assert_eq!(findings(&database), [""; 0]);
    tell(&pool, "update spending set calls = 8, micro_usd = 5200000").await;
    assert_eq!(findings(&database), ["warn budgets", "warn budgets"]);
    let said = says_to_people(database.url.expose());
    assert!(
        said.contains("project demo has spent 8 of 10 calls of today (80 %)")
            && said.contains("project demo has spent 5.2 of 5 USD of today (104 %)"),
        "{said}"
    );
}

#[tokio::test]
async fn doctor_says_that_the_disk_of_artifacts_is_full_too() {
    let (database, _pool) = in_order().await;
    let said = on_a_full_disk(&database, "ARTIFACTS_ROOT");
    assert!(
        said.contains("FAIL  disk") && said.contains("OK    directories   WORKSPACES_ROOT"),
        "{said}"
    );
}

#[tokio::test]
async fn doctor_says_that_the_disk_is_full_and_that_there_is_no_sandbox() {
    let (database, _pool) = in_order().await;
    let said = on_a_full_disk(&database, "WORKSPACES_ROOT");
    assert!(
        said.contains("FAIL  disk") && said.contains("make room"),
        "{said}"
    );
    assert!(
        said.contains("FAIL  sandbox") && said.contains("install bubblewrap"),
        "{said}"
    );
}
