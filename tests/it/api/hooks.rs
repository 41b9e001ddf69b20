//! Hooks over HTTP: made by administrators, called by other services.

use hmac_of::{github, standard};
use orchestrator::domain::token::Scope;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::server::{Server, problem};
use crate::support::ask;

const SECRET: &str = "It's a Secret to Everybody";

mod hmac_of {
    use ring::hmac::{HMAC_SHA256, Key, sign};

    /// What GitHub sends, made without the code that is tested.
    pub(super) fn github(secret: &str, body: &[u8]) -> String {
        let tag = sign(&Key::new(HMAC_SHA256, secret.as_bytes()), body);
        format!("sha256={}", hex::encode(tag))
    }

    pub(super) fn standard(secret: &str, id: &str, timestamp: i64, body: &str) -> String {
        use base64::Engine as _;
        let base64 = base64::engine::general_purpose::STANDARD;
        let key = base64.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let text = format!("{id}.{timestamp}.{body}");
        format!(
            "v1,{}",
            base64.encode(sign(&Key::new(HMAC_SHA256, &key), text.as_bytes()))
        )
    }
}

fn hook(fields: &Value) -> Value {
    let mut hook = json!({
        "name": "deploy", "project_id": "demo", "provider": "github", "secret": SECRET,
        "filter": {"events": ["push"], "branches": ["main"], "when": "not payload.deleted"},
        "template": {"goal": "Deploy {{ payload.after }}",
                     "steps": [{"step_id": "deploy", "argv": ["echo", "--", "{{ payload.after }}"]}]},
    });
    hook.as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    hook
}

async fn make(server: &Server, fields: Value) -> Value {
    let answer = server.post("/api/v1/hooks", &hook(&fields)).send().await.unwrap();
    assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
    answer.json().await.unwrap()
}

async fn push(server: &Server, delivery: &str, event: &str, body: &Value, secret: &str) -> Response {
    let body = body.to_string();
    server
        .anonymous(Method::POST, "/hooks/deploy")
        .header("content-type", "application/json")
        .header("x-github-event", event)
        .header("x-github-delivery", delivery)
        .header("x-hub-signature-256", github(secret, body.as_bytes()))
        .body(body)
        .send()
        .await
        .unwrap()
}

fn main_branch() -> Value {
    json!({"ref": "refs/heads/main", "after": "5f8d2a6", "deleted": false})
}

async fn deliveries(server: &Server) -> Vec<String> {
    let list: Value = server
        .get("/api/v1/hooks/deploy/deliveries")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let word = |row: &Value, field: &str| row[field].as_str().unwrap_or("-").to_owned();
    let mut rows: Vec<String> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| [word(row, "outcome"), word(row, "event"), word(row, "sender_id")].join(" "))
        .collect();
    rows.reverse();
    rows
}

#[tokio::test]
async fn event_of_github_makes_its_job_once_and_a_redelivery_is_answered_with_it() {
    let server = Server::start().await;
    make(&server, json!({})).await;
    let first = push(&server, "d-1", "push", &main_branch(), SECRET).await;
    assert_eq!(first.status(), 202);
    let first: Value = first.json().await.unwrap();
    let path = format!("/api/v1/jobs/{}", first["job_id"].as_str().unwrap());
    let job: Value = server.get(&path).send().await.unwrap().json().await.unwrap();
    assert_eq!(job["goal"], "Deploy 5f8d2a6");
    assert_eq!(job["spec"]["steps"][0]["argv"], json!(["echo", "--", "5f8d2a6"]));

    let again = push(&server, "d-1", "push", &main_branch(), SECRET).await;
    assert_eq!(again.status(), 200);
    assert_eq!(again.json::<Value>().await.unwrap(), first);
    let other = push(&server, "d-2", "push", &main_branch(), SECRET).await;
    assert_eq!(other.status(), 202);
    assert_eq!(
        deliveries(&server).await,
        ["accepted push d-1", "repeated push d-1", "accepted push d-2"]
    );
    let actor = "select string_agg(distinct actor, ' ') from event where kind = 'job.submitted'";
    assert_eq!(ask(&server.pool, actor).await, "hook:deploy");
}

#[tokio::test]
async fn same_delivery_at_the_same_instant_makes_one_job() {
    let server = Server::start().await;
    make(&server, json!({})).await;
    let body = main_branch();
    let answers =
        futures_util::future::join_all((0..12).map(|_| push(&server, "d", "push", &body, SECRET))).await;
    let mut jobs = std::collections::BTreeSet::new();
    let mut accepted = 0;
    for answer in answers {
        accepted += usize::from(answer.status() == StatusCode::ACCEPTED);
        jobs.insert(answer.json::<Value>().await.unwrap()["job_id"].to_string());
    }
    assert_eq!((jobs.len(), accepted), (1, 1));
    assert_eq!(ask(&server.pool, "select count(*) from job").await, "1");
    assert_eq!(deliveries(&server).await.len(), 12);
}

