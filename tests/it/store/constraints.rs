//! Wrong states are refused by the tables, whoever writes them.

use orchestrator::store::Pool;
use orchestrator::store::claim::claim;
use sqlx::AssertSqlSafe;

use super::{demo, due, session};
use crate::support::{database, tell};

/// The name of the constraint that refuses `statement`.
async fn refusal(pool: &Pool, statement: &str) -> String {
    match sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
        .execute(pool)
        .await
    {
        Ok(_) => format!("nothing refuses: {statement}"),
        Err(error) => {
            let answer = error.as_database_error();
            let constraint = answer.and_then(|answer| answer.constraint());
            constraint.map_or_else(|| error.to_string(), str::to_owned)
        }
    }
}

#[tokio::test]
async fn states_that_cannot_be_are_refused_by_name() {
    let database = database().await;
    let pool = database.pool();
    due(&pool, demo(&pool).await).await;
    let runner = session(&pool).await.0;
    let cases = [
        (
            "update job set state = 'succeeded', finished_at = now()",
            "job_takes_only_legal_ways",
        ),
        ("update job set state = 'blocked'", "job_takes_only_legal_ways"),
        (
            &format!(
                "update job set state = 'running', attempt = 2, runner_id = '{runner}', started_at = now(), claimed_at = now()"
            ),
            "job_takes_only_legal_ways",
        ),
        (
            "update job set attempt = 1, started_at = now()",
            "job_takes_only_legal_ways",
        ),
        (
            &format!(
                "update job set state = 'running', attempt = 1, started_at = now(), runner_id = '{runner}'"
            ),
            "claimed_while_running",
        ),
        (
            "update job set state = 'running', attempt = 1, started_at = now(), claimed_at = now()",
            "runner_iff_running",
        ),
        (
            &format!(
                "update job set state = 'running', attempt = 1, runner_id = '{runner}', claimed_at = now()"
            ),
            "attempted_once_started",
        ),
        (
            &format!("update job set runner_id = '{runner}'"),
            "runner_iff_running",
        ),
        (
            "update job set state = 'cancelled', code = 'cancelled'",
            "finished_iff_terminal",
        ),
        ("update job set finished_at = now()", "finished_iff_terminal"),
        (
            "update job set state = 'cancelled', finished_at = now()",
            "code_iff_failed_or_cancelled",
        ),
        ("update job set code = 'lost'", "code_iff_failed_or_cancelled"),
        (
            "update job set gate = 'key'",
            "only_a_keyed_job_waits_for_its_key",
        ),
        (
            "update job set gate = 'project'",
            "only_scheduled_waits_at_a_gate",
        ),
        (
            "update job set concurrency_key = 'k'",
            "key_and_limit_go_together",
        ),
        ("update job set losses = 1", "losses_are_attempts"),
        ("update job set max_attempts = 0", "max_attempts_is_bounded"),
        ("update job set priority = 101", "priority_is_bounded"),
        ("update job set queue = ''", "queue_is_a_name"),
        ("update project set alias = '../x'", "alias_is_a_name"),
        (
            "update project set directory = 'relative'",
            "directory_is_absolute",
        ),
        (
            "update job_spec set request_hash = 'short'",
            "request_hash_is_sha256",
        ),
        ("update job_spec set spec = '[]'", "spec_is_an_object"),
        ("update runner set slots = 0", "slots_are_positive"),
        (
            "insert into job_need select id, id from job",
            "no_job_needs_itself",
        ),
        ("delete from project", "job_project_id_fkey"),
        (
            "insert into job_key select project_id, '', id from job",
            "key_is_short",
        ),
    ];
    for (statement, constraint) in cases {
        assert_eq!(refusal(&pool, statement).await, constraint, "{statement}");
    }
}

#[tokio::test]
async fn a_queue_and_a_label_are_names_of_at_most_128_characters() {
    let database = database().await;
    let pool = database.pool();
    due(&pool, demo(&pool).await).await;
    let long = "q".repeat(129);
    let cases = [
        "-a", "..", "_a", "a b", "a/b", "ä", "a\n", "\na", "a\n\nb", "a$", &long,
    ];
    for (column, constraint) in [("queue", "queue_is_a_name"), ("runs_on", "label_is_a_name")] {
        for name in cases {
            let update = format!("update job set {column} = '{name}'");
            let (queue, label) = if column == "queue" {
                (name, "")
            } else {
                ("a", name)
            };
            let insert = format!(
                "insert into job (id, project_id, queue, runs_on, state, priority, run_at, max_attempts)
                 select gen_random_uuid(), project_id, '{queue}', '{label}', 'available', 0, now(), 1 from job"
            );
            for statement in [update, insert] {
                assert_eq!(refusal(&pool, &statement).await, constraint, "{statement}");
            }
        }
        for name in ["a", "0", "A._-z", &long[1..]] {
            tell(&pool, &format!("update job set {column} = '{name}'")).await;
        }
    }
}

#[tokio::test]
async fn an_attempt_is_one_sessions_from_its_claim_to_its_end() {
    let database = database().await;
    let pool = database.pool();
    due(&pool, demo(&pool).await).await;
    let (one, other) = (session(&pool).await, session(&pool).await);
    let claimed = claim(&pool, one, "default", &[], 1).await.unwrap();
    assert_eq!(claimed.len(), 1);
    for change in ["", ", state = 'running'", ", attempt = 2"] {
        let takes = format!("update job set runner_id = '{}'{change}", other.0);
        assert_eq!(refusal(&pool, &takes).await, "job_takes_only_legal_ways");
    }
}

#[tokio::test]
async fn what_is_said_of_an_end_stays_until_the_job_is_retried() {
    let database = database().await;
    let pool = database.pool();
    due(&pool, demo(&pool).await).await;
    tell(
        &pool,
        "update job set state = 'cancelled', finished_at = now(), code = 'cancelled', message = 'as asked'",
    )
    .await;
    for change in [
        "finished_at = now() + interval '1 second'",
        "code = 'lost'",
        "message = 'another'",
        "message = null",
    ] {
        let statement = format!("update job set {change}");
        assert_eq!(refusal(&pool, &statement).await, "job_stays_ended", "{statement}");
    }
    // What is not of its end may change.
    tell(&pool, "update job set needed = true, message = message").await;
    tell(
        &pool,
        "update job set state = 'available', finished_at = null, code = null, message = null",
    )
    .await;
}
