//! `doctor`, `recover`, `unlock`, `config`, `completions`: against databases in good and bad order.

mod server;

use assert_cmd::Command;
use orchestrator::store::{Pool, project};
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};

use crate::support::{Database, ask, database, empty_database, scratch, tell, until};

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
        .env("ARTIFACTS_ROOT", workspaces.to_str().unwrap())
        .env("WORKSPACES_ROOT", workspaces.to_str().unwrap());
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

/// What doctor finds that is not in order, as `verdict name`, sorted; and its exit code is the worst's.
fn findings(database: &Database) -> Vec<String> {
    let workspaces = scratch();
    let mut command = orchestrator(database.url.expose(), &["doctor", "--json"]);
    command
        .env("SANDBOX", "off")
        .env("ARTIFACTS_ROOT", workspaces.to_str().unwrap())
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
async fn runners_tells_those_that_vanished_from_those_that_live() {
    let (database, pool) = in_order().await;
    runner(&pool, 2, "interval '-1 minute'").await;
    let said = out(orchestrator(database.url.expose(), &["runners"]), 0);
    let states: Vec<_> = said
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().next_back().unwrap())
        .collect();
    assert_eq!(states, ["open", "vanished"], "{said}");
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
    let nothing = "0 lost sessions closed; 0 jobs taken back, 0 of them ended (no attempts left, or cancelled); 0 jobs became due\n";
    assert_eq!(out(orchestrator(url, &["recover"]), 0), nothing);
    tell(
        &pool,
        "update runner set lease_expires_at = now() - interval '1 minute'",
    )
    .await;
    let taken = "1 lost session closed; 1 job taken back, 0 of them ended (no attempts left, or cancelled); 0 jobs became due\n";
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
    assert_eq!(row("RUNNER_SLOTS"), "RUNNER_SLOTS environment runner 7");
    assert_eq!(row("RUNNER_QUEUES"), "RUNNER_QUEUES default runner default");
    // What the environment says comes before what the file says.
    assert_eq!(
        row("LOG_LEVEL"),
        "LOG_LEVEL environment api runner scheduler debug"
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
