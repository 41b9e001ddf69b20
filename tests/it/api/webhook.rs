//! The webhook and the predecessor's view of a job.

use orchestrator::api::Settings;
use serde_json::{Value, json};

use super::server::{Server, problem, spec};

#[tokio::test]
async fn an_accepted_job_is_in_the_table_and_can_be_seen() {
    let server = Server::start().await;
    let answer = server.post("/webhook", &spec("demo")).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    let receipt: Value = answer.json().await.unwrap();
    assert_eq!(receipt["status"], "accepted");
    let path = format!("/jobs/{}", receipt["job_id"].as_str().unwrap());
    assert_eq!(receipt["status_url"], path);

    let job: Value = server.get(&path).send().await.unwrap().json().await.unwrap();
    assert_eq!(job["status"], "available");
    assert_eq!(job["job_id"], receipt["job_id"]);
    assert_eq!(job["goal"], "Say hello");
    assert_eq!(job["steps"][0]["step_id"], "hello");
    assert_eq!(job["steps"][0]["status"], "pending");
    assert_eq!(job["steps"][0]["exit_code"], Value::Null);
}

#[tokio::test]
async fn links_lead_to_where_callers_reach_the_api() {
    let settings = Settings {
        public_url: Some("https://example.test/orchestrator/".parse().unwrap()),
        ..Settings::default()
    };
    let server = Server::with(settings).await;
    let answer = server.post("/webhook", &spec("demo")).send().await.unwrap();
    let receipt: Value = answer.json().await.unwrap();
    let expected = format!(
        "https://example.test/orchestrator/jobs/{}",
        receipt["job_id"].as_str().unwrap()
    );
    assert_eq!(receipt["status_url"], expected);
}

#[tokio::test]
async fn a_repeat_under_the_same_key_is_answered_with_the_first_job() {
    let server = Server::start().await;
    let mut body = spec("demo");
    body["job_id"] = json!("build-1");
    let first = server.post("/webhook", &body).send().await.unwrap();
    assert_eq!(first.status(), 202);
    let first: Value = first.json().await.unwrap();
    let again = server.post("/webhook", &body).send().await.unwrap();
    assert_eq!(again.status(), 200);
    assert_eq!(again.json::<Value>().await.unwrap(), first);

    // The header is the same key by another way.
    let by_header = server
        .post("/webhook", &spec("demo"))
        .header("Idempotency-Key", "build-1");
    assert_eq!(
        by_header.send().await.unwrap().json::<Value>().await.unwrap(),
        first
    );
}

#[tokio::test]
async fn the_same_key_at_the_same_instant_makes_one_job() {
    let server = Server::start().await;
    let send = || {
        server
            .post("/webhook", &spec("demo"))
            .header("Idempotency-Key", "at-once")
            .send()
    };
    let answers = futures_util::future::join_all((0..16).map(|_| send())).await;
    let mut ids = std::collections::BTreeSet::new();
    let mut made = 0;
    for answer in answers {
        let answer = answer.unwrap();
        made += usize::from(answer.status() == 202);
        let receipt: Value = answer.json().await.unwrap();
        ids.insert(receipt["job_id"].as_str().unwrap().to_owned());
    }
    assert_eq!((ids.len(), made), (1, 1));
}

#[tokio::test]
async fn a_key_reused_for_another_request_is_refused_and_names_the_first_job() {
    let server = Server::start().await;
    let keyed = |body: &Value| {
        server
            .post("/webhook", body)
            .header("Idempotency-Key", "k")
            .send()
    };
    let first: Value = keyed(&spec("demo")).await.unwrap().json().await.unwrap();
    let mut other = spec("demo");
    other["goal"] = json!("Something else");
    let answer = keyed(&other).await.unwrap();
    assert_eq!(answer.status(), 422);
    let problem = problem(answer).await;
    assert_eq!(problem["code"], "idempotency_key_reused");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains(first["job_id"].as_str().unwrap()), "{detail}");
}

#[tokio::test]
async fn a_key_in_the_header_that_contradicts_the_body_is_refused() {
    let server = Server::start().await;
    let mut body = spec("demo");
    body["idempotency_key"] = json!("a");
    for key in ["b", "", &"x".repeat(256)] {
        let answer = server
            .post("/webhook", &body)
            .header("Idempotency-Key", key)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 422);
        assert_eq!(problem(answer).await["errors"][0]["path"], "Idempotency-Key");
    }
}

#[tokio::test]
async fn a_wrong_field_is_named_with_its_path() {
    let server = Server::start().await;
    let body = json!({"goal": "g", "project_id": "demo", "priority": 101, "steps": [{"step_id": "a b"}]});
    let answer = server.post("/webhook", &body).send().await.unwrap();
    assert_eq!(answer.status(), 422);
    let problem = problem(answer).await;
    assert_eq!(problem["code"], "invalid_body");
    let mut paths: Vec<_> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["path"].as_str().unwrap())
        .collect();
    paths.sort_unstable();
    assert_eq!(paths, ["priority", "steps[0].argv", "steps[0].step_id"]);
}

#[tokio::test]
async fn an_unknown_project_is_named_to_those_who_see_every_project() {
    let server = Server::start().await;
    let answer = server.post("/webhook", &spec("nowhere")).send().await.unwrap();
    assert_eq!(answer.status(), 422);
    let problem = problem(answer).await;
    assert_eq!(problem["errors"][0]["path"], "project_id");
    assert!(problem["detail"].as_str().unwrap().contains("nowhere"));
}
