//! Agents and approvals over HTTP.

use orchestrator::domain::token::Scope;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::server::{Server, problem};
use crate::support::tell;

fn poet() -> Value {
    json!({ "argv": ["poet"], "output": { "format": "json", "text": { "at": ["/poem"] } } })
}

#[tokio::test]
async fn agent_is_made_seen_changed_and_removed() {
    let server = Server::start().await;
    let new = json!({ "name": "poet", "definition": poet() });
    let made = server.post("/api/v1/agents", &new).send().await.unwrap();
    assert_eq!(made.status(), 201);
    let first = made.headers()["etag"].to_str().unwrap().to_owned();
    let again = server.post("/api/v1/agents", &new).send().await.unwrap();
    assert_eq!(again.status(), 409);

    let put = |tag: &str| {
        let mut definition = poet();
        definition["description"] = json!("A poet");
        server
            .anonymous(Method::PUT, "/api/v1/agents/poet")
            .bearer_auth(&server.admin)
            .header("if-match", tag)
            .json(&definition)
    };
    let changed = put(&first).send().await.unwrap();
    assert_eq!(changed.status(), 200);
    let second = changed.headers()["etag"].to_str().unwrap().to_owned();
    assert_ne!(first, second);
    let stale = put(&first).send().await.unwrap();
    assert_eq!(stale.status(), StatusCode::PRECONDITION_FAILED);
    let seen = server.get("/api/v1/agents/poet").send().await.unwrap();
    assert_eq!(seen.headers()["etag"].to_str().unwrap(), second);
    assert_eq!(
        seen.json::<Value>().await.unwrap()["definition"]["description"],
        "A poet"
    );

    let delete = |name: &str| {
        server
            .anonymous(Method::DELETE, &format!("/api/v1/agents/{name}"))
            .bearer_auth(&server.admin)
    };
    assert_eq!(
        delete("poet")
            .header("if-match", &first)
            .send()
            .await
            .unwrap()
            .status(),
        412
    );
    assert_eq!(delete("poet").send().await.unwrap().status(), 200);
    assert_eq!(delete("poet").send().await.unwrap().status(), 404);
    assert_eq!(delete("command").send().await.unwrap().status(), 409);
    let list: Value = server
        .get("/api/v1/agents")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(list["items"].as_array().unwrap().len(), 8);
}

#[tokio::test]
async fn agent_that_does_not_hold_is_refused_with_the_path_and_only_administrators_make_one() {
    let server = Server::start().await;
    for (body, path) in [
        (json!({ "name": "-x", "definition": poet() }), "name"),
        (
            json!({ "name": "x", "definition": { "argv": ["a", "{prompt}"], "prompt": "argument" } }),
            "definition.argv",
        ),
        (
            json!({ "name": "x", "definition": { "argv": ["a"], "prompts": "stdin" } }),
            "definition.prompts",
        ),
    ] {
        let answer = server.post("/api/v1/agents", &body).send().await.unwrap();
        assert_eq!(answer.status(), 422);
        assert_eq!(problem(answer).await["errors"][0]["path"], path);
    }
    let operator = server
        .token(&[Scope::Operate, Scope::Read, Scope::Submit], &[])
        .await;
    let request = server
        .anonymous(Method::POST, "/api/v1/agents")
        .bearer_auth(&operator);
    let refused = request
        .json(&json!({ "name": "x", "definition": poet() }))
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 403);
    let job = json!({ "goal": "g", "project_id": "demo", "steps": [{ "step_id": "a", "agent": "nobody", "prompt": "x" }] });
    for (path, body, place) in [
        ("/api/v1/jobs", job.clone(), "steps[0].agent"),
        (
            "/api/v1/jobs/batch",
            json!({ "jobs": [job] }),
            "jobs[0].steps[0].agent",
        ),
    ] {
        let answer = server.post(path, &body).send().await.unwrap();
        assert_eq!(answer.status(), 422);
        assert_eq!(problem(answer).await["errors"][0]["path"], place);
    }
}

#[tokio::test]
async fn word_on_a_job_is_taken_once_kept_and_needs_the_scope_and_the_project() {
    let server = Server::start().await;
    let job = server.job("demo").await;
    let path = |action: &str| format!("/api/v1/jobs/{job}/{action}");
    let early = server.post(&path("approve"), &json!({})).send().await.unwrap();
    assert_eq!(early.status(), 409);
    assert!(
        problem(early).await["detail"]
            .as_str()
            .unwrap()
            .contains("is available")
    );
    // As a runner leaves it that has asked.
    tell(
        &server.pool,
        &format!(
            "insert into runner (id, instance, host, pid, version, slots, queues, lease_expires_at)
             values ('{job}', 'test', 'here', 1, '0', 1, '{{default}}', now() + interval '1 hour');
             update job set state = 'running', attempt = 1, runner_id = '{job}', claimed_at = now(), started_at = now() where id = '{job}';
             update job set state = 'awaiting_approval', runner_id = null, claimed_at = null where id = '{job}';
             insert into approval (job_id, attempt, position, question) values ('{job}', 1, 0, 'May it?')"
        ),
    )
    .await;
    let other = server.project("other").await;
    let reader = server.token(&[Scope::Read, Scope::Submit], &[]).await;
    let stranger = server.token(&[Scope::Operate], &[other]).await;
    for (token, status) in [(reader, 403), (stranger, 404)] {
        let request = server.anonymous(Method::POST, &path("reject")).bearer_auth(token);
        assert_eq!(
            request.json(&json!({})).send().await.unwrap().status().as_u16(),
            status
        );
    }
    for (body, field) in [
        (json!({ "prompt": "" }), "prompt"),
        (json!({ "skip": true, "prompt": "x" }), "prompt"),
        (json!({ "comment": "x".repeat(5001) }), "comment"),
        (json!({ "prompt": "it runs a command" }), "prompt"),
        (json!({ "reason": "x" }), "reason"),
    ] {
        let answer = server.post(&path("approve"), &body).send().await.unwrap();
        assert_eq!(answer.status(), 422, "{body}");
        assert_eq!(problem(answer).await["errors"][0]["path"], field);
    }
    for _ in 0..2 {
        let answer = server
            .post(&path("approve"), &json!({ "comment": "yes" }))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.json::<Value>().await.unwrap()["state"], "available");
    }
    assert_eq!(
        server
            .post(&path("reject"), &json!({}))
            .send()
            .await
            .unwrap()
            .status(),
        409
    );
    let list: Value = server
        .get(&path("approvals"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let approval = &list["items"][0];
    assert_eq!(
        (
            &approval["decision"],
            &approval["decided_by"],
            &approval["comment"]
        ),
        (&json!("approved"), &json!("token:dev"), &json!("yes"))
    );
}
