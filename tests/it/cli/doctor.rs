//! `doctor`, `recover`, `unlock`, `config`, `completions`: against databases in good and bad order.

use assert_cmd::Command;
use orchestrator::store::{Pool, database as pools, project};
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};

use crate::support::{Database, ask, database, empty_database, scratch, tell, until, user_of};

fn orchestrator(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orchestrator"));
    command
        .args(arguments)
        .env_clear()
        .env("DATABASE_URL", url)
        .env("PATH", "/usr/local/bin:/usr/bin:/bin");
    command
}

fn out(mut command: Command, code: i32) -> String {
    String::from_utf8(command.assert().code(code).get_output().stdout.clone()).unwrap()
}

/// A database with a project, a runner that lives and a token, on a server that is in order but for `fsync`.
async fn in_order() -> (Database, Pool) {
    let database = database().await;
    let pool = database.pool();
    let directory = env!("CARGO_MANIFEST_DIR");
    project::put(&pool, "demo", directory, "administrator")
        .await
        .unwrap();
    runner(&pool, 1, "interval '1 hour'").await;
    tell(
        &pool,
        "insert into token (id, name, prefix, hash, scopes) values
         (gen_random_uuid(), 'good', 'orc_good', sha256('good'), '{read}')",
    )
    .await;
    (database, pool)
}

/// A session whose lease passes in `left`.
async fn runner(pool: &Pool, number: u8, left: &str) {
    tell(
        pool,
        &format!(
            "insert into runner (id, instance, host, pid, version, slots, queues, lease_expires_at)
             values ('01934f5a-0000-7000-8000-00000000000{number}', 'r{number}', 'host', 1, '1', 2, '{{default}}', now() + {left})"
        ),
    )
    .await;
}

async fn job(pool: &Pool, columns: &str, values: &str) {
    tell(
        pool,
        &format!(
            "insert into job (id, project_id, queue, priority, max_attempts, {columns})
             select gen_random_uuid(), id, 'default', 0, 3, {values} from project"
        ),
    )
    .await;
}

