//! Cancel, retry, batches, queues and runners over HTTP.

use orchestrator::domain::token::Scope;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::server::{Server, problem, spec};

async fn post(server: &Server, path: &str, body: &Value) -> (StatusCode, Value) {
    let answer = server.post(path, body).send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

#[tokio::test]
async fn job_is_cancelled_and_retried_and_a_wrong_state_is_named() {
    let server = Server::start().await;
    let job = server.job("demo").await;
    let path = |action: &str| format!("/api/v1/jobs/{job}/{action}");
    let answer = server.post(&path("retry"), &json!({})).send().await.unwrap();
    assert_eq!(answer.status(), 409);
    let refused = problem(answer).await;
    assert_eq!(refused["code"], "wrong_state");
    assert!(
        refused["detail"].as_str().unwrap().contains("is available"),
        "{refused}"
    );
    for _ in 0..2 {
        let (status, body) = post(&server, &path("cancel"), &json!({})).await;
        assert_eq!((status.as_u16(), &body["state"]), (200, &json!("cancelled")));
    }
    let (status, body) = post(&server, &path("retry"), &json!({})).await;
    assert_eq!((status.as_u16(), &body["state"]), (200, &json!("available")));
}

#[tokio::test]
async fn acting_on_a_job_needs_the_scope_and_the_project() {
    let server = Server::start().await;
    let job = server.job("demo").await;
    let other = server.project("other").await;
    let path = format!("/api/v1/jobs/{job}/cancel");
    let reader = server.token(&[Scope::Read, Scope::Submit], &[]).await;
    let stranger = server.token(&[Scope::Operate], &[other]).await;
    for (token, status) in [(reader, 403), (stranger, 404)] {
        let request = server.anonymous(reqwest::Method::POST, &path).bearer_auth(token);
        assert_eq!(request.send().await.unwrap().status().as_u16(), status);
    }
}

#[tokio::test]
async fn batch_is_taken_whole_or_refused_with_the_place_of_what_is_wrong() {
    let server = Server::start().await;
    let keyed = |key: &str, needs: &[&str]| {
        let mut spec = spec("demo");
        spec["idempotency_key"] = json!(key);
        spec["needs"] = json!(needs);
        spec
    };
    let (status, body) = post(
        &server,
        "/api/v1/jobs/batch",
        &json!({ "jobs": [keyed("a", &[]), keyed("b", &["a"])] }),
    )
    .await;
    assert_eq!(status, 201);
    assert_eq!(body["jobs"].as_array().unwrap().len(), 2);
    for (jobs, path) in [
        (json!([]), "jobs"),
        (
            json!([spec("demo"), {"goal": "", "project_id": "demo"}]),
            "jobs[1].goal",
        ),
        (json!([spec("demo"), spec("nobody")]), "jobs[1].project_id"),
        (json!([keyed("x", &["y"]), keyed("y", &["x"])]), "jobs[0].needs"),
    ] {
        let answer = server
            .post("/api/v1/jobs/batch", &json!({ "jobs": jobs }))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 422);
        assert_eq!(problem(answer).await["errors"][0]["path"], path);
    }
    let list: Value = server
        .get("/api/v1/jobs")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn queue_is_seen_paused_and_opened() {
    let server = Server::start().await;
    server.job("demo").await;
    let list = async || -> Value {
        server
            .get("/api/v1/queues")
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    };
    assert_eq!(list().await["items"][0]["available"], 1);
    for (action, paused) in [("pause", true), ("pause", true), ("resume", false)] {
        let (status, body) = post(&server, &format!("/api/v1/queues/default/{action}"), &json!({})).await;
        assert_eq!((status.as_u16(), &body["paused"]), (200, &json!(paused)));
        assert_eq!(list().await["items"][0]["paused_at"].is_string(), paused);
    }
    let answer = server
        .post("/api/v1/queues/..%2F/pause", &json!({}))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 404);
    let operator = server.token(&[Scope::Operate, Scope::Read], &[]).await;
    let request = server
        .anonymous(reqwest::Method::POST, "/api/v1/queues/default/pause")
        .bearer_auth(operator);
    assert_eq!(request.send().await.unwrap().status(), 403);
}

#[tokio::test]
async fn runner_that_is_not_there_cannot_be_drained() {
    let server = Server::start().await;
    for id in ["none", "01980000-0000-7000-8000-000000000000"] {
        let answer = server
            .post(&format!("/api/v1/runners/{id}/drain"), &json!({}))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 404);
    }
    let list: Value = server
        .get("/api/v1/runners")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(list["items"], json!([]));
}

#[tokio::test]
async fn what_every_project_shares_is_not_stopped_by_an_administrator_of_some() {
    let server = Server::start().await;
    let other = server.project("other").await;
    let admin = server.token(&[Scope::Admin], &[other]).await;
    for path in [
        "/api/v1/queues/default/pause",
        "/api/v1/queues/default/resume",
        "/api/v1/runners/01990000-0000-7000-8000-000000000000/drain",
    ] {
        let request = server.anonymous(reqwest::Method::POST, path).bearer_auth(&admin);
        assert_eq!(request.send().await.unwrap().status(), 403, "{path}");
    }
    assert_eq!(
        crate::support::ask(&server.pool, "select count(*) from queue").await,
        "0"
    );
}