#[tokio::test]
async fn what_makes_no_job_is_answered_and_listed_with_its_reason() {
    let server = Server::start().await;
    make(&server, json!({})).await;
    let branch = json!({"ref": "refs/heads/other", "after": "a", "deleted": false});
    let deleted = json!({"ref": "refs/heads/main", "after": "a", "deleted": true});
    for (id, event, body, status, code) in [
        ("1", "ping", json!({"zen": "Keep it simple."}), 200, "pong"),
        ("2", "star", json!({}), 200, "ignored"),
        ("3", "push", branch, 200, "ignored"),
        ("4", "push", deleted, 200, "ignored"),
        // What the hook names is not in the event: its template is wrong, and the sender is told.
        ("5", "push", json!({"ref": "refs/heads/main"}), 422, "hook_failed"),
        (
            "6",
            "push",
            json!({"ref": "refs/heads/main", "deleted": false}),
            422,
            "hook_failed",
        ),
    ] {
        let answer = push(&server, id, event, &body, SECRET).await;
        assert_eq!(answer.status(), status, "{id}");
        let said: Value = answer.json().await.unwrap();
        let word = if status == 200 {
            &said["status"]
        } else {
            &said["code"]
        };
        assert_eq!(word, code, "{id}: {said}");
    }
    assert_eq!(ask(&server.pool, "select count(*) from job").await, "0");
    assert_eq!(
        ask(
            &server.pool,
            "select string_agg(outcome || ' ' || coalesce(reason, ''), '; ' order by id) from hook_delivery"
        )
        .await,
        "ping ; ignored event \"star\" is not in filter.events; ignored branch \"other\" is not in filter.branches; \
         ignored filter.when does not hold; failed filter.when: names something that is not in this event; \
         failed template.goal: names something that is not in this event; \
         template.steps[0].argv[2]: names something that is not in this event"
    );
    // Once the hook is mended, the same delivery makes its job.
    let mended = hook(
        &json!({"secret": null, "template": {"goal": "g", "steps": [{"step_id": "a", "argv": ["true"]}]}}),
    );
    let answer = server
        .anonymous(Method::PUT, "/api/v1/hooks/deploy")
        .bearer_auth(&server.admin)
        .json(&mended);
    assert_eq!(answer.send().await.unwrap().status(), 200);
    let again = push(
        &server,
        "6",
        "push",
        &json!({"ref": "refs/heads/main", "deleted": false}),
        SECRET,
    )
    .await;
    assert_eq!(again.status(), 202);
}

#[tokio::test]
async fn request_whose_signature_is_not_good_makes_nothing_and_fills_no_table() {
    let server = Server::start().await;
    make(&server, json!({})).await;
    let wrong = push(&server, "d", "push", &main_branch(), "another secret").await;
    assert_eq!(wrong.status(), 401);
    assert_eq!(problem(wrong).await["code"], "invalid_signature");
    // The same JSON, written anew, is another body.
    let body = main_branch().to_string();
    let answer = server
        .anonymous(Method::POST, "/hooks/deploy")
        .header("x-hub-signature-256", github(SECRET, body.as_bytes()))
        .body(body.replace(':', ": "))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 401);
    for _ in 0..70 {
        let answer = server
            .anonymous(Method::POST, "/hooks/deploy")
            .body("{}")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 401);
    }
    assert_eq!(
        ask(
            &server.pool,
            "select count(*) from hook_delivery where outcome = 'refused'"
        )
        .await,
        "60"
    );
    assert_eq!(ask(&server.pool, "select count(*) from job").await, "0");
    let unknown = server
        .anonymous(Method::POST, "/hooks/nowhere")
        .body("{}")
        .send()
        .await
        .unwrap();
    assert_eq!(unknown.status(), 404);
}

