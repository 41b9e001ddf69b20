//! The database's roles: services work as one that changes rows and makes nothing.

#![expect(
    clippy::disallowed_methods,
    reason = "a test holds locks by a transaction of its own"
)]

use orchestrator::domain::environment::DatabaseUrl;
use orchestrator::store::database as pools;
use orchestrator::store::migrate::{Error, migrate, migrate_within};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Executor as _};
use std::time::Duration;

use crate::support::{Program, ask, database, empty_database, scratch, tell, until, user_of};

async fn refused(url: &DatabaseUrl, statement: &str) -> String {
    let pool = pools::pool(url, "test", 1).unwrap();
    let error = pool.execute(AssertSqlSafe(statement)).await.unwrap_err();
    error.as_database_error().unwrap().code().unwrap().into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_job_is_run_by_services_that_may_change_rows_only() {
    let database = database().await;
    let app = database.login(Some("orchestrator_app")).await;
    let directory = scratch();
    let workspaces = directory.join("workspaces");
    let project = directory.join("project");
    std::fs::create_dir(&project).unwrap();
    let aliases = format!("demo={}", project.display());
    let token = orchestrator::domain::token::generate();
    let tokens = format!("{}=*", secrecy::ExposeSecret::expose_secret(&token));
    let environment = [
        ("DATABASE_URL", app.expose()),
        ("WORKSPACES_ROOT", workspaces.to_str().unwrap()),
        ("PROJECT_ALIASES", &aliases),
        ("WEBHOOK_TOKENS", &tokens),
        ("SCHEDULER_TICK_SEC", "0.1"),
        ("RETENTION_INTERVAL_SEC", "0.1"),
        ("SANDBOX", "off"),
        ("API_BIND", "127.0.0.1:0"),
    ];
    let mut api = Program::start(&["api", "--log-json"], &environment);
    let listening: Value = serde_json::from_str(&api.hear("API listening")).unwrap();
    let address = listening["http.address"].as_str().unwrap().to_owned();
    let mut runner = Program::start(&["runner"], &environment);
    runner.hear("runner session open");
    let mut scheduler = Program::start(&["scheduler"], &environment);
    scheduler.hear("scheduler running");

    let step = json!([{ "step_id": "a", "argv": ["sh", "-c", "echo hello"] }]);
    let later = json!({ "goal": "g", "project_id": "demo", "steps": step, "idempotency_key": "k",
                        "run_at": "2020-01-01T00:00:00Z", "concurrency": { "key": "one", "limit": 1 } });
    let post = || async {
        let _ = rustls::crypto::ring::default_provider().install_default();
        reqwest::Client::new()
            .post(format!("http://{address}/webhook"))
            .bearer_auth(secrecy::ExposeSecret::expose_secret(&token))
            .json(&later)
            .send()
            .await
            .unwrap()
    };
    // The environment's project and token come into the tables beside.
    let answer = until(async || Some(post().await).filter(|answer| answer.status().is_success())).await;
    let job = answer.json::<Value>().await.unwrap()["job_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let command = |arguments: &[&str]| {
        let mut command = Program::start(arguments, &environment);
        assert!(command.end().success(), "{arguments:?}: {}", command.said());
        command.said()
    };
    let pool = database.pool();
    until(async || (ask(&pool, "select state from job").await == "succeeded").then_some(())).await;
    assert!(command(&["status", &job]).contains("succeeded"));
    assert!(command(&["logs", &job]).contains("hello"));
    assert!(command(&["runners"]).contains("1"));
    command(&["queues", "pause", "default"]);
    let metrics = reqwest::get(format!("http://{address}/metrics"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(metrics.contains("orchestrator_database_up 1"), "{metrics}");
    // Sums and retention work as well; the job itself is young.
    until(async || {
        (ask(&pool, "select count(*) from rollup_job where what = 'succeeded'").await == "1").then_some(())
    })
    .await;
    for service in [&mut api, &mut runner, &mut scheduler] {
        service.signal(nix::sys::signal::Signal::SIGTERM);
        assert!(service.end().success(), "{}", service.said());
        let said = service.said();
        assert!(
            !said.contains("42501") && !said.contains("permission denied"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn the_role_of_the_services_makes_drops_and_rewrites_nothing() {
    let database = database().await;
    let app = database.login(Some("orchestrator_app")).await;
    for statement in [
        "create table mine ()",
        "create schema mine",
        "create table report.mine ()",
        "drop table job",
        "alter table job add column mine text",
        "truncate job",
        "create index mine on job (id)",
        "drop view report.jobs",
        "update event set actor = 'somebody else'",
        "update attempt set outcome = 'succeeded'",
        "update step set exit_code = 0",
        "update step_usage set cost_usd = 0",
        "delete from refinery_schema_history",
        "insert into reader values ('me', '{}')",
        "alter table job disable trigger all",
        "set role orchestrator_owner",
    ] {
        assert_eq!(refused(&app, statement).await, "42501", "{statement}");
    }
}

#[tokio::test]
async fn nobody_else_sees_anything() {
    let database = database().await;
    let stranger = database.login(None).await;
    for statement in [
        "select * from job",
        "select * from report.jobs",
        "create table mine ()",
    ] {
        assert_eq!(refused(&stranger, statement).await, "42501", "{statement}");
    }
}

#[tokio::test]
async fn tables_of_later_migrations_are_granted_by_themselves() {
    let database = database().await;
    let pool = database.pool();
    tell(
        &pool,
        "set role orchestrator_owner; create table later (id bigint generated always as identity, word text);
                 create view report.later as select word from later; reset role",
    )
    .await;
    let app = pools::pool(&database.login(Some("orchestrator_app")).await, "test", 1).unwrap();
    tell(
        &app,
        "insert into later (word) values ('a'); update later set word = 'b'; delete from later",
    )
    .await;
    let reporter = pools::pool(&database.login(Some("orchestrator_reporter")).await, "test", 1).unwrap();
    assert_eq!(ask(&reporter, "select count(*) from report.later").await, "0");
}

#[tokio::test]
async fn migrating_again_changes_nothing_and_takes_over_what_another_owner_made() {
    let database = database().await;
    let pool = database.pool();
    assert_eq!(migrate(&database.url).await.unwrap().roles.remedy(), None);
    // As it was before there were roles.
    tell(&pool, "reassign owned by orchestrator_owner to postgres; drop owned by orchestrator_app; drop owned by orchestrator_reporter").await;
    let migrated = migrate(&database.url).await.unwrap();
    assert_eq!((migrated.files.len(), migrated.roles.remedy()), (0, None));
    let others = "select string_agg(relname, ' ') from pg_class where relnamespace in ('public'::regnamespace, 'report'::regnamespace)
                     and relowner <> 'orchestrator_owner'::regrole";
    assert_eq!(ask(&pool, others).await, "null");
    let app = pools::pool(&database.login(Some("orchestrator_app")).await, "test", 1).unwrap();
    assert_eq!(ask(&app, "select count(*) from job").await, "0");
}

#[tokio::test]
async fn an_ordinary_owner_migrates_and_is_told_what_an_administrator_would_have_to_do() {
    let database = empty_database().await;
    let administrator = database.pool();
    let plain = database.login(None).await;
    let user = user_of(&plain);
    let name = ask(&administrator, "current_database()").await;
    tell(
        &administrator,
        &format!("alter database {name} owner to {user}; grant create on schema public to {user}"),
    )
    .await;
    let mut command = Program::start(&["migrate"], &[("DATABASE_URL", plain.expose())]);
    assert!(command.end().success(), "{}", command.said());
    let said = command.said();
    assert!(said.contains("applied V1__"), "{said}");
    assert!(
        said.contains(&format!("grant orchestrator_owner to \"{user}\"")),
        "{said}"
    );
    // The services work as that user, and what an administrator grants is taken up by the next run.
    let pool = pools::pool(&plain, "test", 1).unwrap();
    assert_eq!(ask(&pool, "select count(*) from job").await, "0");
    tell(
        &administrator,
        &format!("grant orchestrator_owner to {user}; grant create on schema public to orchestrator_owner"),
    )
    .await;
    assert_eq!(migrate(&plain).await.unwrap().roles.remedy(), None);
    assert_eq!(
        ask(
            &administrator,
            "select relowner::regrole from pg_class where relname = 'job' and relkind = 'r'"
        )
        .await,
        "orchestrator_owner"
    );
}

#[tokio::test]
async fn a_migration_gives_up_on_a_table_somebody_holds_and_says_who_to_look_for() {
    let database = empty_database().await;
    let pool = database.pool();
    tell(&pool, "create table public.refinery_schema_history (version int4 primary key, name varchar(255), applied_on varchar(255), checksum varchar(255))").await;
    let mut holding = pool.begin().await.unwrap();
    holding
        .execute("lock table refinery_schema_history in access exclusive mode")
        .await
        .unwrap();
    let error = migrate_within(&database.url, Duration::from_millis(50))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Locked(_)), "{error}");
    assert!(error.to_string().contains("pg_stat_activity"), "{error}");
    holding.rollback().await.unwrap();
    tell(&pool, "drop table refinery_schema_history").await;
    assert!(!migrate(&database.url).await.unwrap().files.is_empty());
}

#[tokio::test]
async fn services_reach_their_tables_where_public_is_closed_to_everybody() {
    let database = empty_database().await;
    let pool = database.pool();
    tell(&pool, "revoke all on schema public from public").await;
    migrate(&database.url).await.unwrap();
    let reaches = "has_schema_privilege('orchestrator_app', 'public', 'usage')";
    assert_eq!(ask(&pool, reaches).await, "true");
    let rest = "has_schema_privilege('orchestrator_app', 'public', 'create')
                or has_schema_privilege('orchestrator_reporter', 'public', 'usage')";
    assert_eq!(ask(&pool, rest).await, "false");
}
