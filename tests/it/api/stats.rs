//! Figures at a glance, of the caller's projects.

use orchestrator::app::roll_up::roll_up;
use orchestrator::domain::token::Scope;
use serde_json::{Value, json};

use super::server::Server;

async fn figures(server: &Server, token: &str) -> Value {
    let request = server.anonymous(reqwest::Method::GET, "/api/v1/stats");
    let answer = request.bearer_auth(token).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.json().await.unwrap()
}

#[tokio::test]
async fn stats_count_what_is_open_and_what_came_in_of_the_callers_projects_only() {
    let server = Server::start().await;
    let other = server.project("other").await;
    for _ in 0..2 {
        server.job("demo").await;
    }
    let job = server.job("other").await;
    let cancel = format!("/api/v1/jobs/{job}/cancel");
    assert_eq!(
        server.post(&cancel, &Value::Null).send().await.unwrap().status(),
        200
    );
    while roll_up(&server.pool).await.unwrap() {}

    let all = figures(&server, &server.admin).await;
    assert_eq!(all["open"]["available"], 2);
    assert_eq!(all["open"]["running"], 0);
    assert!(all["oldest_available_sec"].as_f64().unwrap() >= 0.0);
    let day = &all["days"][0];
    assert_eq!((&day["submitted"], &day["cancelled"]), (&json!(3), &json!(1)));

    let theirs = figures(&server, &server.token(&[Scope::Read], &[other]).await).await;
    assert_eq!(theirs["open"]["available"], 0);
    assert_eq!(theirs["oldest_available_sec"], Value::Null);
    assert_eq!(
        (&theirs["days"][0]["submitted"], &theirs["days"][0]["cancelled"]),
        (&json!(1), &json!(1))
    );
}
