//! Projects over HTTP: made, shown, changed by version, removed.

use orchestrator::domain::token::Scope;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use super::server::{Server, problem, spec};
use crate::support::ask;

async fn change(server: &Server, alias: &str, seen: Option<&str>, body: &Value) -> Response {
    let mut request = server
        .anonymous(Method::PATCH, &format!("/api/v1/projects/{alias}"))
        .bearer_auth(&server.admin)
        .json(body);
    if let Some(seen) = seen {
        request = request.header("if-match", seen);
    }
    request.send().await.unwrap()
}

fn tag(answer: &Response) -> String {
    answer.headers()["etag"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_project_is_made_and_jobs_can_name_it_at_once() {
    let server = Server::start().await;
    let body =
        json!({"alias": "shop", "directory": "/srv/shop", "max_running": 2, "policy": {"network": "deny"}});
    let answer = server.post("/api/v1/projects", &body).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    assert_eq!(answer.headers()["location"], "/api/v1/projects/shop");
    let version = tag(&answer);
    let shown = server.get("/api/v1/projects/shop").send().await.unwrap();
    assert_eq!(tag(&shown), version);
    let shown: Value = shown.json().await.unwrap();
    assert_eq!(
        (&shown["max_running"], &shown["policy"], &shown["description"]),
        (&json!(2), &json!({"network": "deny"}), &json!(""))
    );
    assert_eq!(
        server
            .post("/webhook", &spec("shop"))
            .send()
            .await
            .unwrap()
            .status(),
        202
    );
    let again = server.post("/api/v1/projects", &body).send().await.unwrap();
    assert_eq!(again.status(), 409);
    assert_eq!(problem(again).await["code"], "already_exists");
    let made = "select count(*) from event where kind = 'project.created' and actor = 'token:dev' and detail ->> 'alias' = 'shop'";
    assert_eq!(ask(&server.pool, made).await, "1");
}

#[tokio::test]
async fn a_change_of_a_version_that_is_gone_is_412_and_changes_nothing() {
    let server = Server::start().await;
    let first = tag(&server.get("/api/v1/projects/demo").send().await.unwrap());
    let changed = change(&server, "demo", Some(&first), &json!({"max_running": 4})).await;
    assert_eq!(changed.status(), 200);
    let second = tag(&changed);
    assert_ne!(first, second);
    let refused = change(&server, "demo", Some(&first), &json!({"max_running": 9})).await;
    assert_eq!(refused.status(), 412);
    assert_eq!(problem(refused).await["code"], "precondition_failed");
    // What is absent stays, null takes the limit away; a proxy that compresses marks the tag as weak.
    let changed = change(
        &server,
        "demo",
        Some(&format!("W/{second}")),
        &json!({"description": "d"}),
    )
    .await;
    let body: Value = changed.json().await.unwrap();
    assert_eq!(
        (&body["max_running"], &body["description"]),
        (&json!(4), &json!("d"))
    );
    let body: Value = change(&server, "demo", Some("*"), &json!({"max_running": null}))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(
        (&body["max_running"], &body["description"]),
        (&Value::Null, &json!("d"))
    );
    let gone = server
        .anonymous(Method::DELETE, "/api/v1/projects/demo")
        .bearer_auth(&server.admin)
        .header("if-match", first);
    assert_eq!(gone.send().await.unwrap().status(), 412);
}

#[tokio::test]
async fn of_two_who_saw_the_same_version_one_changes_it() {
    let server = Server::start().await;
    let seen = tag(&server.get("/api/v1/projects/demo").send().await.unwrap());
    let sent = (1..=8).map(|limit| {
        let (server, seen) = (&server, &seen);
        async move {
            change(server, "demo", Some(seen), &json!({ "max_running": limit }))
                .await
                .status()
                .as_u16()
        }
    });
    let mut statuses = futures_util::future::join_all(sent).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412, 412, 412, 412, 412, 412, 412]);
}

#[tokio::test]
async fn only_a_project_that_nothing_belongs_to_is_removed() {
    let server = Server::start().await;
    server.project("empty").await;
    server.job("demo").await;
    let remove = |alias: &str| {
        server
            .anonymous(Method::DELETE, &format!("/api/v1/projects/{alias}"))
            .bearer_auth(&server.admin)
            .send()
    };
    let refused = remove("demo").await.unwrap();
    assert_eq!(refused.status(), 409);
    assert_eq!(problem(refused).await["code"], "wrong_state");
    assert_eq!(remove("empty").await.unwrap().status(), 204);
    assert_eq!(remove("empty").await.unwrap().status(), 404);
}

#[tokio::test]
async fn only_who_reaches_every_project_says_where_sources_lie() {
    let server = Server::start().await;
    let demo = server.project("demo").await;
    let limited = server.token(&[Scope::Admin], &[demo]).await;
    let request = server
        .anonymous(Method::PATCH, "/api/v1/projects/demo")
        .bearer_auth(&limited)
        .json(&json!({"directory": "/etc"}));
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 403);
    assert_eq!(problem(answer).await["code"], "project_forbidden");
    assert_eq!(
        ask(&server.pool, "select directory from project where alias = 'demo'").await,
        "/srv/other"
    );
}

