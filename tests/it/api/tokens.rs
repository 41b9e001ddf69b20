//! Tokens over HTTP: the secret is seen once, works at once, and stops when it must.

use orchestrator::domain::token::Scope;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::server::{Server, problem};
use crate::support::{ask, tell};

async fn make(server: &Server, body: &Value) -> Value {
    let answer = server.post("/api/v1/tokens", body).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let token: Value = answer.json().await.unwrap();
    assert_eq!(
        location,
        format!("/api/v1/tokens/{}", token["id"].as_str().unwrap())
    );
    token
}

async fn opens(server: &Server, secret: &str) -> StatusCode {
    let request = server.anonymous(Method::GET, "/api/v1/jobs").bearer_auth(secret);
    request.send().await.unwrap().status()
}

async fn act(server: &Server, token: &Value, action: &str, body: &Value) -> reqwest::Response {
    let path = format!("/api/v1/tokens/{}/{action}", token["id"].as_str().unwrap());
    server.post(&path, body).send().await.unwrap()
}

#[tokio::test]
async fn a_secret_is_shown_once_and_kept_nowhere() {
    let server = Server::start().await;
    let token = make(
        &server,
        &json!({"name": "ci", "scopes": ["read"], "projects": ["demo"]}),
    )
    .await;
    let secret = token["secret"].as_str().unwrap();
    assert!(secret.starts_with("orc_") && secret.len() == 42);
    assert_eq!(token["prefix"], secret[..8]);
    assert_eq!(
        (&token["state"], &token["projects"]),
        (&json!("active"), &json!(["demo"]))
    );
    assert_eq!(opens(&server, secret).await, 200);
    let shown = server
        .get(&format!("/api/v1/tokens/{}", token["id"].as_str().unwrap()))
        .send()
        .await
        .unwrap();
    assert!(!shown.text().await.unwrap().contains(&secret[8..]));
    let everywhere = "select string_agg(x, ' ') from (select token::text as x from token union all
                      select event::text from event union all select encode(body, 'escape') from idempotent_request) as all_of_it";
    assert!(!ask(&server.pool, everywhere).await.contains(&secret[8..]));
    // The last use is noted, to the minute.
    let used = ask(
        &server.pool,
        "select count(*) from token where name = 'ci' and last_used_at > now() - interval '1 minute'",
    )
    .await;
    assert_eq!(used, "1");
}

#[tokio::test]
async fn a_repeat_under_the_same_key_makes_no_second_token_and_shows_no_secret() {
    let server = Server::start().await;
    let body = json!({"name": "ci", "scopes": ["read"], "projects": ["*"]});
    let send = || {
        server
            .post("/api/v1/tokens", &body)
            .header("idempotency-key", "a")
            .send()
    };
    let first: Value = send().await.unwrap().json().await.unwrap();
    let again = send().await.unwrap();
    assert_eq!(again.status(), 201);
    assert_eq!(
        again.headers()["location"],
        format!("/api/v1/tokens/{}", first["id"].as_str().unwrap())
    );
    let again: Value = again.json().await.unwrap();
    assert_eq!((&again["id"], &again["secret"]), (&first["id"], &Value::Null));
    assert_eq!(
        ask(&server.pool, "select count(*) from token where name = 'ci'").await,
        "1"
    );
}

#[tokio::test]
async fn rotation_leaves_the_old_secret_good_for_the_overlap() {
    let server = Server::start().await;
    let old = make(&server, &json!({"name": "ci", "scopes": ["read"], "projects": ["demo"], "expires_at": "2199-01-01T00:00:00Z"})).await;
    let answer = act(&server, &old, "rotate", &json!({"overlap_sec": 3600})).await;
    assert_eq!(answer.status(), 201);
    let new: Value = answer.json().await.unwrap();
    assert_eq!(
        (&new["name"], &new["scopes"], &new["projects"]),
        (&old["name"], &old["scopes"], &old["projects"])
    );
    assert_eq!(new["rotated_from"], old["id"]);
    assert!(new["expires_at"].as_str().unwrap() > "2199");
    for token in [&old, &new] {
        assert_eq!(opens(&server, token["secret"].as_str().unwrap()).await, 200);
    }
    let in_an_hour = "select count(*) from token where expires_at between now() + interval '59 minutes' and now() + interval '61 minutes'";
    assert_eq!(ask(&server.pool, in_an_hour).await, "1");
    // As an hour later.
    tell(
        &server.pool,
        "update token set expires_at = now() where expires_at < now() + interval '61 minutes'",
    )
    .await;
    assert_eq!(opens(&server, old["secret"].as_str().unwrap()).await, 401);
    assert_eq!(opens(&server, new["secret"].as_str().unwrap()).await, 200);
    let over = act(&server, &old, "rotate", &json!({})).await;
    assert_eq!(over.status(), 409);
    assert_eq!(problem(over).await["code"], "wrong_state");
    // Without a body there is a day of overlap; with none the old one is over at once.
    let path = format!("/api/v1/tokens/{}/rotate", new["id"].as_str().unwrap());
    let bare = server
        .anonymous(Method::POST, &path)
        .bearer_auth(&server.admin)
        .send()
        .await
        .unwrap();
    let newer: Value = bare.json().await.unwrap();
    act(&server, &newer, "rotate", &json!({"overlap_sec": 0})).await;
    assert_eq!(opens(&server, newer["secret"].as_str().unwrap()).await, 401);
}

