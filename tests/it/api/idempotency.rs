//! A request under an `Idempotency-Key`, sent again: by a client that lost the answer, by one that
//! sends twice at once, by one that mixes keys up.

use orchestrator::domain::token::Scope;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::server::{Server, problem, spec};
use crate::support::{ask, tell, until};

fn batch(project: &str) -> Value {
    json!({ "jobs": [spec(project)] })
}

fn keyed(server: &Server, key: &str, body: &Value) -> RequestBuilder {
    server
        .post("/api/v1/jobs/batch", body)
        .header("idempotency-key", key)
}

async fn first_job(answer: Response) -> String {
    assert_eq!(answer.status(), 201);
    let body: Value = answer.json().await.unwrap();
    body["jobs"][0]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_request_that_the_server_could_not_begin_leaves_its_key_free() {
    let server = Server::without_key().await;
    let hook = json!({ "name": "n", "project_id": "demo", "provider": "bearer", "secret": "long enough to be one",
                       "template": { "goal": "g", "steps": [{ "step_id": "a", "argv": ["true"] }] } });
    for _ in 0..2 {
        let asked = server.post("/api/v1/hooks", &hook).header("idempotency-key", "a");
        let answer = asked.send().await.unwrap();
        assert_eq!(answer.status(), 503);
        assert_eq!(problem(answer).await["code"], "no_secrets_key");
    }
}

#[tokio::test]
async fn a_repeat_does_nothing_and_is_answered_like_the_first() {
    let server = Server::start().await;
    let first = keyed(&server, "a", &batch("demo")).send().await.unwrap();
    assert!(!first.headers().contains_key("idempotency-replayed"));
    let kind = first.headers()["content-type"].clone();
    let job = first_job(first).await;
    let again = keyed(&server, "a", &batch("demo")).send().await.unwrap();
    assert_eq!(again.headers()["idempotency-replayed"], "true");
    assert_eq!(again.headers()["content-type"], kind);
    assert_eq!(first_job(again).await, job);
    assert_eq!(ask(&server.pool, "select count(*) from job").await, "1");
    // Another key, and no key, are other requests.
    keyed(&server, "b", &batch("demo")).send().await.unwrap();
    server
        .post("/api/v1/jobs/batch", &batch("demo"))
        .send()
        .await
        .unwrap();
    assert_eq!(ask(&server.pool, "select count(*) from job").await, "3");
}

#[tokio::test]
async fn a_key_with_another_body_or_another_address_is_422_and_does_nothing() {
    let server = Server::start().await;
    server.project("other").await;
    let job = first_job(keyed(&server, "a", &batch("demo")).send().await.unwrap()).await;
    let path = format!("/api/v1/jobs/{job}/cancel");
    let elsewhere = server.post(&path, &Value::Null).header("idempotency-key", "a");
    for request in [keyed(&server, "a", &batch("other")), elsewhere] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 422);
        assert_eq!(problem(answer).await["code"], "idempotency_key_reused");
    }
    assert_eq!(
        ask(&server.pool, "select count(*) from job where state = 'available'").await,
        "1"
    );
}

#[tokio::test]
async fn what_was_refused_can_be_corrected_under_the_same_key() {
    let server = Server::start().await;
    let refused = keyed(&server, "a", &json!({ "jobs": [] })).send().await.unwrap();
    assert_eq!(refused.status(), 422);
    assert_eq!(problem(refused).await["code"], "invalid_body");
    first_job(keyed(&server, "a", &batch("demo")).send().await.unwrap()).await;
}

#[tokio::test]
async fn keys_of_two_tokens_are_two_keys() {
    let server = Server::start().await;
    let other = server.token(&[Scope::Submit], &[]).await;
    let job = first_job(keyed(&server, "a", &batch("demo")).send().await.unwrap()).await;
    let theirs = server
        .anonymous(Method::POST, "/api/v1/jobs/batch")
        .bearer_auth(other)
        .header("idempotency-key", "a")
        .json(&batch("demo"))
        .send()
        .await
        .unwrap();
    assert_ne!(first_job(theirs).await, job);
}

