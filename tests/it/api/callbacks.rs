//! Callbacks over HTTP: looked at, sent again, their secrets replaced.

use serde_json::{Value, json};

use super::server::{Server, problem};
use crate::support::ask;

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
