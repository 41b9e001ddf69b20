//! Jobs: lists, pages, single ones, and what hangs on them.

use std::collections::BTreeSet;
use std::time::Duration;

use orchestrator::app::lease::Session;
use orchestrator::domain::attempt::{Ending, Failure, Fence, Measured, StepRecord};
use orchestrator::domain::clock::now;
use orchestrator::domain::id::{JobId, RunnerId};
use orchestrator::domain::job::Code;
use orchestrator::store::runner::NewSession;
use orchestrator::store::settle::Settlement;
use serde_json::{Value, json};

use super::server::{Server, problem, spec};

/// A runner session that does by hand what a runner does.
pub(super) async fn session(server: &Server) -> Session {
    session_for(server, Duration::from_secs(60)).await
}

/// The same with a lease of this length.
pub(super) async fn session_for(server: &Server, lease: Duration) -> Session {
    let new = NewSession {
        id: RunnerId::generate(),
        instance: "by-hand",
        host: "test",
        pid: 1,
        slots: 10,
        queues: &["default".to_owned()],
        labels: &[],
        lease,
    };
    Session::open(
        server.pool.clone(),
        orchestrator::app::hint::Hints::default(),
        &new,
    )
    .await
    .unwrap()
}

/// Claims the one job that is due.
pub(super) async fn claim(session: &Session) -> Fence {
    let claimed = session.claim("default", &[], 1).await.unwrap();
    claimed[0].fence
}

pub(super) fn settlement(fence: Fence, ending: Ending) -> Settlement {
    Settlement {
        fence,
        ending,
        step: None,
    }
}

/// Ends the job `session` holds.
pub(super) async fn settle(session: &Session, fence: Fence, ending: Ending) {
    let batch = [settlement(fence, ending)];
    assert_eq!(session.settle(&batch).await.unwrap(), [fence.job]);
}

async fn json(answer: reqwest::RequestBuilder) -> Value {
    let answer = answer.send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
    answer.json().await.unwrap()
}

#[tokio::test]
async fn a_submitted_job_is_answered_with_its_place() {
    let server = Server::start().await;
    let mut body = spec("demo");
    body["idempotency_key"] = json!("once");
    let first = server.post("/api/v1/jobs", &body).send().await.unwrap();
    assert_eq!(first.status(), 201);
    let location = first.headers()["location"].to_str().unwrap().to_owned();
    let submitted: Value = first.json().await.unwrap();
    assert_eq!(submitted["repeated"], false);
    assert_eq!(submitted["url"], location);
    let job = json(server.get(&location)).await;
    assert_eq!(job["id"], submitted["id"]);
    assert_eq!(job["state"], "available");
    assert_eq!(job["project_id"], "demo");
    assert_eq!(job["spec"]["steps"][0]["argv"], json!(["echo", "hello"]));

    let again = server.post("/api/v1/jobs", &body).send().await.unwrap();
    assert_eq!(again.status(), 200);
    assert_eq!(again.json::<Value>().await.unwrap()["repeated"], true);
}

