//! HTTP as every client may expect it: methods, headers, ids.

use orchestrator::api::{Cors, Settings};
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

fn origin(server: &Server, method: Method, origin: &str) -> reqwest::RequestBuilder {
    server
        .anonymous(method, "/api/v1/jobs")
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,idempotency-key")
}

#[tokio::test]
async fn pages_of_other_origins_are_let_in_only_when_they_are_named() {
    let closed = Server::start().await;
    let preflight = origin(&closed, Method::OPTIONS, "https://ui.example.com");
    let answer = preflight.send().await.unwrap();
    assert!(!answer.headers().contains_key("access-control-allow-origin"));

    let named = Cors::Origins(vec!["https://ui.example.com".parse().unwrap()]);
    let settings = Settings {
        cors: named,
        ..Settings::default()
    };
    let server = Server::with(settings).await;
    let preflight = origin(&server, Method::OPTIONS, "https://ui.example.com");
    let answer = preflight.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let headers = answer.headers();
    assert_eq!(headers["access-control-allow-origin"], "https://ui.example.com");
    assert!(
        headers["access-control-allow-headers"]
            .to_str()
            .unwrap()
            .contains("idempotency-key")
    );
    assert!(headers.contains_key("x-request-id") && headers.contains_key("x-content-type-options"));
    // The answer itself may be read too, also when it is a refusal.
    let answer = origin(&server, Method::GET, "https://ui.example.com")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 401);
    assert_eq!(
        answer.headers()["access-control-allow-origin"],
        "https://ui.example.com"
    );
    problem(answer).await;
    for method in [Method::OPTIONS, Method::GET] {
        let answer = origin(&server, method, "https://evil.example.com")
            .send()
            .await
            .unwrap();
        assert!(!answer.headers().contains_key("access-control-allow-origin"));
    }
    // Who asks without an origin is no browser's page, and learns what there is.
    let plain = server
        .anonymous(Method::OPTIONS, "/api/v1/jobs")
        .send()
        .await
        .unwrap();
    assert_eq!(plain.status(), 204);
    assert!(plain.headers()["allow"].to_str().unwrap().contains("POST"));
}

#[tokio::test]
async fn what_is_read_is_compressed_for_who_asks_and_streams_never_are() {
    let server = Server::start().await;
    let plain = server
        .get("/openapi.json")
        .send()
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    let answer = server
        .get("/openapi.json")
        .header("accept-encoding", "gzip")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.headers()["content-encoding"], "gzip");
    assert!(
        answer.headers()["vary"]
            .to_str()
            .unwrap()
            .to_lowercase()
            .contains("accept-encoding")
    );
    let packed = answer.bytes().await.unwrap();
    assert_eq!(packed[..2], [0x1f, 0x8b]);
    assert!(packed.len() * 4 < plain.len());
    let job = server.job("demo").await;
    let stream = server
        .get(&format!("/api/v1/jobs/{job}/logs"))
        .header("accept", "text/event-stream")
        .header("accept-encoding", "gzip")
        .send()
        .await
        .unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    assert!(!stream.headers().contains_key("content-encoding"));
}

#[tokio::test]
async fn head_says_what_get_says_without_saying_it() {
    let server = Server::start().await;
    for (path, status) in [("/api/v1/jobs", 200), ("/nowhere", 404), ("/webhook", 405)] {
        let head = server
            .anonymous(Method::HEAD, path)
            .bearer_auth(&server.admin)
            .send()
            .await
            .unwrap();
        let get = server.get(path).send().await.unwrap();
        assert_eq!(
            (head.status().as_u16(), get.status().as_u16()),
            (status, status),
            "{path}"
        );
        for name in ["content-type", "content-length", "allow"] {
            // Both ids of requests are as long; the name of the method is not.
            if status == 405 && name == "content-length" {
                continue;
            }
            assert_eq!(head.headers().get(name), get.headers().get(name), "{path} {name}");
        }
        assert!(head.bytes().await.unwrap().is_empty());
    }
}
