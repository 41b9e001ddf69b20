//! `cancel`, `retry` and `jobs`: many jobs at once, by their ids or by what is said of them.

use serde_json::{Value, json};

use super::commands::{fault, orchestrator, out, with_project};
use crate::support::{ask, tell};

/// Jobs that were put in one after the other, by their ids.
pub(super) async fn jobs(pool: &orchestrator::store::Pool, url: &str, specs: &[Value]) -> Vec<String> {
    let ids = specs.iter().map(|spec| {
        let mut submit = orchestrator(url, &["submit", "-"]);
        submit.write_stdin(spec.to_string());
        out(submit).trim().to_owned()
    });
    let ids: Vec<_> = ids.collect();
    assert_eq!(ask(pool, "select count(*) from job").await, ids.len().to_string());
    ids
}

/// A job of `queue`, with what else is said of it.
pub(super) fn of(queue: &str, rest: &Value) -> Value {
    let mut spec = json!({ "goal": "g", "project_id": "demo", "queue": queue, "steps": [{ "step_id": "a", "argv": ["true"] }] });
    spec.as_object_mut()
        .unwrap()
        .extend(rest.as_object().unwrap().clone());
    spec
}

#[tokio::test]
async fn jobs_are_cancelled_and_retried_by_what_is_said_of_them() {
    let (database, pool) = with_project().await;
    let url = database.url.expose();
    let specs = [
        of("a", &json!({})),
        of("b", &json!({ "tags": ["red"] })),
        of("b", &json!({})),
    ];
    let ids = jobs(&pool, url, &specs).await;
    let cancelled =
        |ids: &[String]| -> String { ids.iter().map(|id| format!("job {id} is cancelled\n")).collect() };
    let meant = out(orchestrator(url, &["cancel", "--queue", "b", "--dry-run"]));
    assert_eq!(meant, format!("{}\n{}\n", ids[1], ids[2]));
    assert_eq!(
        out(orchestrator(url, &["cancel", "--queue", "b", "--tag", "red"])),
        cancelled(&ids[1..2])
    );
    assert_eq!(
        out(orchestrator(url, &["cancel", "--queue", "b"])),
        cancelled(&ids[2..])
    );
    assert_eq!(out(orchestrator(url, &["cancel", "--queue", "b"])), "");
    // Somebody wanted their end: they come back only when that is said.
    assert_eq!(out(orchestrator(url, &["retry", "--queue", "b"])), "");
    let back = out(orchestrator(
        url,
        &["retry", "--queue", "b", "--state", "cancelled"],
    ));
    assert_eq!(
        back,
        format!("job {} is available\njob {} is available\n", ids[1], ids[2])
    );
    let all: Vec<&str> = ["cancel"].into_iter().chain(ids.iter().map(|id| &**id)).collect();
    assert_eq!(out(orchestrator(url, &all)), cancelled(&ids));
}

#[tokio::test]
async fn one_that_is_refused_does_not_keep_the_others_from_a_retry() {
    let (database, pool) = with_project().await;
    let url = database.url.expose();
    let ids = jobs(&pool, url, &[of("a", &json!({})), of("a", &json!({}))]).await;
    out(orchestrator(url, &["cancel", &ids[0]]));
    let unknown = "01934f5a-7e1c-7c3a-9b1e-5f8d2a6c4e10";
    let mut retry = orchestrator(url, &["retry", unknown, &ids[1], &ids[0]]);
    let assert = retry
        .assert()
        .code(1)
        .stdout(format!("job {} is available\n", ids[0]));
    let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    for word in [unknown, &ids[1], "2 of 3 jobs were not retried"] {
        assert!(said.contains(word), "{said}");
    }
}

#[tokio::test]
async fn jobs_that_need_each_other_are_retried_in_whichever_order_they_came() {
    let (database, pool) = with_project().await;
    let url = database.url.expose();
    let first = jobs(&pool, url, &[of("a", &json!({}))]).await.remove(0);
    // Three in a row, the last of which came first.
    let mut needs = vec![first];
    for _ in 0..2 {
        let mut submit = orchestrator(url, &["submit", "-"]);
        submit.write_stdin(of("a", &json!({ "needs": [needs.last().unwrap()] })).to_string());
        needs.push(out(submit).trim().to_owned());
    }
    tell(&pool, "update job_need set needs_id = job_id, job_id = needs_id").await;
    out(orchestrator(url, &["cancel", "--queue", "a"]));
    let back = out(orchestrator(
        url,
        &["retry", "--queue", "a", "--state", "cancelled"],
    ));
    assert_eq!(back.lines().count(), 3, "{back}");
    assert_eq!(
        ask(
            &pool,
            "select string_agg(state::text, ' ' order by state) from job"
        )
        .await,
        "blocked blocked available"
    );
}

#[tokio::test]
async fn which_jobs_are_meant_must_be_said_and_said_so_that_it_can_be_read() {
    for (arguments, words) in [
        (&["cancel"][..], &["required", "<ID>"][..]),
        (&["retry", "12"], &["'12'", "36 characters"]),
        (
            &["retry", "--since", "yesterday"],
            &["--since", "2030-01-01T02:00:00Z"],
        ),
        (&["jobs", "--state", "bad"], &["--state", "awaiting_approval"]),
        (&["jobs", "--code", "bad"], &["--code", "exit_nonzero"]),
        (
            &["cancel", "01934f5a-7e1c-7c3a-9b1e-5f8d2a6c4e10", "--queue", "a"],
            &["cannot be used with", "--queue"],
        ),
    ] {
        let said = fault(
            orchestrator("postgres://nobody@localhost:1/nothing", arguments),
            2,
        );
        assert!(
            words.iter().all(|word| said.contains(word)),
            "{arguments:?}: {said}"
        );
    }
}

#[tokio::test]
async fn pages_of_jobs_follow_each_other() {
    let (database, pool) = with_project().await;
    let url = database.url.expose();
    let ids = jobs(
        &pool,
        url,
        &[of("a", &json!({})), of("a", &json!({})), of("a", &json!({}))],
    )
    .await;
    let page = |arguments: &[&str]| {
        let said = out(orchestrator(url, &[&["jobs", "--json"], arguments].concat()));
        let found: Vec<Value> = serde_json::from_str(&said).unwrap();
        found
            .iter()
            .map(|job| job["job_id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(page(&["--limit", "2"]), [&*ids[2], &*ids[1]]);
    assert_eq!(page(&["--limit", "2", "--after", &ids[1]]), [&*ids[0]]);
    assert!(page(&["--until", "2020-01-01T00:00:00Z"]).is_empty());
}
