//! A token that was looked up a moment ago is not looked up again by whoever submits, and opens no more for that.

use futures_util::future::join_all;
use orchestrator::app::authenticate::{Caller, Tokens, authenticate};
use orchestrator::app::hint::Hints;
use orchestrator::app::submit::{self, submit_with_others, together};
use orchestrator::domain::spec::JobSpec;
use orchestrator::domain::token::Scope;
use reqwest::{Method, Response};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::server::{Server, problem, spec};
use crate::support::{ask, tell, until};

/// A server, and a token for `demo` that it remembers.
struct Ground {
    server: Server,
    token: String,
}

impl Ground {
    async fn make() -> Self {
        let server = Server::start().await;
        let demo = server.project("demo").await;
        let token = server.token(&[Scope::Submit], &[demo]).await;
        let ground = Self { server, token };
        // Its use is noted, the row that makes is read, and the third is known.
        for _ in 0..3 {
            assert_eq!(ground.submit(&spec("demo")).await.status(), 202);
        }
        ground
    }

    async fn submit(&self, body: &Value) -> Response {
        let request = self.server.anonymous(Method::POST, "/webhook");
        request.bearer_auth(&self.token).json(body).send().await.unwrap()
    }

    /// Says `what` of the token's row.
    async fn set(&self, what: &str) {
        let statement = format!(
            "update token set {what} where hash = sha256('{}'::bytea)",
            self.token
        );
        tell(&self.server.pool, &statement).await;
    }

    async fn jobs(&self) -> String {
        ask(&self.server.pool, "select count(*) from job").await
    }
}

#[tokio::test]
async fn what_is_changed_of_a_token_holds_for_the_next_request() {
    for (what, status, code) in [
        ("revoked_at = now()", 401, "unauthenticated"),
        ("expires_at = now()", 401, "unauthenticated"),
        ("scopes = '{read}'", 403, "missing_scope"),
    ] {
        let ground = Ground::make().await;
        ground.set(what).await;
        let answer = ground.submit(&spec("demo")).await;
        assert_eq!(answer.status(), status, "{what}");
        assert_eq!(problem(answer).await["code"], code);
        assert_eq!(ground.jobs().await, "3", "{what}");
    }
}

#[tokio::test]
async fn who_is_nobody_any_more_learns_nothing_of_what_else_is_wrong() {
    let large = "x".repeat(20 << 20);
    for (kind, key, body) in [
        ("application/json", "a", "{}"),
        ("application/json", "a", ""),
        ("application/json", "", "{}"),
        ("application/json", "a", &large),
        ("text/plain", "a", "{}"),
    ] {
        let ground = Ground::make().await;
        ground.set("revoked_at = now()").await;
        let request = ground.server.anonymous(Method::POST, "/api/v1/jobs");
        let request = request.bearer_auth(&ground.token).header("content-type", kind);
        let answer = request
            .header("idempotency-key", key)
            .body(body.to_owned())
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 401, "{kind} {key:?} {}", body.len());
    }
}

#[tokio::test]
async fn who_was_looked_up_a_moment_ago_is_not_looked_up_again() {
    let ground = Ground::make().await;
    // By which tokens are looked up, and which the insert does not ask for.
    tell(
        &ground.server.pool,
        "alter table token rename column hash to digest",
    )
    .await;
    assert_eq!(ground.submit(&spec("demo")).await.status(), 202);
    assert_eq!(ground.submit(&spec("elsewhere")).await.status(), 500);
}

#[tokio::test]
async fn a_token_that_reaches_the_project_no_longer_is_refused() {
    let ground = Ground::make().await;
    let other = ground.server.project("other").await;
    tell(
        &ground.server.pool,
        &format!("update token_project set project_id = '{}'", other.0),
    )
    .await;
    let answer = ground.submit(&spec("demo")).await;
    assert_eq!(answer.status(), 403);
    assert_eq!(problem(answer).await["code"], "project_forbidden");
    assert_eq!(ground.submit(&spec("other")).await.status(), 202);
}

#[tokio::test]
async fn a_token_expires_by_itself() {
    let ground = Ground::make().await;
    ground.set("expires_at = now() + interval '2 seconds'").await;
    let mut accepted = 3;
    until(async || {
        let status = ground.submit(&spec("demo")).await.status();
        accepted += u32::from(status == 202);
        (status == 401).then_some(())
    })
    .await;
    assert_eq!(ground.jobs().await, accepted.to_string());
    let late = "select count(*) from job where created_at >= (select min(expires_at) from token)";
    assert_eq!(ask(&ground.server.pool, late).await, "0");
}