#[tokio::test]
async fn revocation_holds_from_its_answer_on_and_can_be_repeated() {
    let server = Server::start().await;
    let token = make(
        &server,
        &json!({"name": "ci", "scopes": ["read"], "projects": ["*"]}),
    )
    .await;
    let secret = token["secret"].as_str().unwrap();
    assert_eq!(opens(&server, secret).await, 200);
    for _ in 0..2 {
        let answer = act(&server, &token, "revoke", &Value::Null).await;
        assert_eq!(answer.status(), 200);
        let revoked: Value = answer.json().await.unwrap();
        assert_eq!(
            (&revoked["state"], &revoked["revoked_by"]),
            (&json!("revoked"), &json!("token:dev"))
        );
        assert_eq!(opens(&server, secret).await, 401);
    }
    assert_eq!(
        ask(
            &server.pool,
            "select count(*) from event where kind = 'token.revoked'"
        )
        .await,
        "1"
    );
}

#[tokio::test]
async fn nobody_gives_what_they_do_not_have() {
    let server = Server::start().await;
    let other = server.project("other").await;
    let limited = server.token(&[Scope::Admin], &[other]).await;
    let send = |projects: Value| {
        let body = json!({"name": "x", "scopes": ["admin"], "projects": projects});
        server
            .anonymous(Method::POST, "/api/v1/tokens")
            .bearer_auth(&limited)
            .json(&body)
            .send()
    };
    for projects in [
        json!(["*"]),
        json!(["demo"]),
        json!(["other", "demo"]),
        json!(["nowhere"]),
    ] {
        let answer = send(projects.clone()).await.unwrap();
        assert_eq!(answer.status(), 403, "{projects}");
        assert_eq!(problem(answer).await["code"], "project_forbidden");
    }
    assert_eq!(send(json!(["other"])).await.unwrap().status(), 201);
    // Of tokens that reach more than theirs, they see none.
    let list = server
        .anonymous(Method::GET, "/api/v1/tokens")
        .bearer_auth(&limited)
        .send()
        .await
        .unwrap();
    let list: Value = list.json().await.unwrap();
    let all_theirs = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .all(|token| token["projects"] == json!(["other"]));
    assert!(
        all_theirs && list["items"].as_array().unwrap().len() == 2,
        "{list}"
    );
}

#[tokio::test]
async fn what_makes_no_token_is_refused_with_its_path() {
    let server = Server::start().await;
    for (change, path) in [
        (json!({"name": ""}), "name"),
        (json!({"name": "a\nb"}), "name"),
        (json!({"scopes": []}), "scopes"),
        (json!({"scopes": ["read", "read"]}), "scopes"),
        (json!({"scopes": ["root"]}), "scopes[0]"),
        (json!({"projects": []}), "projects"),
        (json!({"projects": ["*", "demo"]}), "projects"),
        (json!({"projects": ["nowhere"]}), "projects[0]"),
        (json!({"expires_at": "2001-01-01T00:00:00Z"}), "expires_at"),
        (json!({"secret": "mine"}), "secret"),
    ] {
        let mut body = json!({"name": "ci", "scopes": ["read"], "projects": ["demo"]});
        body.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let answer = server.post("/api/v1/tokens", &body).send().await.unwrap();
        assert_eq!(answer.status(), 422, "{change}");
        assert_eq!(problem(answer).await["errors"][0]["path"], path, "{change}");
    }
}

#[tokio::test]
async fn a_token_of_the_environment_that_was_revoked_stays_so_when_the_service_starts_again() {
    use orchestrator::app::environment::synchronise;
    use orchestrator::domain::environment::EnvironmentToken;
    let server = Server::start().await;
    let named = |secret: &str| EnvironmentToken {
        secret: secret.to_owned().into(),
        projects: None,
    };
    let start = async |tokens: &[EnvironmentToken]| synchronise(&server.pool, &[], tokens).await.unwrap();
    start(&[named("token-a"), named("token-b")]).await;
    assert_eq!(
        (
            opens(&server, "token-a").await.as_u16(),
            opens(&server, "token-b").await.as_u16()
        ),
        (200, 200)
    );
    // No longer named, and named again.
    start(&[named("token-a")]).await;
    assert_eq!(opens(&server, "token-b").await, 401);
    start(&[named("token-a"), named("token-b")]).await;
    assert_eq!(opens(&server, "token-b").await, 200);
    let id = ask(
        &server.pool,
        "select id from token where hash = sha256('token-b'::bytea)",
    )
    .await;
    let token = json!({ "id": id });
    assert_eq!(act(&server, &token, "revoke", &Value::Null).await.status(), 200);
    start(&[named("token-a"), named("token-b")]).await;
    assert_eq!(opens(&server, "token-b").await, 401);
    // The environment is where such a secret is changed.
    let id = ask(
        &server.pool,
        "select id from token where hash = sha256('token-a'::bytea)",
    )
    .await;
    assert_eq!(
        act(&server, &json!({ "id": id }), "rotate", &json!({}))
            .await
            .status(),
        409
    );
}