#[tokio::test]
async fn what_the_environment_says_is_changed_there() {
    let server = Server::start().await;
    orchestrator::store::project::put(&server.pool, "env", "/srv/env", "environment")
        .await
        .unwrap();
    let moved = change(&server, "env", None, &json!({"directory": "/srv/elsewhere"})).await;
    assert_eq!(moved.status(), 409);
    assert!(
        problem(moved).await["detail"]
            .as_str()
            .unwrap()
            .contains("PROJECT_ALIASES")
    );
    assert_eq!(
        change(&server, "env", None, &json!({"max_running": 1}))
            .await
            .status(),
        200
    );
}

#[tokio::test]
async fn names_that_are_no_text_are_not_found() {
    let server = Server::start().await;
    for name in ["%00", "%ff", "a%00b", "..%2f..%2fetc"] {
        let answer = server
            .get(&format!("/api/v1/projects/{name}"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 404, "{name}");
        problem(answer).await;
    }
    let answer = server.get("/api/v1/jobs?project=%00").send().await.unwrap();
    assert_eq!(answer.status(), 422);
    problem(answer).await;
}

#[tokio::test]
async fn policy_of_a_project_narrows_every_job_that_comes_in() {
    let server = Server::start().await;
    let policy =
        json!({"network": "deny", "requires_approval": true, "limits": {"memory_mb": 512, "pids": 50}});
    let project = json!({"alias": "shop", "directory": "/srv/shop", "policy": policy});
    assert_eq!(
        server
            .post("/api/v1/projects", &project)
            .send()
            .await
            .unwrap()
            .status(),
        201
    );
    let asked = |policy: Value| json!({"goal": "g", "project_id": "shop", "policy": policy, "steps": [{"step_id": "a", "argv": ["true"]}]});
    for (job, project) in [
        (json!({}), policy.clone()),
        (
            json!({"network": "allow", "limits": {"memory_mb": 4096, "pids": 7, "cpu_sec": 60}}),
            json!({"network": "deny", "requires_approval": true, "limits": {"memory_mb": 512, "pids": 7, "cpu_sec": 60}}),
        ),
    ] {
        let made: Value = server
            .post("/api/v1/jobs", &asked(job))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let job = format!("/api/v1/jobs/{}", made["id"].as_str().unwrap());
        let job: Value = server.get(&job).send().await.unwrap().json().await.unwrap();
        assert_eq!(job["spec"]["policy"], project);
    }
    // A project that says nothing changes nothing.
    let made = server.job("demo").await;
    let plain: Value = server
        .get(&format!("/api/v1/jobs/{made}"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(plain["spec"].get("policy"), None);
}

#[tokio::test]
async fn the_sandbox_and_the_budget_of_a_project_are_an_administrators_to_say_and_are_shown() {
    let server = Server::start().await;
    let shown = |answer: Value| {
        (
            answer["sandbox"].clone(),
            answer["max_daily_calls"].clone(),
            answer["max_daily_cost_usd"].clone(),
        )
    };
    let said = json!({"sandbox": false, "max_daily_calls": 0, "max_daily_cost_usd": 2.5});
    let before: Value = server
        .get("/api/v1/projects/demo")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(shown(before), (json!(true), Value::Null, Value::Null));
    let changed = change(&server, "demo", None, &said).await;
    assert_eq!(changed.status(), 200);
    assert_eq!(
        shown(changed.json().await.unwrap()),
        (json!(false), json!(0), json!(2.5))
    );
    let event = "select detail ->> 'sandbox' || ' ' || (detail ->> 'max_daily_cost_usd') from event where kind = 'project.changed'";
    assert_eq!(ask(&server.pool, event).await, "false 2.5");
    let job = server.job("demo").await;
    let job: Value = server
        .get(&format!("/api/v1/jobs/{job}"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(job["sandbox"], false, "every job of it says so");
    let changed = change(
        &server,
        "demo",
        None,
        &json!({"sandbox": true, "max_daily_calls": null}),
    )
    .await;
    assert_eq!(
        shown(changed.json().await.unwrap()),
        (json!(true), Value::Null, json!(2.5))
    );
    for wrong in [
        json!({"policy": {"sandbox": false}}),
        json!({"max_daily_calls": -1}),
        json!({"max_daily_cost_usd": -0.01}),
        json!({"max_daily_cost_usd": 1e10}),
        json!({"sandbox": "off"}),
    ] {
        let refused = change(&server, "demo", None, &wrong).await;
        assert_eq!(refused.status(), 422, "{wrong}");
    }
    let admin = server
        .token(&[Scope::Admin], &[server.project("demo").await])
        .await;
    let refused = server
        .anonymous(Method::PATCH, "/api/v1/projects/demo")
        .bearer_auth(&admin)
        .json(&json!({"sandbox": false}))
        .send()
        .await
        .unwrap();
    assert_eq!(
        refused.status(),
        403,
        "who administers one project runs nothing bare on the host"
    );
}
