//! Probes, metrics, the document and its pages.

use std::time::Duration;

use orchestrator::store;
use reqwest::Method;
use serde_json::Value;

use super::server::{Server, problem};

#[tokio::test]
async fn a_service_with_its_schema_is_ready_and_says_its_version() {
    let server = Server::start().await;
    for path in ["/health", "/health/live", "/health/ready"] {
        let answer = server.anonymous(Method::GET, path).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let health: Value = answer.json().await.unwrap();
        assert_eq!(health["status"], "ok");
        assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
    }
}

#[tokio::test]
async fn a_schema_that_is_not_the_programs_is_red_with_the_remedy() {
    let server = Server::start().await;
    let newest = "delete from refinery_schema_history where version = (select max(version) from refinery_schema_history)";
    sqlx::query(newest).execute(&server.pool).await.unwrap();
    let answer = server
        .anonymous(Method::GET, "/health/ready")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    let problem = problem(answer).await;
    assert_eq!(problem["code"], "not_ready");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("orchestrator migrate")
    );
    let live = server
        .anonymous(Method::GET, "/health/live")
        .send()
        .await
        .unwrap();
    assert_eq!(live.status(), 200);
}

#[tokio::test]
async fn a_database_that_is_away_is_503_with_a_time_to_come_back() {
    let server = Server::start().await;
    server.pool.close().await;
    let answer = server.get("/api/v1/jobs").send().await.unwrap();
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    assert_eq!(problem(answer).await["code"], "database_unavailable");
    let ready = server
        .anonymous(Method::GET, "/health/ready")
        .send()
        .await
        .unwrap();
    assert_eq!(ready.status(), 503);
    assert_eq!(problem(ready).await["code"], "not_ready");
    let live = server
        .anonymous(Method::GET, "/health/live")
        .send()
        .await
        .unwrap();
    assert_eq!(live.status(), 200);
    let scrape = server.anonymous(Method::GET, "/metrics").send().await.unwrap();
    assert_eq!(scrape.status(), 200);
}

#[tokio::test]
async fn a_scrape_shows_the_queue_as_it_is_and_the_requests_by_route() {
    let server = Server::start().await;
    let job = server.job("demo").await;
    server.get(&format!("/api/v1/jobs/{job}")).send().await.unwrap();
    let scrape = server.anonymous(Method::GET, "/metrics").send().await.unwrap();
    assert_eq!(
        scrape.headers()["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let text = scrape.text().await.unwrap();
    for line in [
        r#"orchestrator_queue_jobs{state="available"}"#,
        "orchestrator_oldest_available_job_seconds",
        "orchestrator_database_up",
        r#"orchestrator_http_request_duration_seconds_count{method="GET",route="/api/v1/jobs/{id}",status="200"}"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    // An id in a label would make a time series a job.
    assert!(!text.contains(&job.to_string()));
    assert_eq!(store::stats::open_jobs(&server.pool).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_unknown_path_is_one_label_however_many_are_asked_for() {
    let server = Server::start().await;
    for path in ["/wp-admin.php", "/.env", "/api/v2/jobs"] {
        let answer = server.anonymous(Method::GET, path).send().await.unwrap();
        assert_eq!(answer.status(), 404);
        problem(answer).await;
    }
    let scrape = server.anonymous(Method::GET, "/metrics").send().await.unwrap();
    let text = scrape.text().await.unwrap();
    assert!(text.contains(r#"route="unmatched""#), "{text}");
    assert!(!text.contains("wp-admin"));
}

#[tokio::test]
async fn the_served_document_is_the_one_the_code_makes() {
    let server = Server::start().await;
    let answer = server
        .anonymous(Method::GET, "/openapi.json")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.headers()["content-type"], "application/json");
    let served: Value = answer.json().await.unwrap();
    assert_eq!(
        served,
        serde_json::to_value(orchestrator::api::document()).unwrap()
    );
}

#[tokio::test]
async fn swagger_ui_loads_from_here_alone_and_finds_the_document() {
    let server = Server::start().await;
    let page = server.anonymous(Method::GET, "/docs").send().await.unwrap();
    assert_eq!(page.url().path(), "/docs/");
    assert_eq!(page.status(), 200);
    let policy = page.headers()["content-security-policy"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(policy.contains("script-src 'self';"), "{policy}");
    let page = page.text().await.unwrap();
    assert!(
        !page.contains("<script>"),
        "a script in the page needs a weaker policy"
    );
    assert!(!page.contains("http://") && !page.contains("https://"));
    for file in [
        "swagger-ui-bundle.js",
        "swagger-ui-standalone-preset.js",
        "swagger-ui.css",
        "index.css",
    ] {
        assert!(page.contains(file), "{page}");
        let path = format!("/docs/{file}");
        let answer = server.anonymous(Method::GET, &path).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{file}");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        let kind = answer.headers()["content-type"].to_str().unwrap();
        assert!(
            kind.starts_with("text/"),
            "{file} is {kind}, which nosniff refuses"
        );
    }
    let path = "/docs/swagger-initializer.js";
    let script = server
        .anonymous(Method::GET, path)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(script.contains(r#""../openapi.json""#), "{script}");
    assert!(script.contains(r#""persistAuthorization": true"#), "{script}");
    assert!(script.contains(r#""validatorUrl": "none""#), "{script}");
}

#[tokio::test]
async fn a_request_that_runs_when_the_server_stops_is_finished() {
    let server = Server::start().await;
    let mut holder = server.pool.acquire().await.unwrap();
    sqlx::raw_sql("begin; lock table job")
        .execute(&mut *holder)
        .await
        .unwrap();
    let request = tokio::spawn(server.get("/api/v1/jobs").send());
    let waiting = "select count(*) from pg_locks where not granted and relation = 'job'::regclass";
    while sqlx::query_scalar::<_, i64>(waiting)
        .fetch_one(&mut *holder)
        .await
        .unwrap()
        == 0
    {
        tokio::task::yield_now().await;
    }
    server.stop.cancel();
    sqlx::raw_sql("commit").execute(&mut *holder).await.unwrap();
    assert_eq!(request.await.unwrap().unwrap().status(), 200);
    tokio::time::timeout(Duration::from_secs(20), server.task)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}
