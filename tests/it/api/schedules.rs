//! Schedules over HTTP: made, changed, steered, looked at.

use orchestrator::domain::token::Scope;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use super::server::{Server, problem};
use crate::support::ask;

const PATH: &str = "/api/v1/schedules";

fn nightly(name: &str) -> Value {
    json!({
        "name": name, "expression": "30 2 * * mon-fri", "zone": "Europe/Berlin",
        "job": { "goal": "Nightly report", "project_id": "demo", "steps": [{ "step_id": "a", "argv": ["true"] }] },
    })
}

impl Server {
    fn as_admin(&self, method: Method, path: &str) -> RequestBuilder {
        self.anonymous(method, path).bearer_auth(&self.admin)
    }

    /// A schedule that was made, and its version.
    async fn made(&self, body: &Value) -> (String, String) {
        let answer = self.post(PATH, body).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
        let version = answer.headers()["etag"].to_str().unwrap().to_owned();
        let place = answer.headers()["location"].to_str().unwrap().to_owned();
        (place, version)
    }
}

async fn answered(request: RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn schedule_is_made_shown_changed_and_deleted() {
    let server = Server::start().await;
    let (place, version) = server.made(&nightly("report")).await;
    let (status, shown) = answered(server.get(&place)).await;
    assert_eq!(status, 200);
    assert_eq!(shown["description"], "At 02:30, Monday to Friday.");
    assert_eq!(
        (&shown["project_id"], &shown["definition"]["expression"]),
        (&json!("demo"), &json!("30 2 * * MON-FRI"))
    );
    assert_eq!(shown["next_runs"].as_array().unwrap().len(), 5);
    assert_eq!(shown["definition"]["enabled"], true);

    // A change begins with what was shown.
    let mut definition = shown["definition"].clone();
    definition["overlap"] = json!("queue_one");
    let put = |version: &str| {
        let request = server.as_admin(Method::PUT, &place).json(&definition);
        request.header("if-match", version.to_owned())
    };
    let changed = put(&version).send().await.unwrap();
    assert_eq!(changed.status(), 200);
    let second = changed.headers()["etag"].to_str().unwrap().to_owned();
    assert_ne!(second, version);
    let stale = put(&version).send().await.unwrap();
    assert_eq!(stale.status(), 412);
    assert_eq!(problem(stale).await["code"], "precondition_failed");
    assert_eq!(
        put(&format!("{version}, {second}"))
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    assert_eq!(put("*").send().await.unwrap().status(), 200);
    assert_eq!(put("\"another\"").send().await.unwrap().status(), 412);

    let (status, gone) = answered(server.as_admin(Method::DELETE, &place)).await;
    assert_eq!((status, &gone["name"]), (200, &json!("report")));
    assert_eq!(server.get(&place).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn schedule_is_paused_resumed_and_run_now() {
    let server = Server::start().await;
    let (place, _) = server.made(&nightly("report")).await;
    let (_, paused) = answered(server.post(&format!("{place}/pause?reason=new+disk"), &json!({}))).await;
    assert_eq!(
        (&paused["pause_reason"], &paused["definition"]["enabled"]),
        (&json!("new disk"), &json!(false))
    );
    assert!(paused["paused_at"].is_string());
    let (status, _) = answered(server.post(&format!("{place}/resume?catch_up=maybe"), &json!({}))).await;
    assert_eq!(status, 422);
    let (_, resumed) = answered(server.post(&format!("{place}/resume?catch_up=true"), &json!({}))).await;
    assert_eq!(
        (&resumed["paused_at"], &resumed["version"]),
        (&Value::Null, &json!(3))
    );

    let trigger = async |key: &'static str| {
        let request = server.post(&format!("{place}/trigger"), &json!({}));
        answered(request.header("idempotency-key", key)).await
    };
    let (status, first) = trigger("one").await;
    assert_eq!(
        (status, &first["decision"], &first["reason"], &first["actor"]),
        (200, &json!("fired"), &json!("triggered"), &json!("token:dev"))
    );
    assert_eq!(trigger("one").await.1["job_id"], first["job_id"]);
    let (_, second) = trigger("two").await;
    assert_eq!(
        (&second["decision"], &second["reason"]),
        (&json!("skipped"), &json!("overlap"))
    );
    let job = format!("/api/v1/jobs/{}", first["job_id"].as_str().unwrap());
    assert_eq!(server.get(&job).send().await.unwrap().status(), 200);

    let (_, history) = answered(server.get(&format!("{place}/occurrences?limit=1"))).await;
    assert_eq!(history["items"][0]["reason"], "overlap");
    let cursor = history["next_cursor"].as_str().unwrap();
    let (_, rest) = answered(server.get(&format!("{place}/occurrences?limit=1&cursor={cursor}"))).await;
    assert_eq!(rest["items"][0]["job_state"], "available");
    assert!(rest["next_cursor"].is_null());
    let (_, fired) = answered(server.get(&format!("{place}/occurrences?decision=fired"))).await;
    assert_eq!(fired["items"].as_array().unwrap().len(), 1);
    assert_eq!(
        server
            .get(&format!("{place}/occurrences?decision=often"))
            .send()
            .await
            .unwrap()
            .status(),
        422
    );
}

#[tokio::test]
async fn list_is_of_the_tokens_projects_a_page_at_a_time() {
    let server = Server::start().await;
    server.project("other").await;
    for name in ["a", "b", "c"] {
        server.made(&nightly(name)).await;
    }
    let mut elsewhere = nightly("a");
    elsewhere["job"]["project_id"] = json!("other");
    elsewhere["enabled"] = json!(false);
    server.made(&elsewhere).await;
    let names = async |path: &str| {
        let (_, list) = answered(server.get(&format!("{PATH}{path}"))).await;
        let items = list["items"].as_array().unwrap();
        let name = |item: &Value| {
            format!(
                "{}/{}",
                item["project_id"].as_str().unwrap(),
                item["name"].as_str().unwrap()
            )
        };
        (
            items.iter().map(name).collect::<Vec<_>>().join(" "),
            list["next_cursor"].clone(),
        )
    };
    assert_eq!(names("").await.0, "other/a demo/c demo/b demo/a");
    assert_eq!(names("?project=demo").await.0, "demo/c demo/b demo/a");
    assert_eq!(names("?paused=true").await.0, "other/a");
    let (first, next) = names("?limit=3").await;
    assert_eq!(first, "other/a demo/c demo/b");
    assert_eq!(
        names(&format!("?limit=3&cursor={}", next.as_str().unwrap()))
            .await
            .0,
        "demo/a"
    );
    assert_eq!(
        server
            .get(&format!("{PATH}?project=nowhere"))
            .send()
            .await
            .unwrap()
            .status(),
        422
    );
}

#[tokio::test]
async fn nothing_of_another_project_is_seen_or_touched() {
    let server = Server::start().await;
    let other = server.project("other").await;
    let (place, _) = server.made(&nightly("report")).await;
    let stranger = server.token(&[Scope::Operate, Scope::Read], &[other]).await;
    let as_stranger = |method: Method, path: &str| server.anonymous(method, path).bearer_auth(&stranger);
    for (method, path) in [
        (Method::GET, place.clone()),
        (Method::DELETE, place.clone()),
        (Method::POST, format!("{place}/pause")),
        (Method::POST, format!("{place}/resume")),
        (Method::POST, format!("{place}/trigger")),
        (Method::GET, format!("{place}/occurrences")),
    ] {
        let answer = as_stranger(method.clone(), &path).send().await.unwrap();
        assert_eq!(answer.status(), 404, "{method} {path}");
    }
    let put = as_stranger(Method::PUT, &place).json(&nightly("report"));
    assert_eq!(put.send().await.unwrap().status(), 404);
    let made = as_stranger(Method::POST, PATH).json(&nightly("mine"));
    assert_eq!(made.send().await.unwrap().status(), 403);
    let (_, list) = answered(as_stranger(Method::GET, PATH)).await;
    assert_eq!(list["items"], json!([]));
    assert_eq!(
        ask(
            &server.pool,
            "select count(*) from schedule where paused_at is null"
        )
        .await,
        "1"
    );
    // A reader of the right project may look and not touch.
    let demo = ask(&server.pool, "select id from project where alias = 'demo'").await;
    let demo = orchestrator::domain::id::ProjectId(demo.parse().unwrap());
    let reader = server.token(&[Scope::Read, Scope::Submit], &[demo]).await;
    let get = server.anonymous(Method::GET, &place).bearer_auth(&reader);
    assert_eq!(get.send().await.unwrap().status(), 200);
    let pause = server
        .anonymous(Method::POST, &format!("{place}/pause"))
        .bearer_auth(&reader);
    assert_eq!(pause.send().await.unwrap().status(), 403);
}

#[tokio::test]
async fn what_is_wrong_with_a_definition_is_named_and_nothing_is_stored() {
    let server = Server::start().await;
    let refused = async |field: &str, value: Value| {
        let mut body = nightly("report");
        body[field] = value;
        let answer = server.post(PATH, &body).send().await.unwrap();
        assert_eq!(answer.status(), 422, "{body}");
        problem(answer).await["errors"][0].clone()
    };
    for (expression, said) in [
        ("61 * * * *", "minute field, character 1: 61 is out of range"),
        ("0 0 30 2 *", "the date never comes"),
        ("* * * *", "found 4 fields"),
        ("*/0 * * * *", "a step of 0"),
        ("", "the expression is empty"),
        ("0 0 * * * \u{0}", "a NUL"),
        ("every 5m10m", "write an interval"),
        ("🦀 * * * *", "is not"),
        (&"1,".repeat(5000), "characters long"),
    ] {
        let error = refused("expression", json!(expression)).await;
        assert_eq!(error["path"], "expression");
        assert!(
            error["message"].as_str().unwrap().contains(said),
            "{expression:?}: {error}"
        );
    }
    assert_eq!(refused("zone", json!("Europe/Berln")).await["path"], "zone");
    assert_eq!(refused("name", json!("a/b")).await["path"], "name");
    assert_eq!(refused("jitter_sec", json!(-1)).await["path"], "jitter_sec");
    assert_eq!(
        refused("job", json!({ "goal": "", "project_id": "demo" })).await["path"],
        "job.goal"
    );
    let nowhere = json!({ "goal": "g", "project_id": "nowhere" });
    assert_eq!(refused("job", nowhere).await["path"], "job.project_id");
    assert_eq!(refused("tz", json!("UTC")).await["path"], "tz");
    assert_eq!(ask(&server.pool, "select count(*) from schedule").await, "0");
    server.made(&nightly("report")).await;
    let taken = server.post(PATH, &nightly("report")).send().await.unwrap();
    assert_eq!(taken.status(), 409);
    assert_eq!(problem(taken).await["code"], "already_exists");
}

#[tokio::test]
async fn expression_is_previewed_without_being_stored() {
    let server = Server::start().await;
    let look = async |query: &[(&str, &str)]| {
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(query)
            .finish();
        answered(server.get(&format!("{PATH}/preview?{query}"))).await
    };
    let (status, preview) = look(&[
        ("expression", "30 2 * * *"),
        ("zone", "Europe/Berlin"),
        ("from", "2026-03-28T12:00:00Z"),
        ("count", "2"),
    ])
    .await;
    assert_eq!(status, 200);
    assert_eq!(
        preview,
        json!({ "description": "At 02:30.", "runs": [{ "at": "2026-03-29T03:00:00+02:00" }, { "at": "2026-03-30T02:30:00+02:00" }] })
    );
    for (query, path) in [
        (vec![("expression", "* * *")], "expression"),
        (vec![("expression", "@daily"), ("zone", "Mars")], "zone"),
        (vec![("expression", "@daily"), ("count", "0")], "count"),
        (vec![("expression", "@daily"), ("count", "1001")], "count"),
        (vec![("expression", "@daily"), ("from", "tomorrow")], "from"),
    ] {
        let (status, problem) = look(&query).await;
        assert_eq!(
            (status, &problem["errors"][0]["path"]),
            (422, &json!(path)),
            "{query:?}"
        );
    }
}

#[tokio::test]
async fn late_schedule_is_seen_in_the_metrics() {
    let server = Server::start().await;
    server.made(&nightly("report")).await;
    let lag = async || {
        let text = server.get("/metrics").send().await.unwrap().text().await.unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with("orchestrator_scheduler_lag_seconds "))
            .unwrap();
        line.split(' ').nth(1).unwrap().parse::<f64>().unwrap()
    };
    assert_eq!(lag().await, 0.0);
    crate::support::tell(
        &server.pool,
        "update schedule set next_due_at = now() - interval '90 s', fire_at = now() - interval '90 s'",
    )
    .await;
    // A scrape looks again only after a while.
    crate::support::until(async || (lag().await >= 90.0).then_some(())).await;
}
