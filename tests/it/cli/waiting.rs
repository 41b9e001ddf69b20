//! What `status`, `queues` and `runners` say of what waits.

use serde_json::{Value, json};

use super::cancel::{jobs, of};
use super::commands::{fault, orchestrator, out, with_project};
use crate::support::tell;

#[tokio::test]
async fn status_says_what_a_job_waits_for_and_what_ends_that() {
    let (database, pool) = with_project().await;
    let url = database.url.expose();
    let key = json!({ "key": "licence", "limit": 1 });
    let specs = [
        of("a", &json!({ "concurrency": key })),
        of("a", &json!({ "concurrency": key })),
        of("b", &json!({ "runs_on": "gpu" })),
        of(
            "b",
            &json!({ "idempotency_key": "built", "run_at": "2099-01-01T00:00:00Z" }),
        ),
        of("b", &json!({ "needs": ["built"] })),
    ];
    let ids = jobs(&pool, url, &specs).await;
    let status = |id: &str| out(orchestrator(url, &["status", id]));
    assert!(
        status(&ids[0]).contains(", and there is none\n"),
        "{}",
        status(&ids[0])
    );
    let waits =
        "room under its concurrency key \"licence\", of which 1 may be available or running at once\n";
    assert!(status(&ids[1]).contains(waits), "{}", status(&ids[1]));
    let waits = "a runner of queue b with label gpu since";
    assert!(status(&ids[2]).contains(waits), "{}", status(&ids[2]));
    let waits = format!("jobs that it needs: {} (scheduled)\n", ids[3]);
    assert!(status(&ids[4]).contains(&waits), "{}", status(&ids[4]));
    out(orchestrator(url, &["queues", "pause", "a"]));
    for id in &ids[..2] {
        let (said, words) = (status(id), "`orchestrator queues resume a` opens it\n");
        assert!(
            said.contains("; queue a is paused since") && said.contains(words),
            "{said}"
        );
    }
    tell(&pool, "update job set state = 'cancelled', code = 'cancelled', finished_at = now(), gate = null, message = 'As asked.' where state = 'available'").await;
    assert!(status(&ids[0]).contains("is cancelled: As asked.\n"));
}

#[tokio::test]
async fn pause_of_a_queue_that_nobody_knows_says_which_there_are() {
    let (database, pool) = with_project().await;
    let url = database.url.expose();
    jobs(&pool, url, &[of("builds", &json!({}))]).await;
    let said = |name: &str, act: &str| {
        let assert = orchestrator(url, &["queues", act, name]).assert().success();
        let output = assert.get_output();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout), text(&output.stderr))
    };
    let (out, note) = said("bilds", "pause");
    assert_eq!(out, "queue bilds is paused\n");
    assert!(
        note.contains("no runner serves it; there are: builds\n"),
        "{note}"
    );
    assert_eq!(
        said("builds", "pause"),
        ("queue builds is paused\n".to_owned(), String::new())
    );
    assert_eq!(
        said("builds", "pause").0,
        "queue builds is paused, and was before\n"
    );
    assert_eq!(said("builds", "resume").0, "queue builds is open\n");
    assert_eq!(
        said("builds", "resume").0,
        "queue builds is open, and was before\n"
    );
}

#[tokio::test]
async fn queues_and_runners_are_there_for_programs_too() {
    let (database, pool) = with_project().await;
    let url = database.url.expose();
    jobs(&pool, url, &[of("builds", &json!({}))]).await;
    tell(
        &pool,
        "insert into runner (id, instance, host, pid, version, slots, queues, labels, lease_expires_at)
         values (gen_random_uuid(), 'one', 'here', 1, '0', 4, '{builds}', '{gpu,arm}', now() + interval '1 hour')",
    )
    .await;
    let read =
        |what: &str| -> Value { serde_json::from_str(&out(orchestrator(url, &[what, "--json"]))).unwrap() };
    assert_eq!(read("queues")[0]["name"], "builds");
    assert_eq!(
        (&read("queues")[0]["available"], &read("queues")[0]["paused_at"]),
        (&json!(1), &Value::Null)
    );
    let runner = &read("runners")[0];
    assert_eq!(
        (&runner["labels"], &runner["state"]),
        (&json!(["gpu", "arm"]), &json!("open"))
    );
    assert!(out(orchestrator(url, &["runners"])).contains("gpu,arm"));
}

#[tokio::test]
async fn a_refused_retry_names_the_job_that_holds_the_unique_key() {
    let (database, pool) = with_project().await;
    let url = database.url.expose();
    let unique = || of("a", &json!({ "unique_key": "nightly" }));
    let first = jobs(&pool, url, &[unique()]).await.remove(0);
    out(orchestrator(url, &["cancel", &first]));
    let mut submit = orchestrator(url, &["submit", "-"]);
    submit.write_stdin(unique().to_string());
    let second = out(submit).trim().to_owned();
    let said = fault(orchestrator(url, &["retry", &first]), 1);
    let words = format!("job {second}, which has not ended, holds the unique key \"nightly\" of job {first}");
    assert!(said.contains(&words), "{said}");
}
