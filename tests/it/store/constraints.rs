//! Wrong states are refused by the tables, whoever writes them.

use orchestrator::store::Pool;
use sqlx::AssertSqlSafe;

use super::{demo, due, session};
use crate::support::database;

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
        ("update job set state = 'running'", "claimed_iff_running"),
        (
            &format!("update job set runner_id = '{runner}'"),
            "runner_iff_running",
        ),
        (
            &format!("update job set state = 'running', runner_id = '{runner}', claimed_at = now()"),
            "running_has_an_attempt",
        ),
        ("update job set claimed_at = now()", "claimed_iff_running"),
        ("update job set state = 'succeeded'", "finished_iff_terminal"),
        ("update job set finished_at = now()", "finished_iff_terminal"),
        (
            "update job set state = 'failed', finished_at = now()",
            "code_iff_failed_or_cancelled",
        ),
        ("update job set code = 'lost'", "code_iff_failed_or_cancelled"),
        ("update job set attempt = 1", "attempted_once_started"),
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
