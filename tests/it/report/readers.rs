//! Who reads reports sees views, and of them the projects that are theirs.

use orchestrator::store::{Pool, database as pools};
use sqlx::{AssertSqlSafe, Executor as _};

use super::roll_up_all;
use crate::support::{Database, ask, database, tell, user_of};

const VIEWS: [&str; 11] = [
    "jobs",
    "steps",
    "attempts",
    "audit",
    "queue_depth",
    "daily_throughput",
    "failures_by_code",
    "wait_and_run_percentiles",
    "cost_by_agent_day",
    "webhook_deliveries",
    "schedule_health",
];

struct Reader {
    pool: Pool,
    name: String,
}

async fn seeded() -> (Database, Pool) {
    let database = database().await;
    let pool = database.pool();
    tell(&pool, include_str!("seed.sql")).await;
    tell(
        &pool,
        "insert into schedule (id, project_id, name, expression, spec, next_due_at, fire_at)
         select gen_random_uuid(), id, 'hourly', '0 * * * *', '{}', now(), now() from project;
         insert into hook (id, project_id, name, provider, spec, secret)
         select gen_random_uuid(), id, 'push', 'github', '{}', '' from project where alias = 'web';
         insert into hook_delivery (id, hook_id, body_bytes, outcome) select gen_random_uuid(), id, 2, 'ping' from hook",
    )
    .await;
    roll_up_all(&pool).await;
    (database, pool)
}

async fn reader(database: &Database) -> Reader {
    let url = database.login(Some("orchestrator_reporter")).await;
    Reader {
        // One connection: what is set stays set.
        pool: pools::pool(&url, "test", 1).unwrap(),
        name: user_of(&url),
    }
}

/// The projects each view shows.
async fn shown(pool: &Pool) -> Vec<String> {
    let mut shown = Vec::new();
    for view in VIEWS {
        let projects =
            format!("select string_agg(distinct project, ' ' order by project) from report.{view}");
        shown.push(ask(pool, &projects).await);
    }
    shown
}

#[tokio::test]
async fn a_reader_of_one_project_sees_that_project_in_every_view() {
    let (database, pool) = seeded().await;
    let reader = reader(&database).await;
    let all = shown(&reader.pool).await;
    assert_eq!(
        all,
        [
            "data web", "data web", "data web", "data web", "web", "data web", "data web", "data web",
            "data web", "data web", "data web"
        ]
    );
    let wall = format!(
        "insert into reader select '{}', array[id] from project where alias = 'web'",
        reader.name
    );
    tell(&pool, &wall).await;
    assert_eq!(shown(&reader.pool).await, ["web"; 11]);
    assert_eq!(
        ask(&reader.pool, "select count(*) from report.runner_utilisation").await,
        "0"
    );
    assert_eq!(
        ask(
            &reader.pool,
            "select count(*) from report.audit where project is null"
        )
        .await,
        "0"
    );
    // Nothing a reader may say widens it.
    tell(&reader.pool, "set orchestrator.project = 'data'").await;
    assert_eq!(shown(&reader.pool).await, ["null"; 11]);
    tell(
        &reader.pool,
        "set orchestrator.project = ''; set role orchestrator_reporter",
    )
    .await;
    assert_eq!(shown(&reader.pool).await, ["web"; 11]);
}

#[tokio::test]
async fn a_project_that_is_deleted_leaves_its_reader_nothing() {
    let (database, pool) = seeded().await;
    let reader = reader(&database).await;
    tell(
        &pool,
        &format!(
            "insert into reader values ('{}', array[gen_random_uuid()])",
            reader.name
        ),
    )
    .await;
    assert_eq!(shown(&reader.pool).await, ["null"; 11]);
}

#[tokio::test]
async fn the_setting_narrows_what_a_session_sees() {
    let (database, _pool) = seeded().await;
    let reader = reader(&database).await;
    tell(&reader.pool, "set orchestrator.project = 'web'").await;
    assert_eq!(shown(&reader.pool).await, ["web"; 11]);
    tell(&reader.pool, "set orchestrator.project = 'web, data'").await;
    assert_eq!(shown(&reader.pool).await[0], "data web");
    tell(&reader.pool, "set orchestrator.project = 'no-such'").await;
    assert_eq!(shown(&reader.pool).await, ["null"; 11]);
}

#[tokio::test]
async fn a_condition_of_the_askers_never_sees_a_hidden_row() {
    let (database, pool) = seeded().await;
    let reader = reader(&database).await;
    tell(
        &pool,
        &format!(
            "insert into reader select '{}', array[id] from project where alias = 'data'",
            reader.name
        ),
    )
    .await;
    // It fails on the first goal of `web` it is given, and names it.
    let leak =
        "select count(*) from report.jobs where case when goal like 'Build%' then goal::integer end is null";
    assert_eq!(ask(&reader.pool, leak).await, "23");
}

#[tokio::test]
async fn a_reporter_reads_no_table_and_writes_nothing() {
    let (database, _pool) = seeded().await;
    let reader = reader(&database).await;
    for refused in [
        "select count(*) from job",
        "select * from token",
        "select * from log",
        "select * from reader",
        "select * from rollup_job",
        "insert into reader values ('me', '{}')",
        "delete from report.jobs",
        "update report.queue_depth set jobs = 0",
        "create table public.mine ()",
        "create table report.mine ()",
    ] {
        let error = reader.pool.execute(AssertSqlSafe(refused)).await.unwrap_err();
        let code = error.as_database_error().unwrap().code().unwrap().into_owned();
        // Insufficient privilege, or a view nobody can write to.
        assert!(code == "42501" || code == "55000", "{refused}: {error}");
    }
}
