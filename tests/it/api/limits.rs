//! How much is taken in: of one client, of one token, at once.

use std::time::Duration;

use orchestrator::api::Settings;
use orchestrator::domain::token::Scope;
use reqwest::{Method, Response, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::server::{Server, problem};
use crate::support::until;

/// Three requests an hour, and a proxy on this host that is believed.
fn three(trusted: bool) -> Settings {
    Settings {
        rate_most: 3,
        rate_window: Duration::from_secs(3600),
        trusted_proxies: if trusted {
            vec!["127.0.0.0/8".parse().unwrap()]
        } else {
            Vec::new()
        },
        ..Settings::default()
    }
}

async fn ask_as(server: &Server, token: &str, client: &str) -> Response {
    server
        .anonymous(Method::GET, "/api/v1/jobs")
        .bearer_auth(token)
        .header("x-forwarded-for", client)
        .send()
        .await
        .unwrap()
}

fn number(answer: &Response, name: &str) -> u64 {
    answer.headers()[name].to_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn who_asks_too_often_is_told_what_is_left_and_then_how_long_to_wait() {
    let server = Server::with(three(false)).await;
    for left in [2, 1, 0] {
        let answer = server.get("/api/v1/jobs").send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(number(&answer, "ratelimit-limit"), 3);
        assert_eq!(number(&answer, "ratelimit-remaining"), left);
        assert_eq!(answer.headers()["ratelimit-policy"], "\"requests\";q=3;w=3600");
        let state = answer.headers()["ratelimit"].to_str().unwrap();
        assert!(state.starts_with(&format!("\"requests\";r={left};t=")), "{state}");
    }
    let refused = server.get("/api/v1/jobs").send().await.unwrap();
    assert_eq!(refused.status(), 429);
    assert_eq!(number(&refused, "ratelimit-remaining"), 0);
    // A third of the window brings one request back.
    let wait = number(&refused, "retry-after");
    assert!((1..=1200).contains(&wait), "{wait}");
    assert_eq!(problem(refused).await["code"], "too_many_requests");
    // Also with another token, with none, and where nothing is: the client is the same.
    for path in ["/api/v1/jobs", "/nowhere"] {
        let answer = server.anonymous(Method::GET, path).send().await.unwrap();
        assert_eq!(answer.status(), 429, "{path}");
    }
    // Probes and scrapes are not counted.
    for path in ["/health", "/health/live", "/metrics", "/openapi.json"] {
        let answer = server.anonymous(Method::GET, path).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        assert!(!answer.headers().contains_key("ratelimit-limit"), "{path}");
    }
}

#[tokio::test]
async fn a_token_and_a_client_are_each_counted_for_themselves() {
    let server = Server::with(three(true)).await;
    let other = server.token(&[Scope::Read], &[]).await;
    for client in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        assert_eq!(ask_as(&server, &server.admin, client).await.status(), 200);
    }
    // The token is spent, from wherever it comes; the clients are not.
    assert_eq!(ask_as(&server, &server.admin, "192.0.2.4").await.status(), 429);
    assert_eq!(ask_as(&server, &other, "192.0.2.1").await.status(), 200);
    // The client is spent, whatever it presents.
    assert_eq!(ask_as(&server, "a", "192.0.2.1").await.status(), 401);
    assert_eq!(ask_as(&server, "b", "192.0.2.1").await.status(), 429);
    assert_eq!(ask_as(&server, "b", "192.0.2.9").await.status(), 401);
}

#[tokio::test]
async fn a_forged_forwarding_header_is_no_way_around() {
    let untrusted = Server::with(three(false)).await;
    let trusted = Server::with(three(true)).await;
    for (server, prefix) in [(untrusted, ""), (trusted, "10.0.0.1, ")] {
        let mut answers = Vec::new();
        for number in 0..4 {
            // Behind the trusted proxy the caller's own entries stand before the proxy's.
            let forged = if prefix.is_empty() {
                format!("10.1.1.{number}")
            } else {
                format!("10.1.1.{number}, 192.0.2.1")
            };
            answers.push(ask_as(&server, &format!("t{number}"), &forged).await.status());
        }
        assert_eq!(
            answers[2..],
            [StatusCode::UNAUTHORIZED, StatusCode::TOO_MANY_REQUESTS]
        );
    }
}

/// A request that waits for the rest of its body.
async fn half_sent(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "POST /webhook HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{{",
        server.admin
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn more_at_once_than_may_be_is_503_and_probes_are_answered() {
    let server = Server::with(Settings {
        max_requests: 2,
        ..Settings::default()
    })
    .await;
    let held = [half_sent(&server).await, half_sent(&server).await];
    let refused = until(async || {
        let answer = server.get("/api/v1/jobs").send().await.unwrap();
        (answer.status() != 200).then_some(answer)
    })
    .await;
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(problem(refused).await["code"], "overloaded");
    let live = server
        .anonymous(Method::GET, "/health/live")
        .send()
        .await
        .unwrap();
    assert_eq!(live.status(), 200);
    drop(held);
    until(async || (server.get("/api/v1/jobs").send().await.unwrap().status() == 200).then_some(())).await;
}

#[tokio::test]
async fn streams_are_counted_and_a_seat_is_free_again_when_its_reader_goes() {
    let server = Server::with(Settings {
        max_streams: 1,
        ..Settings::default()
    })
    .await;
    let path = format!("/api/v1/jobs/{}/logs", server.job("demo").await);
    let follow = || server.get(&path).header("accept", "text/event-stream").send();
    let first = follow().await.unwrap();
    assert_eq!(first.status(), 200);
    let second = follow().await.unwrap();
    assert_eq!(second.status(), 503);
    assert_eq!(problem(second).await["code"], "overloaded");
    drop(first);
    until(async || (follow().await.unwrap().status() == 200).then_some(())).await;
}

#[tokio::test]
async fn connections_beyond_the_most_wait_for_their_turn() {
    let server = Server::with(Settings {
        max_connections: 2,
        ..Settings::default()
    })
    .await;
    // Both seats are taken: the two are answered, and stay.
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream
            .write_all(b"GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        let mut start = [0; 15];
        stream.read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 200 OK");
        held.push(stream);
    }
    let mut third = TcpStream::connect(server.address).await.unwrap();
    third
        .write_all(b"GET /health/live HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    drop(held.pop());
    let mut answer = String::new();
    third.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
