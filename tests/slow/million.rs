//! A database with a million jobs: migrated while it is worked on, and asked for reports.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use orchestrator::app::roll_up::roll_up;
use orchestrator::domain::environment::DatabaseUrl;
use orchestrator::store::migrate::{Error, Fit, fit, migrate, migrate_up_to};
use orchestrator::store::{Pool, database as pools};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::support::{Database, ask, empty_database, tell, user_of};

/// What a binary of the first schema does for a job: in, looked for by its key, claimed, settled, each a statement of its own. It
/// knows no column that came later, and gives up on a lock after ten seconds, as its pool says.
const OLD_BINARY: [&str; 4] = [
    "with made as (insert into job (id, project_id, queue, state, priority, run_at, max_attempts)
                   select gen_random_uuid(), id, 'default', 'available', 0, now(), 3 from project where alias = 'demo' returning id, project_id),
          specified as (insert into job_spec (job_id, spec, request_hash) select id, '{}', sha256('') from made)
     insert into event (project_id, job_id, kind, actor) select project_id, id, 'job.submitted', 'token:old' from made",
    "select key, job_id, request_hash from job_key join job_spec using (job_id)
      where project_id = (select id from project where alias = 'demo') and key = any ('{a,b}')",
    "with due as materialized (select id from job where queue = 'default' and runs_on = '' and state = 'available'
                                order by priority desc, run_at, id limit 1 for update skip locked),
          claimed as (update job set state = 'running', attempt = attempt + 1, runner_id = '01980000-0000-7000-8000-000000000101',
                             claimed_at = now(), started_at = coalesce(started_at, now())
                        from due where job.id = due.id returning job.id, job.project_id, job.attempt)
     insert into event (project_id, job_id, attempt, kind, actor) select project_id, id, attempt, 'job.running', 'runner:old' from claimed",
    "with held as materialized (select id, project_id, attempt, claimed_at from job
                                 where state = 'running' and runner_id = '01980000-0000-7000-8000-000000000101' order by id limit 1 for update skip locked),
          settled as (update job set state = 'succeeded', runner_id = null, claimed_at = null, finished_at = now() from held where job.id = held.id),
          ended as (insert into attempt (job_id, number, runner_id, started_at, ended_at, outcome)
                    select id, attempt, '01980000-0000-7000-8000-000000000101', claimed_at, greatest(now(), claimed_at), 'succeeded' from held),
          stepped as (insert into step (job_id, attempt, ordinal, position, step_id, agent, status, started_at, finished_at)
                      select id, attempt, 0, 0, 'a', 'command', 'succeeded', now(), now() from held)
     insert into event (project_id, job_id, attempt, kind, actor) select project_id, id, attempt, 'job.succeeded', 'runner:old' from held",
];

static STOP: AtomicBool = AtomicBool::new(false);
static DONE: AtomicU64 = AtomicU64::new(0);