#[tokio::test]
async fn following_the_pages_shows_every_job_once_newest_first() {
    let server = Server::start().await;
    let mut made = Vec::new();
    for _ in 0..7 {
        made.push(server.job("demo").await.to_string());
    }
    made.reverse();
    let mut seen = Vec::new();
    let mut path = Some("/api/v1/jobs?limit=3&state=available&project=demo".to_owned());
    let mut pages = 0;
    while let Some(this) = path {
        let answer = server.get(&this).send().await.unwrap();
        let link = answer
            .headers()
            .get("link")
            .map(|link| link.to_str().unwrap().to_owned());
        let page: Value = answer.json().await.unwrap();
        let items = page["items"].as_array().unwrap();
        seen.extend(items.iter().map(|job| job["id"].as_str().unwrap().to_owned()));
        assert_eq!(link.is_some(), page["next_cursor"].is_string());
        path = link.map(|link| {
            let address = link.strip_suffix(r#">; rel="next""#).unwrap();
            address.strip_prefix('<').unwrap().to_owned()
        });
        pages += 1;
        // A job that comes in between moves nothing.
        server.job("demo").await;
    }
    assert_eq!(seen, made);
    assert_eq!(pages, 3);
}

#[tokio::test]
async fn a_page_out_of_bounds_or_a_forged_cursor_is_refused() {
    let server = Server::start().await;
    for _ in 0..2 {
        server.job("demo").await;
    }
    let page = json(server.get("/api/v1/jobs?limit=1")).await;
    let cursor = page["next_cursor"].as_str().unwrap();
    let cases = [
        ("limit=0".to_owned(), "limit"),
        ("limit=501".into(), "limit"),
        ("limit=-1".into(), "limit"),
        ("limit=1000000000".into(), "limit"),
        ("limit=many".into(), "limit"),
        ("cursor=forged".into(), "cursor"),
        ("cursor=".into(), "cursor"),
        ("cursor=%00%ff".into(), "cursor"),
        (format!("cursor={cursor}&state=failed"), "cursor"),
        (format!("cursor={cursor}&project=demo"), "cursor"),
        ("state=finished".into(), "state"),
        ("sate=failed".into(), "sate"),
        ("limit=1&limit=2".into(), "limit"),
        ("state=failed&st%61te=running".into(), "state"),
        ("tag=%ff".into(), "tag"),
    ];
    for (query, path) in cases {
        let answer = server.get(&format!("/api/v1/jobs?{query}")).send().await.unwrap();
        assert_eq!(answer.status(), 422, "{query}");
        let problem = problem(answer).await;
        assert_eq!(problem["errors"][0]["path"], path, "{query}: {problem}");
    }
}

#[tokio::test]
async fn a_list_shows_only_the_state_that_is_asked_for() {
    let server = Server::start().await;
    server.job("demo").await;
    let mut later = spec("demo");
    later["run_at"] = json!("2100-01-01T00:00:00Z");
    json(server.post("/api/v1/jobs", &later)).await;
    for (state, count) in [("available", 1), ("scheduled", 1), ("failed", 0)] {
        let list = json(server.get(&format!("/api/v1/jobs?state={state}"))).await;
        assert_eq!(list["items"].as_array().unwrap().len(), count, "{state}");
    }
}

#[tokio::test]
async fn what_is_no_job_is_404() {
    let server = Server::start().await;
    for id in [
        "none",
        "00000000-0000-0000-0000-000000000000",
        "%00",
        "%ff",
        "..",
        "1%2f2",
    ] {
        let answer = server
            .get(&format!("/api/v1/jobs/{id}/steps"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 404, "{id}");
        problem(answer).await;
    }
}

#[tokio::test]
async fn steps_attempts_and_events_tell_what_happened() {
    let server = Server::start().await;
    let job = server.job("demo").await;
    let session = session(&server).await;
    let fence = claim(&session).await;
    let at = |rest: &str| format!("/api/v1/jobs/{job}{rest}");

    let running = json(server.get(&at("/attempts"))).await;
    assert_eq!(running["items"][0]["outcome"], "running");
    assert_eq!(running["items"][0]["ended_at"], Value::Null);
    let live = json(server.get(&format!("/jobs/{job}"))).await;
    assert_eq!(live["steps"][0]["status"], "running");

    let failure = Failure::new(Code::ExitNonzero, "the program ended with code 3");
    let step = StepRecord {
        ordinal: 0,
        position: 0,
        step_id: "hello".into(),
        agent: "command".into(),
        skipped: false,
        failure: Some(failure.clone()),
        needs_human: false,
        usage: None,
        verdict: None,
        exit_code: Some(3),
        signal: None,
        started_at: now(),
        finished_at: now(),
        output_bytes: 6,
        patched: false,
        measured: Measured {
            cpu_ms: 12,
            peak_memory_bytes: 3_000_000,
            logged_bytes: 5,
            redactions: 1,
        },
    };
    assert!(session.record_step(fence, &step, 0).await.unwrap());
    settle(&session, fence, Ending::Failed(failure)).await;

    let steps = json(server.get(&at("/steps"))).await;
    assert_eq!(steps["items"][0]["status"], "failed");
    assert_eq!(steps["items"][0]["exit_code"], 3);
    let used =
        ["cpu_ms", "peak_memory_bytes", "logged_bytes", "redactions"].map(|name| &steps["items"][0][name]);
    assert_eq!(used, [12, 3_000_000, 5, 1]);
    let attempts = json(server.get(&at("/attempts"))).await;
    assert_eq!(attempts["items"].as_array().unwrap().len(), 1);
    assert_eq!(attempts["items"][0]["outcome"], "failed");
    assert_eq!(attempts["items"][0]["code"], "exit_nonzero");
    assert_eq!(attempts["items"][0]["runner"], "by-hand");
    let job = json(server.get(&at(""))).await;
    assert_eq!(
        (&job["state"], &job["code"]),
        (&json!("failed"), &json!("exit_nonzero"))
    );

    let kinds = events(&server, fence.job).await;
    assert_eq!(kinds.first().map(String::as_str), Some("job.submitted"));
    assert!(kinds.len() >= 2, "{kinds:?}");
}

/// The kinds of a job's events, read a page of one at a time.
async fn events(server: &Server, job: JobId) -> Vec<String> {
    let mut kinds = Vec::new();
    let mut ids = BTreeSet::new();
    let mut query = "limit=1".to_owned();
    loop {
        let page = json(server.get(&format!("/api/v1/jobs/{job}/events?{query}"))).await;
        for event in page["items"].as_array().unwrap() {
            assert!(ids.insert(event["id"].as_i64().unwrap()));
            kinds.push(event["kind"].as_str().unwrap().to_owned());
        }
        match page["next_cursor"].as_str() {
            Some(cursor) => query = format!("limit=1&cursor={cursor}"),
            None => return kinds,
        }
    }
}
