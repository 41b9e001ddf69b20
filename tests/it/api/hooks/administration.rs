//! Hooks made, changed, paused and looked at by those who may.

use orchestrator::domain::token::Scope;
use reqwest::Method;
use serde_json::{Value, json};

use super::{SECRET, deliveries, hook, main_branch, make, push};
use crate::api::server::{Server, problem};
use crate::support::ask;

#[tokio::test]
async fn secret_is_shown_once_if_at_all_and_is_in_no_table_in_the_clear() {
    let server = Server::start().await;
    let given = make(&server, json!({})).await;
    assert_eq!(given["secret"], Value::Null);
    let request = server
        .post("/api/v1/hooks", &hook(&json!({"name": "made", "secret": null})))
        .header("idempotency-key", "make-1");
    let (again, request) = (request.try_clone().unwrap(), request);
    let made: Value = request.send().await.unwrap().json().await.unwrap();
    let secret = made["secret"].as_str().unwrap();
    assert_eq!(secret.len(), 64);
    let repeat: Value = again.send().await.unwrap().json().await.unwrap();
    assert_eq!(
        (&repeat["hook"], &repeat["secret"]),
        (&made["hook"], &Value::Null)
    );
    for path in ["/api/v1/hooks", "/api/v1/hooks/made", "/api/v1/hooks/deploy"] {
        let text = server.get(path).send().await.unwrap().text().await.unwrap();
        assert!(!text.contains(secret) && !text.contains(SECRET), "{path}");
    }
    let tables = "select string_agg(encode(secret, 'escape') || spec::text, '') from hook";
    let kept = ask(&server.pool, tables).await
        + &ask(
            &server.pool,
            "select string_agg(encode(body, 'escape'), '') from idempotent_request",
        )
        .await;
    assert!(!kept.contains(secret) && !kept.contains(SECRET));
}

#[tokio::test]
async fn replaced_secret_holds_as_long_as_it_overlaps() {
    let server = Server::start().await;
    make(&server, json!({})).await;
    let rotate = async |body: Value| {
        server
            .post("/api/v1/hooks/deploy/rotate", &body)
            .send()
            .await
            .unwrap()
    };
    let rotated = rotate(json!({"secret": "the second secret", "overlap_sec": 3600})).await;
    assert_eq!(rotated.status(), 200);
    assert!(rotated.json::<Value>().await.unwrap()["hook"]["old_secret_until"].is_string());
    for (id, secret, status) in [
        ("1", SECRET, 202),
        ("2", "the second secret", 202),
        ("3", "the third secret", 401),
    ] {
        assert_eq!(
            push(&server, id, "push", &main_branch(), secret).await.status(),
            status,
            "{secret}"
        );
    }
    assert_eq!(
        rotate(json!({"secret": "the third secret", "overlap_sec": 0}))
            .await
            .status(),
        200
    );
    for (id, secret, status) in [
        ("4", SECRET, 401),
        ("5", "the second secret", 401),
        ("6", "the third secret", 202),
    ] {
        assert_eq!(
            push(&server, id, "push", &main_branch(), secret).await.status(),
            status,
            "{secret}"
        );
    }
    for wrong in [
        json!({"secret": "short"}),
        json!({"overlap_sec": 2_592_001}),
        json!({"overlap": 1}),
    ] {
        assert_eq!(rotate(wrong).await.status(), 422);
    }
}

#[tokio::test]
async fn paused_hook_sends_events_back_and_a_change_that_was_not_seen_is_refused() {
    let server = Server::start().await;
    make(&server, json!({})).await;
    let seen = server.get("/api/v1/hooks/deploy").send().await.unwrap().headers()["etag"].clone();
    let put = async |etag: &reqwest::header::HeaderValue, fields: Value| {
        let request = server
            .anonymous(Method::PUT, "/api/v1/hooks/deploy")
            .bearer_auth(&server.admin);
        request
            .header("if-match", etag)
            .json(&hook(&fields))
            .send()
            .await
            .unwrap()
    };
    let paused = put(&seen, json!({"secret": null, "enabled": false})).await;
    assert_eq!(paused.status(), 200);
    let now = paused.headers()["etag"].clone();
    assert_ne!(now, seen);
    assert_eq!(
        problem(put(&seen, json!({"secret": null})).await).await["code"],
        "precondition_failed"
    );
    let answer = push(&server, "d", "push", &main_branch(), SECRET).await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["retry-after"]),
        (503, &"3600".parse().unwrap())
    );
    assert_eq!(deliveries(&server).await, ["paused - -"]);
    // What a hook is cannot be changed under its sender.
    for (fields, path) in [
        (json!({"name": "other", "secret": null}), "name"),
        (json!({"provider": "hmac", "secret": null}), "provider"),
        (json!({}), "secret"),
        (json!({"project_id": "nowhere", "secret": null}), "project_id"),
    ] {
        let refused = problem(put(&now, fields).await).await;
        assert_eq!(refused["errors"][0]["path"], path);
    }
    let delete = async |etag: &reqwest::header::HeaderValue| {
        let request = server
            .anonymous(Method::DELETE, "/api/v1/hooks/deploy")
            .bearer_auth(&server.admin);
        request
            .header("if-match", etag)
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    assert_eq!(
        (delete(&seen).await, delete(&now).await, delete(&now).await),
        (412, 200, 404)
    );
    let kinds = "select string_agg(kind, ' ' order by id) from event where kind like 'hook.%'";
    assert_eq!(
        ask(&server.pool, kinds).await,
        "hook.created hook.changed hook.deleted"
    );
}