#[tokio::test]
async fn a_token_that_may_more_than_it_did_is_not_refused() {
    let ground = Ground::make().await;
    ground.server.project("other").await;
    assert_eq!(ground.submit(&spec("other")).await.status(), 403);
    ground.set("every_project = true").await;
    assert_eq!(ground.submit(&spec("other")).await.status(), 202);
    assert_eq!(ground.submit(&spec("nowhere")).await.status(), 422);
    ground.server.project("nowhere").await;
    assert_eq!(ground.submit(&spec("nowhere")).await.status(), 202);
}

#[tokio::test]
async fn jobs_go_to_the_project_that_has_the_alias_now() {
    let ground = Ground::make().await;
    ground.set("every_project = true").await;
    tell(
        &ground.server.pool,
        "delete from token_project; delete from job; delete from project where alias = 'demo'",
    )
    .await;
    assert_eq!(ground.submit(&spec("demo")).await.status(), 422);
    let demo = ground.server.project("demo").await;
    assert_eq!(ground.submit(&spec("demo")).await.status(), 202);
    let of = ask(&ground.server.pool, "select project_id from job").await;
    assert_eq!(of, demo.0.to_string());
}

#[tokio::test]
async fn keys_and_needs_are_answered_as_ever() {
    let ground = Ground::make().await;
    let mut keyed = spec("demo");
    keyed["idempotency_key"] = json!("one");
    let first = ground.submit(&keyed).await;
    assert_eq!(first.status(), 202);
    let first: Value = first.json().await.unwrap();
    let again = ground.submit(&keyed).await;
    assert_eq!(again.status(), 200);
    assert_eq!(again.json::<Value>().await.unwrap(), first);
    keyed["goal"] = json!("another");
    let reused = ground.submit(&keyed).await;
    assert_eq!(problem(reused).await["code"], "idempotency_key_reused");
    let mut unique = spec("demo");
    unique["unique_key"] = json!("one");
    let held: Value = ground.submit(&unique).await.json().await.unwrap();
    let again = ground.submit(&unique).await;
    assert_eq!(again.status(), 200);
    assert_eq!(again.json::<Value>().await.unwrap()["job_id"], held["job_id"]);
    let mut needing = spec("demo");
    needing["needs"] = json!([first["job_id"]]);
    assert_eq!(ground.submit(&needing).await.status(), 202);
    assert_eq!(ground.jobs().await, "6");
}

#[tokio::test]
async fn who_is_from_memory_puts_in_what_the_row_still_allows_and_is_never_refused_for_it() {
    let ground = Ground::make().await;
    let (pool, hints) = (&ground.server.pool, Hints::default());
    let (tokens, together) = (Tokens::of(pool), together(pool, &hints));
    let secret = SecretString::from(ground.token.clone());
    assert!(tokens.remembered(&secret).is_none(), "nobody was looked up here");
    let looked_up = authenticate(&tokens, &secret).await.unwrap();
    assert!(looked_up.seen.is_none());
    let caller = tokens.remembered(&secret).unwrap();
    assert!(caller.seen.is_some());
    let submit = async |caller: &Caller, body: &Value| {
        let spec = JobSpec::read(body.to_string().as_bytes()).unwrap();
        submit_with_others(pool, &hints, &together, caller, spec).await
    };
    let body = spec("demo");
    let (one, another) = tokio::join!(submit(&caller, &body), submit(&looked_up, &body));
    assert!(one.is_ok() && another.is_ok(), "{one:?}, {another:?}");
    let before = ground.jobs().await;
    let forgetful = Caller {
        projects: Some(Vec::new()),
        ..caller.clone()
    };
    for (caller, project) in [(&caller, "nowhere"), (&forgetful, "demo")] {
        let refused = submit(caller, &spec(project)).await;
        assert!(matches!(refused, Err(submit::Error::Outdated)), "{refused:?}");
    }
    ground.set("revoked_at = now()").await;
    let refused = submit(&caller, &spec("demo")).await;
    assert!(matches!(refused, Err(submit::Error::Outdated)), "{refused:?}");
    assert_eq!(ground.jobs().await, before);
}

#[tokio::test]
async fn what_the_database_refuses_of_one_takes_no_other_along() {
    let ground = Ground::make().await;
    tell(
        &ground.server.pool,
        "alter table job_spec add constraint goal_is_allowed check (spec ->> 'goal' <> 'refused')",
    )
    .await;
    let mut refused = spec("demo");
    refused["goal"] = json!("refused");
    let bodies: Vec<Value> = (0..20)
        .map(|place| {
            if place == 10 {
                refused.clone()
            } else {
                spec("demo")
            }
        })
        .collect();
    let answers = join_all(bodies.iter().map(|body| ground.submit(body))).await;
    for (place, answer) in answers.iter().enumerate() {
        assert_eq!(answer.status(), if place == 10 { 500 } else { 202 }, "{place}");
    }
    assert_eq!(ground.jobs().await, "22");
}
