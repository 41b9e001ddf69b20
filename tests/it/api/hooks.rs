//! Hooks over HTTP: made by administrators, called by other services.

use hmac_of::{github, standard};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::server::{Server, problem};
use crate::support::ask;

mod administration;

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
async fn what_no_table_can_hold_in_the_names_of_an_event_is_no_name_and_no_fault_of_ours() {
    let server = Server::start().await;
    let fields = json!({"provider": "bearer", "secret": SECRET, "filter": {}, "template": {"goal": "g {{ event }}", "steps": [{"step_id": "a", "argv": ["true"]}]}});
    make(&server, fields).await;
    for body in [
        json!({"type": "a\0b", "action": "\0", "branch": "b\0"}),
        json!({"event": "\0", "ref": "refs/heads/\0"}),
        json!({"type": "a", "text": "\0"}),
    ] {
        let answer = server
            .anonymous(Method::POST, "/hooks/deploy")
            .bearer_auth(SECRET)
            .json(&body)
            .send()
            .await
            .unwrap();
        let status = answer.status();
        assert!(
            status.is_success() || status.is_client_error(),
            "{body}: {status}"
        );
    }
    assert_eq!(deliveries(&server).await.len(), 3);
}