/// What doctor says to people.
fn says_to_people(url: &str) -> String {
    let workspaces = scratch();
    let mut command = orchestrator(url, &["doctor"]);
    command
        .env("SANDBOX", "off")
        .env("WORKSPACES_ROOT", workspaces.to_str().unwrap());
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

/// What doctor finds that is not in order, as `verdict name`, sorted; and its exit code is the worst's.
fn findings(database: &Database) -> Vec<String> {
    let workspaces = scratch();
    let mut command = orchestrator(database.url.expose(), &["doctor", "--json"]);
    command
        .env("SANDBOX", "off")
        .env("WORKSPACES_ROOT", workspaces.to_str().unwrap());
    let output = command.output().unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let code = match said["verdict"].as_str().unwrap() {
        "ok" => 0,
        "warn" => 1,
        _ => 2,
    };
    assert_eq!(output.status.code(), Some(code));
    let mut findings: Vec<String> = said["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["verdict"] != "ok")
        // These speak of the machine the tests run on, and of their server.
        .filter(|check| {
            !["user", "role", "durability", "disk", "sandbox", "programs"]
                .contains(&check["name"].as_str().unwrap())
        })
        .map(|check| {
            assert!(check["remedy"].is_string(), "{check} names no remedy");
            let word = |key: &str| check[key].as_str().unwrap().to_owned();
            format!("{} {}", word("verdict"), word("name"))
        })
        .collect();
    findings.sort();
    findings
}

#[tokio::test]
async fn doctor_finds_nothing_where_all_is_in_order() {
    let (database, _pool) = in_order().await;
    assert_eq!(findings(&database), [""; 0]);
}

#[tokio::test]
async fn doctor_names_each_thing_that_is_wrong_in_the_tables() {
    let (database, pool) = in_order().await;
    job(
        &pool,
        "state, run_at",
        "'available', now() - interval '10 minutes'",
    )
    .await;
    assert_eq!(findings(&database), ["warn queue"]);
    // The only runner vanishes: nobody claims what waits.
    tell(
        &pool,
        "update runner set lease_expires_at = now() - interval '1 minute'",
    )
    .await;
    assert_eq!(
        findings(&database),
        ["fail queue", "warn runners", "warn runners"]
    );
    runner(&pool, 2, "interval '1 hour'").await;
    tell(&pool, "delete from job").await;
    tell(
        &pool,
        "insert into queue (name, paused_at) values ('default', now())",
    )
    .await;
    job(&pool, "state, run_at", "'available', now()").await;
    assert_eq!(findings(&database), ["warn queue", "warn runners"]);
    tell(&pool, "delete from runner where instance = 'r1'").await;
    job(
        &pool,
        "state, run_at",
        "'scheduled', now() - interval '2 minutes'",
    )
    .await;
    assert_eq!(findings(&database), ["fail scheduler", "warn queue"]);
    tell(&pool, "delete from job").await;
    tell(
        &pool,
        "insert into token (id, name, prefix, hash, scopes, created_at, expires_at) values
         (gen_random_uuid(), 'soon', 'orc_soon', sha256('a'), '{read}', now(), now() + interval '2 days'),
         (gen_random_uuid(), 'over', 'orc_over', sha256('b'), '{read}', now(), now() - interval '2 days'),
         (gen_random_uuid(), 'idle', 'orc_idle', sha256('c'), '{read}', now() - interval '1 year', null)",
    )
    .await;
    tell(
        &pool,
        "insert into project (id, alias, directory) values (gen_random_uuid(), 'gone', '/no/such')",
    )
    .await;
    assert_eq!(
        findings(&database),
        ["warn projects", "warn tokens", "warn tokens", "warn tokens"]
    );
}

#[tokio::test]
async fn doctor_says_that_callbacks_are_stuck_failing_and_given_up() {
    let (database, pool) = in_order().await;
    job(
        &pool,
        "state, run_at, attempt, started_at, finished_at",
        "'succeeded', now(), 1, now(), now()",
    )
    .await;
    let callback = async |columns: &str, values: &str| {
        let statement = format!(
            "insert into delivery (id, project_id, job_id, url, authority, body, {columns})
             select gen_random_uuid(), project_id, id, 'https://ci.example.com/', 'ci.example.com', '{{}}', {values} from job"
        );
        tell(&pool, &statement).await;
    };
    // These are as they should be: delivered, just due, and waiting for their second try.
    callback("state, finished_at, tries, attempts", "'delivered', now(), 1, 1").await;
    callback("due_at", "now()").await;
    callback("due_at, tries, attempts", "now() + interval '1 minute', 1, 1").await;
    assert_eq!(findings(&database), [""; 0]);
    callback("due_at", "now() - interval '6 minutes'").await;
    assert_eq!(findings(&database), ["fail callbacks"]);
    tell(&pool, "update delivery set due_at = now() + interval '1 hour', tries = 5, attempts = 5 where state = 'pending'").await;
    assert_eq!(findings(&database), ["warn callbacks"]);
    tell(
        &pool,
        "update delivery set state = 'dead', finished_at = now() - interval '1 hour' where state = 'pending'",
    )
    .await;
    assert_eq!(findings(&database), ["warn callbacks"]);
    // Of yesterday's, somebody has been told.
    tell(
        &pool,
        "update delivery set finished_at = now() - interval '2 days' where state = 'dead'",
    )
    .await;
    assert_eq!(findings(&database), [""; 0]);
}

#[tokio::test]
async fn doctor_says_that_the_clocks_differ_and_that_somebody_migrates() {
    let (database, pool) = in_order().await;
    let name = ask(&pool, "current_database()").await;
    // A server whose clock goes an hour ahead, as everybody who asks it sees.
    tell(
        &pool,
        &format!(
            "create schema ahead;
             create function ahead.clock_timestamp() returns timestamptz language sql as $$ select pg_catalog.clock_timestamp() + interval '1 hour' $$;
             alter database {name} set search_path = ahead, pg_catalog, public"
        ),
    )
    .await;
    assert_eq!(findings(&database), ["warn clock"]);
    tell(&pool, &format!("alter database {name} reset search_path")).await;
    let mut migrating = PgConnection::connect(database.url.expose()).await.unwrap();
    sqlx::raw_sql("select pg_advisory_lock(1869767528)")
        .execute(&mut migrating)
        .await
        .unwrap();
    assert_eq!(findings(&database), ["warn migration"]);
}

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

#[tokio::test]
async fn doctor_says_that_the_disk_is_full_and_that_there_is_no_sandbox() {
    let (database, _pool) = in_order().await;
    let directory = scratch();
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
        .env("WORKSPACES_ROOT", directory.as_os_str())
        .env("SANDBOX_WRAPPER", "/no/such/bwrap");
    let said = out(command, 2);
    assert!(
        said.contains("FAIL  disk") && said.contains("make room"),
        "{said}"
    );
    assert!(
        said.contains("FAIL  sandbox") && said.contains("install bubblewrap"),
        "{said}"
    );
}

#[tokio::test]
async fn doctor_warns_of_a_superuser_and_fails_for_a_role_that_may_not_read() {
    let (database, _pool) = in_order().await;
    let said = |url: &str| {
        let mut command = orchestrator(url, &["doctor", "--json"]);
        command.env("SANDBOX", "off");
        let said: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
        let checks = said["checks"].as_array().unwrap().clone();
        let role = checks.iter().filter(|check| check["name"] == "role");
        role.map(|check| check["verdict"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(said(database.url.expose()), ["warn"]);
    assert_eq!(
        said(database.login(Some("orchestrator_app")).await.expose()),
        ["ok"]
    );
    assert_eq!(said(database.login(None).await.expose()), ["ok", "fail"]);
}

#[tokio::test]
async fn doctor_fails_without_a_schema_and_without_a_database() {
    let database = empty_database().await;
    assert_eq!(findings(&database), ["fail schema"]);
    let said = out(
        orchestrator("postgresql://nobody@127.0.0.1:1/none", &["doctor"]),
        2,
    );
    assert!(said.contains("FAIL  database"), "{said}");
    let mut unset = orchestrator("", &["doctor"]);
    unset
        .env_remove("DATABASE_URL")
        .env("RUNNER_SLOT", "3")
        .env("RUNNER_SLOTS", "many");
    let said = out(unset, 2);
    for found in [
        "DATABASE_URL is not set",
        "RUNNER_SLOTS: invalid value 'many'",
        "RUNNER_SLOT is no setting",
    ] {
        assert!(said.contains(found), "{found:?} is missing in:\n{said}");
    }
}

#[tokio::test]
async fn recover_takes_back_what_lost_runners_hold_and_forgets_them() {
    let (database, pool) = in_order().await;
    let held = "'running', now(), 1, now(), now(), '01934f5a-0000-7000-8000-000000000001'::uuid";
    job(
        &pool,
        "state, run_at, attempt, started_at, claimed_at, runner_id",
        held,
    )
    .await;
    let url = database.url.expose();
    let nothing =
        "0 lost sessions closed; 0 jobs taken back, 0 of them without attempts left; 0 jobs became due\n";
    assert_eq!(out(orchestrator(url, &["recover"]), 0), nothing);
    tell(
        &pool,
        "update runner set lease_expires_at = now() - interval '1 minute'",
    )
    .await;
    let taken =
        "1 lost session closed; 1 job taken back, 0 of them without attempts left; 0 jobs became due\n";
    assert_eq!(out(orchestrator(url, &["recover"]), 0), taken);
    assert_eq!(ask(&pool, "select state from job").await, "available");
    assert_eq!(
        ask(&pool, "select outcome || ' ' || number from attempt").await,
        "lost 1"
    );
    assert_eq!(out(orchestrator(url, &["recover"]), 0), nothing);
}

#[tokio::test]
async fn recover_gives_up_a_session_before_its_lease_passes_when_it_is_named() {
    let (database, pool) = in_order().await;
    let session = "01934f5a-0000-7000-8000-000000000001";
    let held = format!("'running', now(), 1, now(), now(), '{session}'::uuid");
    job(
        &pool,
        "state, run_at, attempt, started_at, claimed_at, runner_id",
        &held,
    )
    .await;
    let url = database.url.expose();
    let said = out(orchestrator(url, &["recover", "--json", "--runner", session]), 0);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        said["jobs_taken_back"].as_array().map(Vec::len),
        Some(1),
        "{said}"
    );
    assert_eq!(
        ask(&pool, "select kind from event where actor = 'cli'").await,
        "runner.given_up"
    );
    let again = orchestrator(url, &["recover", "--runner", session])
        .output()
        .unwrap();
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains(session));
}

#[tokio::test]
async fn unlock_shows_who_migrates_and_ends_it_only_when_told_to() {
    let database = empty_database().await;
    let url = database.url.expose();
    assert_eq!(
        out(orchestrator(url, &["unlock"]), 0),
        "nobody holds the migration lock\n"
    );
    // A migration that hangs: a session with the lock that migrations take, "orch" in ASCII.
    let mut hung = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql("set application_name = 'hung'; select pg_advisory_lock(1869767528)")
        .execute(&mut hung)
        .await
        .unwrap();
    let shown = out(orchestrator(url, &["unlock"]), 1);
    assert!(
        shown.contains("(hung, from this host") && shown.contains("orchestrator unlock --yes"),
        "{shown}"
    );
    assert!(hung.ping().await.is_ok());
    let ended = out(orchestrator(url, &["unlock", "--yes"]), 0);
    assert!(
        ended.ends_with("was ended; run: orchestrator migrate\n"),
        "{ended}"
    );
    until(async || hung.ping().await.is_err().then_some(())).await;
    out(orchestrator(url, &["migrate"]), 0);
}

#[test]
fn config_says_where_each_value_is_from_and_shows_no_secret() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        file.path(),
        "RUNNER_SLOTS=7\nLOG_LEVEL=warn\nWEBHOOK_TOKENS=s3cret=*\n",
    )
    .unwrap();
    let mut config = orchestrator(
        "postgresql://u:s3cret@h/d",
        &["--env-file", file.path().to_str().unwrap(), "config"],
    );
    config.env("LOG_LEVEL", "debug");
    let said = out(config, 0);
    assert!(!said.contains("s3cret"), "{said}");
    let row = |name: &str| {
        let row = said
            .lines()
            .find(|line| line.trim_start().starts_with(name))
            .unwrap();
        row.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("RUNNER_SLOTS"), "RUNNER_SLOTS 7 environment runner");
    assert_eq!(row("RUNNER_QUEUES"), "RUNNER_QUEUES default default runner");
    // What the environment says comes before what the file says.
    assert_eq!(
        row("LOG_LEVEL"),
        "LOG_LEVEL debug environment api runner scheduler"
    );
    let mut wrong = orchestrator("postgresql://h/d", &["config"]);
    wrong.env("RUNNER_SLOTS", "0");
    assert!(out(wrong, 1).contains("WRONG: invalid value '0'"));
}

#[test]
fn an_environment_file_that_cannot_be_read_is_named() {
    let output = orchestrator("", &["--env-file", "/no/such", "config"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--env-file: /no/such cannot be read"));
}

#[test]
fn completions_are_shell_that_knows_the_commands() {
    let script = out(orchestrator("", &["completions", "bash"]), 0);
    let mut bash = Command::new("bash");
    let asked = format!(
        "{script}\nCOMP_WORDS=(orchestrator doc); COMP_CWORD=1; _orchestrator orchestrator doc orchestrator; echo \"${{COMPREPLY[@]}}\""
    );
    // On its standard input: it is longer than one argument may be.
    bash.write_stdin(asked).assert().success().stdout("doctor\n");
}