#[tokio::test]
async fn signed_request_of_another_time_is_refused_and_one_of_now_taken() {
    let server = Server::start().await;
    let made = make(
        &server,
        json!({"name": "svix", "provider": "standard", "secret": null, "filter": {"events": ["build.*"]},
        "template": {"goal": "{{ event }}", "steps": [{"step_id": "a", "argv": ["true"]}]}}),
    )
    .await;
    let secret = made["secret"].as_str().unwrap();
    let send = async |offset: i64| {
        let now = orchestrator::domain::clock::now().timestamp() + offset;
        let body = r#"{"type": "build.done"}"#;
        let request = server
            .anonymous(Method::POST, "/hooks/svix")
            .header("webhook-id", format!("msg_{offset}"))
            .header("webhook-timestamp", now)
            .header(
                "webhook-signature",
                standard(secret, &format!("msg_{offset}"), now, body),
            )
            .body(body);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(
        (
            send(0).await,
            send(-3600).await,
            send(3600).await,
            send(-100).await
        ),
        (202, 401, 401, 202)
    );
}

#[tokio::test]
async fn form_of_github_body_that_is_no_json_and_packed_body_are_told_apart() {
    let server = Server::start().await;
    make(&server, json!({})).await;
    let form = format!(
        "payload={}",
        url::form_urlencoded::byte_serialize(main_branch().to_string().as_bytes()).collect::<String>()
    );
    let send = async |kind: &str, body: &str, coding: Option<&str>| {
        let request = server
            .anonymous(Method::POST, "/hooks/deploy")
            .header("content-type", kind)
            .header("x-github-event", "push")
            .header("x-hub-signature-256", github(SECRET, body.as_bytes()))
            .body(body.to_owned());
        let request = match coding {
            Some(coding) => request.header("content-encoding", coding),
            None => request,
        };
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(send("application/x-www-form-urlencoded", &form, None).await, 202);
    assert_eq!(send("application/x-www-form-urlencoded", "a=b", None).await, 422);
    assert_eq!(send("application/json", "{", None).await, 422);
    assert_eq!(send("application/json", "", None).await, 422);
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(send("application/json", &nested, None).await, 422);
    assert_eq!(send("application/json", "{}", Some("gzip")).await, 415);
    assert_eq!(send("application/json", &"x".repeat(2_000_000), None).await, 413);
}

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

#[tokio::test]
async fn callback_is_shown_with_its_tries_and_sent_again_and_its_secret_is_replaced() {
    let server = Server::start().await;
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
    let id = ask(&server.pool, "select id from delivery").await;
    crate::support::tell(
        &server.pool,
        "update delivery set state = 'dead', finished_at = now(), attempts = 1; \
         insert into delivery_attempt (delivery_id, number, ended_at, status, reason) select id, 1, now(), 410, 'gone' from delivery",
    )
    .await;
    let path = format!("/api/v1/deliveries/{id}");
    let shown: Value = server.get(&path).send().await.unwrap().json().await.unwrap();
    assert_eq!(
        (&shown["delivery"]["state"], &shown["attempts"][0]["status"]),
        (&json!("dead"), &json!(410))
    );
    let again: Value = server
        .post(&format!("{path}/redeliver"), &json!({}))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(
        (&again["delivery"]["state"], &again["delivery"]["attempts"]),
        (&json!("pending"), &json!(1))
    );
    assert_eq!(
        server
            .get("/api/v1/deliveries/none")
            .send()
            .await
            .unwrap()
            .status(),
        404
    );

    let secrets = "/api/v1/projects/demo/callback-secrets";
    let made = server.post(secrets, &json!({})).send().await.unwrap();
    assert_eq!(made.status(), 201);
    let made: Value = made.json().await.unwrap();
    assert!(made["secret"].as_str().unwrap().starts_with("whsec_") && made["old_signs_until"].is_null());
    let next: Value = server
        .post(secrets, &json!({"overlap_sec": 60}))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert!(next["old_signs_until"].is_string());
    let list = server.get(secrets).send().await.unwrap().text().await.unwrap();
    assert!(!list.contains("whsec_"));
    assert_eq!(
        serde_json::from_str::<Value>(&list).unwrap()["items"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test]
async fn callback_url_that_cannot_be_called_is_refused_with_the_job() {
    let server = Server::start().await;
    for url in [
        "file:///etc/passwd",
        "https://user:pass@example.com/",
        "https://example.com:22/",
        "nowhere",
    ] {
        let spec = json!({"goal": "g", "project_id": "demo", "callback_url": url});
        let answer = server.post("/webhook", &spec).send().await.unwrap();
        assert_eq!(answer.status(), 422);
        assert_eq!(problem(answer).await["errors"][0]["path"], "callback_url");
    }
}

#[test]
fn document_shows_the_callback_as_the_database_writes_it() {
    let document = serde_json::to_value(orchestrator::api::document()).unwrap();
    let operation = &document["webhooks"]["jobEnded"]["post"];
    assert_eq!(
        operation["requestBody"]["content"]["application/json"]["schema"]["$ref"],
        "#/components/schemas/Callback"
    );
    let names = |schema: &str| -> Vec<String> {
        let properties = document["components"]["schemas"][schema]["properties"]
            .as_object()
            .unwrap();
        properties.keys().cloned().collect()
    };
    let migration = include_str!("../../../migrations/V31__callbacks.sql");
    for name in names("Callback").iter().chain(&names("JobEnd")) {
        assert!(
            migration.contains(&format!("'{name}', ")),
            "{name} is not written"
        );
    }
    assert_eq!(names("Callback").len() + names("JobEnd").len(), 3 + 13);
}