#[tokio::test]
async fn sixteen_at_the_same_instant_make_one_job() {
    let server = Server::start().await;
    let sent = (0..16).map(|_| keyed(&server, "a", &batch("demo")).send());
    let answers = futures_util::future::join_all(sent).await;
    let mut jobs = std::collections::BTreeSet::new();
    for answer in answers {
        let answer = answer.unwrap();
        if answer.status() == 409 {
            assert_eq!(answer.headers()["retry-after"], "1");
            assert_eq!(problem(answer).await["code"], "conflict");
        } else {
            jobs.insert(first_job(answer).await);
        }
    }
    assert_eq!(jobs.len(), 1);
    assert_eq!(ask(&server.pool, "select count(*) from job").await, "1");
}

#[tokio::test]
async fn a_client_that_hangs_up_finds_its_answer_when_it_comes_back() {
    let server = Server::start().await;
    let body = batch("demo").to_string();
    let request = format!(
        "POST /api/v1/jobs/batch HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\nidempotency-key: a\r\ncontent-length: {}\r\n\r\n{body}",
        server.admin,
        body.len()
    );
    // The table is locked, so the request is under way when its client goes.
    let mut lock = server.pool.acquire().await.unwrap();
    sqlx::raw_sql("begin; lock table job in exclusive mode")
        .execute(&mut *lock)
        .await
        .unwrap();
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    until(async || (ask(&server.pool, "select count(*) from idempotent_request").await == "1").then_some(()))
        .await;
    drop(stream);
    sqlx::raw_sql("commit").execute(&mut *lock).await.unwrap();
    let job = until(async || {
        let again = keyed(&server, "a", &batch("demo")).send().await.unwrap();
        match again.status().as_u16() {
            409 => None,
            _ => {
                assert_eq!(again.headers()["idempotency-replayed"], "true");
                Some(first_job(again).await)
            }
        }
    })
    .await;
    assert_eq!(
        ask(&server.pool, "select string_agg(id::text, ' ') from job").await,
        job
    );
}

#[tokio::test]
async fn a_key_whose_outcome_nobody_knows_is_never_done_twice_and_free_after_a_day() {
    let server = Server::start().await;
    first_job(keyed(&server, "a", &batch("demo")).send().await.unwrap()).await;
    // As a server leaves it that is killed between the job and the answer.
    tell(&server.pool, "update idempotent_request set status = null, headers = null, body = null, begun_at = now() - interval '2 minutes'").await;
    let answer = keyed(&server, "a", &batch("demo")).send().await.unwrap();
    assert_eq!(answer.status(), 409);
    assert!(
        problem(answer).await["detail"]
            .as_str()
            .unwrap()
            .contains("not known")
    );
    tell(
        &server.pool,
        "update idempotent_request set begun_at = now() - interval '25 hours'",
    )
    .await;
    first_job(keyed(&server, "a", &batch("demo")).send().await.unwrap()).await;
}

#[tokio::test]
async fn a_key_without_a_valid_token_takes_nothing() {
    let server = Server::start().await;
    for token in [None, Some("orc_unknown")] {
        let mut request = server
            .anonymous(Method::POST, "/api/v1/jobs/batch")
            .header("idempotency-key", "a")
            .json(&batch("demo"));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        assert_eq!(request.send().await.unwrap().status(), 401);
    }
    assert_eq!(
        ask(&server.pool, "select count(*) from idempotent_request").await,
        "0"
    );
}

#[tokio::test]
async fn a_key_that_is_empty_too_long_or_there_twice_is_422() {
    let server = Server::start().await;
    for keys in [
        vec![String::new()],
        vec!["x".repeat(256)],
        vec!["a".into(), "b".into()],
    ] {
        let mut request = server.post("/api/v1/jobs/batch", &batch("demo"));
        for key in &keys {
            request = request.header("idempotency-key", key);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 422, "{keys:?}");
        assert_eq!(problem(answer).await["errors"][0]["path"], "Idempotency-Key");
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_413_with_a_key_as_without() {
    let server = Server::start().await;
    let body = json!({ "jobs": ["x".repeat(2 * 1024 * 1024)] });
    let answer = keyed(&server, "a", &body).send().await.unwrap();
    assert_eq!(answer.status(), 413);
    problem(answer).await;
    // The announced length alone is enough: nothing is read.
    let head = format!(
        "POST /api/v1/jobs/batch HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\nidempotency-key: a\r\nexpect: 100-continue\r\ncontent-length: 10000000\r\n\r\n",
        server.admin
    );
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 413");
}