#[tokio::test]
async fn hook_that_cannot_be_made_is_refused_with_the_reason() {
    let server = Server::start().await;
    make(&server, json!({})).await;
    for (fields, status, code) in [
        (json!({}), 409, "already_exists"),
        (json!({"name": "a/b"}), 422, "invalid_body"),
        (json!({"name": "x", "project_id": "nowhere"}), 422, "invalid_body"),
        (
            json!({"name": "x", "provider": "stripe", "secret": null, "filter": {}}),
            422,
            "invalid_body",
        ),
        (
            json!({"name": "x", "template": {"goal": "{{"}}),
            422,
            "invalid_body",
        ),
        (
            json!({"name": "x", "template": {"goal": "g", "steps": [{"step_id": "a", "argv": ["sh", "-c", "{{ branch }}"]}]}}),
            422,
            "invalid_body",
        ),
    ] {
        let answer = server.post("/api/v1/hooks", &hook(&fields)).send().await.unwrap();
        assert_eq!(answer.status(), status, "{fields}");
        let said = problem(answer).await;
        assert_eq!(said["code"], code);
        assert!(!said.to_string().contains(SECRET));
    }
}

#[tokio::test]
async fn hooks_and_callbacks_of_another_project_are_out_of_sight() {
    let server = Server::start().await;
    let other = server.project("other").await;
    make(&server, json!({})).await;
    let spec = json!({"goal": "g", "project_id": "demo", "callback_url": "https://example.com/", "steps": [{"step_id": "a", "argv": ["true"]}]});
    let job: Value = server
        .post("/api/v1/jobs", &spec)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let cancel = format!("/api/v1/jobs/{}/cancel", job["id"].as_str().unwrap());
    server.post(&cancel, &json!({})).send().await.unwrap();
    let list: Value = server
        .get("/api/v1/deliveries?project=demo&state=pending")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let delivery = list["items"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(list["items"][0]["job_id"], job["id"]);

    let admin = server.token(&[Scope::Admin], &[other]).await;
    let reader = server.token(&[Scope::Read], &[]).await;
    let one = format!("/api/v1/deliveries/{delivery}");
    let again = format!("{one}/redeliver");
    for (method, path, foreign, reading) in [
        (Method::GET, "/api/v1/hooks/deploy", 404, 200),
        (Method::GET, "/api/v1/hooks/deploy/deliveries", 404, 200),
        (Method::PUT, "/api/v1/hooks/deploy", 404, 403),
        (Method::DELETE, "/api/v1/hooks/deploy", 404, 403),
        (Method::POST, "/api/v1/hooks/deploy/rotate", 404, 403),
        (Method::GET, one.as_str(), 404, 200),
        (Method::POST, again.as_str(), 404, 403),
        (Method::GET, "/api/v1/projects/demo/callback-secrets", 404, 200),
        (Method::POST, "/api/v1/projects/demo/callback-secrets", 404, 403),
        (Method::GET, "/api/v1/deliveries?project=demo", 422, 200),
    ] {
        for (token, status) in [(&admin, foreign), (&reader, reading)] {
            let request = server.anonymous(method.clone(), path).bearer_auth(token);
            let request = if method == Method::GET {
                request
            } else {
                request.json(&json!({}))
            };
            assert_eq!(request.send().await.unwrap().status(), status, "{method} {path}");
        }
    }
    for path in ["/api/v1/hooks", "/api/v1/deliveries"] {
        let list: Value = server
            .anonymous(Method::GET, path)
            .bearer_auth(&admin)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert_eq!(list["items"], json!([]), "{path}");
    }
    let taken = server
        .anonymous(Method::POST, "/api/v1/hooks")
        .bearer_auth(&admin)
        .json(&hook(&json!({"project_id": "demo"})));
    assert_eq!(taken.send().await.unwrap().status(), 422);
}
