//! HTTP as every client may expect it: methods, headers, ids.

use reqwest::Method;
use serde_json::Value;

use super::hostile::raw;
use super::server::{Server, problem};

#[tokio::test]
async fn a_method_that_is_not_allowed_is_405_and_names_those_that_are() {
    let server = Server::start().await;
    for (method, path, allow) in [
        (Method::DELETE, "/api/v1/jobs", "GET,HEAD,POST"),
        (Method::GET, "/webhook", "POST"),
        (Method::POST, "/health", "GET,HEAD"),
    ] {
        let answer = server.anonymous(method, path).send().await.unwrap();
        assert_eq!(answer.status(), 405);
        let mut allowed: Vec<_> = answer.headers()["allow"].to_str().unwrap().split(',').collect();
        allowed.sort_unstable();
        assert_eq!(allowed.join(","), allow);
        assert_eq!(problem(answer).await["code"], "method_not_allowed");
    }
}

#[tokio::test]
async fn options_names_the_methods_and_head_is_get_without_a_body() {
    let server = Server::start().await;
    let answer = server
        .anonymous(Method::OPTIONS, "/api/v1/jobs")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 204);
    assert!(answer.headers()["allow"].to_str().unwrap().contains("POST"));
    let answer = server.anonymous(Method::HEAD, "/health").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.text().await.unwrap(), "");
}

#[tokio::test]
async fn every_answer_carries_the_headers_that_bind_browsers() {
    let server = Server::start().await;
    for path in ["/health", "/nowhere", "/api/v1/jobs", "/docs/", "/metrics"] {
        let answer = server.anonymous(Method::GET, path).send().await.unwrap();
        let headers = answer.headers();
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(headers["referrer-policy"], "no-referrer", "{path}");
        assert_eq!(headers["cache-control"], "no-store", "{path}");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("frame-ancestors 'none'"), "{path}");
        assert!(!headers.contains_key("access-control-allow-origin"), "{path}");
    }
}

#[tokio::test]
async fn a_sane_request_id_is_kept_and_any_other_is_replaced() {
    let server = Server::start().await;
    for (sent, kept) in [
        ("trace-1.2:3", true),
        ("has space", false),
        ("\"quoted\"", false),
        (&*"x".repeat(129), false),
    ] {
        let answer = server
            .anonymous(Method::GET, "/nowhere")
            .header("x-request-id", sent)
            .send()
            .await
            .unwrap();
        let returned = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
        assert_eq!(returned == sent, kept, "{sent}");
        assert_eq!(problem(answer).await["request_id"], returned);
    }
    let first = server.anonymous(Method::GET, "/health").send().await.unwrap();
    let second = server.anonymous(Method::GET, "/health").send().await.unwrap();
    assert_ne!(first.headers()["x-request-id"], second.headers()["x-request-id"]);
}

#[tokio::test]
async fn odd_paths_and_a_method_override_reach_nothing_they_should_not() {
    let server = Server::start().await;
    let odd = [
        "//api/v1/jobs",
        "/api/v1/jobs/",
        "/api/%2e%2e/health",
        "/api/../health",
        "/docs/../health",
        "/docs/%2e%2e/%2e%2e/etc/passwd",
        "/%00",
        "/%ff",
    ];
    for path in odd {
        // As they are: a client library would tidy them up.
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let answer = raw(&server, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
    }
    let answer = server
        .get("/api/v1/jobs")
        .header("x-http-method-override", "POST")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.json::<Value>().await.unwrap()["items"].is_array());
}
