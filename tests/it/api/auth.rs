//! Who gets in, and how far.

use orchestrator::domain::token::Scope;
use reqwest::Method;
use serde_json::Value;

use super::server::{Server, problem, spec};

#[tokio::test]
async fn every_way_to_present_no_valid_token_is_401_with_a_challenge() {
    let server = Server::start().await;
    let (start, last) = server.admin.split_at(server.admin.len() - 1);
    let almost = format!("{start}{}", if last == "x" { "y" } else { "x" });
    let long = "x".repeat(5000);
    let headers = [
        None,
        Some(String::new()),
        Some("Bearer".into()),
        Some("Bearer ".into()),
        Some(format!("Basic {}", server.admin)),
        Some(server.admin.clone()),
        Some("Bearer unknown".into()),
        Some(format!("Bearer {almost}")),
        Some(format!("Bearer {long}")),
        Some(format!("Bearer {}, Bearer {}", server.admin, server.admin)),
    ];
    for header in headers {
        let mut request = server.anonymous(Method::GET, "/api/v1/jobs");
        if let Some(header) = &header {
            request = request.header("authorization", header);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 401, "{header:?}");
        let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
        assert!(challenge.starts_with("Bearer "), "{challenge}");
        assert_eq!(problem(answer).await["code"], "unauthenticated");
    }
}

#[tokio::test]
async fn two_authorization_headers_are_refused_even_if_both_are_right() {
    let server = Server::start().await;
    let answer = server
        .get("/api/v1/jobs")
        .bearer_auth(&server.admin)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 401);
}

#[tokio::test]
async fn the_scheme_may_be_written_in_any_case() {
    let server = Server::start().await;
    for scheme in ["bearer", "BEARER", "Bearer"] {
        let answer = server
            .anonymous(Method::GET, "/api/v1/jobs")
            .header("authorization", format!("{scheme} {}", server.admin))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{scheme}");
    }
}

#[tokio::test]
async fn a_token_of_the_environment_may_be_any_text() {
    let server = Server::start().await;
    server.environment_token("grün und geheim").await;
    let answer = server
        .anonymous(Method::GET, "/api/v1/jobs")
        .header("authorization", "Bearer grün und geheim".as_bytes())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn a_known_token_without_the_scope_is_403_that_names_the_scope() {
    let server = Server::start().await;
    let job = server.job("demo").await;
    let submits = server.token(&[Scope::Submit], &[]).await;
    for path in [
        "/api/v1/jobs".to_owned(),
        format!("/api/v1/jobs/{job}"),
        format!("/jobs/{job}"),
    ] {
        let answer = server
            .anonymous(Method::GET, &path)
            .bearer_auth(&submits)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 403, "{path}");
        let challenge = answer.headers()["www-authenticate"].to_str().unwrap().to_owned();
        assert!(challenge.contains(r#"scope="read""#), "{challenge}");
        assert_eq!(problem(answer).await["code"], "missing_scope");
    }
    let reads = server.token(&[Scope::Read], &[]).await;
    let answer = server
        .anonymous(Method::POST, "/webhook")
        .bearer_auth(&reads)
        .json(&spec("demo"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 403);
}

#[tokio::test]
async fn another_projects_job_looks_exactly_like_no_job() {
    let server = Server::start().await;
    let other = server.project("other").await;
    let theirs = server.job("demo").await;
    let none = uuid::Uuid::now_v7();
    let token = server
        .token(&[Scope::Read, Scope::Submit, Scope::Operate], &[other])
        .await;
    for rest in ["", "/steps", "/attempts", "/events", "/logs"] {
        let mut details = Vec::new();
        for id in [theirs.0, none] {
            let answer = server
                .anonymous(Method::GET, &format!("/api/v1/jobs/{id}{rest}"))
                .bearer_auth(&token)
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status(), 404, "{rest}");
            let problem = problem(answer).await;
            details.push(problem["detail"].as_str().unwrap().replace(&id.to_string(), "ID"));
        }
        assert_eq!(details[0], details[1]);
    }
    let answer = server
        .anonymous(Method::GET, &format!("/jobs/{theirs}"))
        .bearer_auth(&token)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 404);
}

#[tokio::test]
async fn a_list_holds_only_jobs_of_the_tokens_projects() {
    let server = Server::start().await;
    let other = server.project("other").await;
    server.job("demo").await;
    let ours = server.job("other").await;
    let token = server.token(&[Scope::Read], &[other]).await;
    let read = |path: &str| server.anonymous(Method::GET, path).bearer_auth(&token).send();
    let list: Value = read("/api/v1/jobs").await.unwrap().json().await.unwrap();
    let ids: Vec<_> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| &job["id"])
        .collect();
    assert_eq!(ids, [&serde_json::json!(ours)]);

    // A project that is another's and one that does not exist are refused alike.
    for name in ["demo", "nowhere"] {
        let answer = read(&format!("/api/v1/jobs?project={name}")).await.unwrap();
        assert_eq!(answer.status(), 422);
        let problem = problem(answer).await;
        assert_eq!(problem["errors"][0]["path"], "project");
    }
}

#[tokio::test]
async fn submitting_to_a_project_the_token_does_not_reach_is_403_whether_it_exists_or_not() {
    let server = Server::start().await;
    let other = server.project("other").await;
    let token = server.token(&[Scope::Submit], &[other]).await;
    for project in ["demo", "nowhere"] {
        let answer = server
            .anonymous(Method::POST, "/webhook")
            .bearer_auth(&token)
            .json(&spec(project))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 403, "{project}");
        assert_eq!(problem(answer).await["code"], "project_forbidden");
    }
}

/// Every operation of the document that needs a token: its method, a path, its scope.
fn secured() -> Vec<(Method, String, Scope)> {
    let document = serde_json::to_value(orchestrator::api::document()).unwrap();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if let Some(scope) = operation["x-scope"].as_str() {
                let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
                let path = path.replace("{id}", &uuid::Uuid::now_v7().to_string());
                found.push((method, path, scope.parse().unwrap()));
            }
        }
    }
    assert!(found.len() >= 9, "{found:?}");
    found
}

#[tokio::test]
async fn every_route_that_needs_a_token_refuses_a_request_without() {
    let server = Server::start().await;
    for (method, path, _) in secured() {
        let answer = server.anonymous(method, &path).send().await.unwrap();
        assert_eq!(answer.status(), 401, "{path}");
    }
}

#[tokio::test]
async fn every_route_takes_the_documented_scope_and_no_other() {
    let server = Server::start().await;
    let scopes = [Scope::Submit, Scope::Read, Scope::Operate];
    for (method, path, needed) in secured() {
        for scope in scopes {
            let token = server.token(&[scope], &[]).await;
            let answer = server
                .anonymous(method.clone(), &path)
                .bearer_auth(&token)
                .json(&Value::Null)
                .send()
                .await
                .unwrap();
            let refused = answer.status() == 403;
            assert_eq!(
                refused,
                scope != needed,
                "{method} {path} with {scope}: {}",
                answer.status()
            );
        }
    }
}