/// Works until told to stop; answers with the longest any statement took.
async fn old_binary(url: DatabaseUrl) -> Duration {
    let mut connection = PgConnection::connect(url.expose()).await.unwrap();
    sqlx::raw_sql("set lock_timeout = '10s'")
        .execute(&mut connection)
        .await
        .unwrap();
    let mut longest = Duration::ZERO;
    while !STOP.load(Ordering::Relaxed) {
        for statement in OLD_BINARY {
            let begun = Instant::now();
            let done = sqlx::query(AssertSqlSafe(statement))
                .execute(&mut connection)
                .await;
            longest = longest.max(begun.elapsed());
            match done {
                Ok(_) => drop(DONE.fetch_add(1, Ordering::Relaxed)),
                // Of two that wait for each other one is chosen; the program tries that again as well.
                Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("40P01") => {}
                Err(error) => panic!("the old binary was refused: {error}"),
            }
        }
    }
    longest
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_of_a_million_jobs_lock_nobody_out_and_old_binaries_go_on() {
    let database = empty_database().await;
    migrate_up_to(&database.url, 3).await.unwrap();
    let administrator = pools::pool(&database.url, "test", 1).unwrap();
    at_length(&database, include_str!("fill.sql")).await;
    let workers: Vec<_> = (0..4)
        .map(|_| tokio::spawn(old_binary(database.url.clone())))
        .collect();
    // As an operator does: again, until no table is held.
    let mut tries = 0;
    loop {
        match migrate(&database.url).await {
            Ok(_) => break,
            Err(error @ Error::Locked(_)) => println!("{error}"),
            Err(error) => panic!("{error}"),
        }
        tries += 1;
        assert!(tries < 20, "the migration never gets its tables");
    }
    assert_eq!(fit(&administrator).await.unwrap(), Fit::Current);
    // And after it, on the new schema.
    let before = DONE.load(Ordering::Relaxed);
    while DONE.load(Ordering::Relaxed) < before + 100 {
        assert!(
            workers.iter().all(|worker| !worker.is_finished()),
            "an old binary ended"
        );
        tokio::task::yield_now().await;
    }
    STOP.store(true, Ordering::Relaxed);
    for worker in workers {
        println!("longest statement of an old binary: {:?}", worker.await.unwrap());
    }
    let left = "select count(*) from job where state = 'succeeded' and finished_at > (select max(at) from event where actor = 'token:t')";
    assert_ne!(ask(&administrator, left).await, "0");
    let unlisted = "select count(*) from job left join job_spec on job_id = id and of_project = project_id where job_id is null";
    assert_eq!(ask(&administrator, unlisted).await, "0");
    at_length(&database, include_str!("fill_current.sql")).await;
    while roll_up(&administrator).await.unwrap() {}
    at_length(&database, "analyze").await;
    reports(&administrator, &administrator, 40_000).await;
    // And those of one project, for a login that sees no other.
    let login = database.login(Some("orchestrator_reporter")).await;
    let wall = format!(
        "insert into reader select '{}', array[id] from project where alias = 'demo'",
        user_of(&login)
    );
    tell(&administrator, &wall).await;
    let reader = pools::pool(&login, "test", 1).unwrap();
    // Their steps are found by their jobs, one by one: 134,000 pages in a fifth of a second.
    reports(&administrator, &reader, 200_000).await;
}

/// Does what `statements` say, however long it takes: not on a pool, which waits as long as services do.
async fn at_length(database: &Database, statements: &'static str) {
    let mut connection = PgConnection::connect(database.url.expose()).await.unwrap();
    sqlx::raw_sql(statements).execute(&mut connection).await.unwrap();
}

/// Each worked question of docs/REPORTING.md, on what is a million jobs now: what it reads, and how long it takes. Asked
/// of the days it names, when nothing happened here, and of as many days when something did.
async fn reports(owner: &Pool, reader: &Pool, rows: u64) {
    let begin: chrono::NaiveDate = ask(owner, "select current_date - 25").await.parse().unwrap();
    for section in include_str!("../../docs/REPORTING.md").split("\n### ").skip(1) {
        let view = section.lines().next().unwrap();
        let (_, rest) = section.split_once("```sql\n").unwrap();
        let question = rest.split_once("```").unwrap().0.trim().trim_end_matches(';');
        let moved = (1..=31).fold(question.to_owned(), |question, day| {
            let here = begin + chrono::Days::new(day);
            question.replace(&format!("2030-01-{day:02}"), &here.to_string())
        });
        is_answered_at_once(reader, view, question, rows).await;
        is_answered_at_once(reader, view, &moved, rows).await;
    }
}

async fn is_answered_at_once(pool: &Pool, view: &str, question: &str, rows: u64) {
    let explained = format!("explain (analyze, buffers, format json) {question}");
    let plan: serde_json::Value = sqlx::query_scalar(AssertSqlSafe(explained))
        .fetch_one(pool)
        .await
        .unwrap();
    let (plan, took) = (&plan[0]["Plan"], &plan[0]["Execution Time"]);
    let pages = plan["Shared Hit Blocks"].as_u64().unwrap() + plan["Shared Read Blocks"].as_u64().unwrap();
    println!("{view}: {took} ms, {pages} pages");
    // A million jobs are some 200,000 pages with all their rows. A second is enough for a fifth of them (17 days of the
    // audit log are 23,000, in a third of it); a question about sums reads a handful.
    let of_rows = [
        "report.jobs",
        "report.steps",
        "report.attempts",
        "report.audit",
        "report.freshness",
        // One schedule's ten thousand runs, each with its job; a third of a million callbacks.
        "report.schedule_runs",
        "report.schedule_health",
        "report.webhook_deliveries",
    ];
    let most = if of_rows.contains(&view) { rows } else { 2_000 };
    assert!(pages <= most, "{view} reads {pages} pages:\n{plan:#}");
}
