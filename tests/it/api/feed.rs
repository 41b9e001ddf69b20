//! Events of all projects: as pages, and followed without loss while writers commit out of order.

use orchestrator::domain::token::Scope;
use reqwest::Method;
use serde_json::Value;

use super::logs::Reader;
use super::server::{Server, problem};
use crate::support::{ask, tell};

async fn follow(server: &Server, token: &str, query: &str, last: Option<i64>) -> Reader {
    let mut request = server
        .anonymous(Method::GET, &format!("/api/v1/events{query}"))
        .bearer_auth(token)
        .header("accept", "text/event-stream");
    if let Some(last) = last {
        request = request.header("last-event-id", last.to_string());
    }
    let mut reader = Reader::of(request.send().await.unwrap());
    reader.greeting().await;
    reader
}

async fn emit(server: &Server, kind: &str) {
    tell(
        &server.pool,
        &format!("insert into event (kind, actor) values ('{kind}', 'test')"),
    )
    .await;
}

#[tokio::test]
async fn who_follows_sees_what_happens_to_jobs_of_their_projects_and_no_others() {
    let server = Server::start().await;
    let demo = server.project("demo").await;
    server.project("other").await;
    let token = server.token(&[Scope::Read], &[demo]).await;
    let mut reader = follow(&server, &token, "", None).await;
    server.job("other").await;
    let job = server.job("demo").await;
    let event = reader.next().await.unwrap();
    assert_eq!(event.name, "job.submitted");
    assert_eq!(event.data["job_id"], job.to_string());
    assert_eq!(event.data["project_id"], "demo");
    assert_eq!(event.id, event.data["id"].to_string());
    server
        .post(&format!("/api/v1/jobs/{job}/cancel"), &Value::Null)
        .send()
        .await
        .unwrap();
    assert_eq!(reader.next().await.unwrap().name, "job.cancelled");
}

#[tokio::test]
async fn a_stream_that_broke_goes_on_behind_the_event_that_was_seen_last() {
    let server = Server::start().await;
    for number in 0..250 {
        emit(&server, &format!("test.{number}")).await;
    }
    let first = ask(&server.pool, "select min(id) from event")
        .await
        .parse::<i64>()
        .unwrap();
    let mut seen = Vec::new();
    let mut last = first - 1;
    // Broken after 100, 200, and then read to the end.
    for most in [100, 100, 50] {
        let mut reader = follow(&server, &server.admin, "", Some(last)).await;
        for _ in 0..most {
            let event = reader.next().await.unwrap();
            last = event.id.parse().unwrap();
            seen.push(event.name);
        }
    }
    let expected: Vec<String> = (0..250).map(|number| format!("test.{number}")).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn an_event_that_commits_after_a_later_one_is_not_lost() {
    let server = Server::start().await;
    let mut reader = follow(&server, &server.admin, "?kind=test.", None).await;
    // The first draws its id, and commits when the second was long there to be seen.
    let mut slow = server.pool.acquire().await.unwrap();
    sqlx::raw_sql("begin; insert into event (kind, actor) values ('test.slow', 'test')")
        .execute(&mut *slow)
        .await
        .unwrap();
    emit(&server, "test.fast").await;
    assert_eq!(
        ask(
            &server.pool,
            "select count(*) from event where kind = 'test.fast'"
        )
        .await,
        "1"
    );
    // A follower that comes now begins at what is settled, and waits as well.
    let late = follow(&server, &server.admin, "?kind=test.", Some(0));
    let (mut late, ()) = tokio::join!(late, async {
        sqlx::raw_sql("commit").execute(&mut *slow).await.unwrap();
    });
    for reader in [&mut reader, &mut late] {
        let names = [
            reader.next().await.unwrap().name,
            reader.next().await.unwrap().name,
        ];
        assert_eq!(names, ["test.slow", "test.fast"]);
    }
}

#[tokio::test]
async fn writers_at_once_are_all_heard_once_and_in_order() {
    let server = Server::start().await;
    let mut reader = follow(&server, &server.admin, "?kind=test.", None).await;
    let writers = (0..6).map(|writer| {
        let server = &server;
        async move {
            for number in 0..40 {
                // Some roll back, some hold their transaction for a while.
                let end = if number % 7 == 0 { "rollback" } else { "commit" };
                let kind = if end == "commit" { "test.kept" } else { "test.dropped" };
                let wait = f64::from((writer * number) % 5) / 1000.0;
                let statement = format!(
                    "begin; insert into event (kind, actor) values ('{kind}', '{writer}-{number}'); select pg_sleep({wait}); {end}"
                );
                tell(&server.pool, &statement).await;
            }
        }
    });
    futures_util::future::join_all(writers).await;
    emit(&server, "test.end").await;
    let mut ids = Vec::new();
    loop {
        let event = reader.next().await.unwrap();
        if event.name == "test.end" {
            break;
        }
        assert_eq!(event.name, "test.kept");
        ids.push(event.id.parse::<i64>().unwrap());
    }
    assert!(ids.is_sorted());
    let kept = ask(
        &server.pool,
        "select string_agg(id::text, ',' order by id) from event where kind = 'test.kept'",
    )
    .await;
    let heard: Vec<String> = ids.iter().map(ToString::to_string).collect();
    assert_eq!(heard.join(","), kept);
}

#[tokio::test]
async fn events_are_paged_from_the_latest_and_filters_bound_a_page() {
    let server = Server::start().await;
    for number in 0..5 {
        emit(&server, if number % 2 == 0 { "even.x" } else { "odd.x" }).await;
    }
    let mut path = "/api/v1/events?kind=even.&limit=2".to_owned();
    let mut ids = Vec::new();
    loop {
        let answer = server.get(&path).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let page: Value = answer.json().await.unwrap();
        ids.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|event| event["id"].as_i64().unwrap()),
        );
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/api/v1/events?kind=even.&limit=2&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(ids.len(), 3);
    assert!(ids.is_sorted_by(|a, b| a > b));
    for (query, path) in [
        ("kind=", "kind"),
        ("project=nowhere", "project"),
        ("limit=0", "limit"),
        ("cursor=AAAA", "cursor"),
    ] {
        let answer = server
            .get(&format!("/api/v1/events?{query}"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 422, "{query}");
        assert_eq!(problem(answer).await["errors"][0]["path"], path);
    }
    for id in ["1-1", "+1", "-1", "", "0000000000000000001", "999999999999999999"] {
        let odd = server
            .get("/api/v1/events")
            .header("last-event-id", id)
            .header("accept", "text/event-stream");
        let answer = odd.send().await.unwrap();
        assert_eq!(answer.status(), 422, "{id}");
        assert_eq!(problem(answer).await["errors"][0]["path"], "Last-Event-ID");
    }
}

#[tokio::test]
async fn a_page_looks_at_a_bounded_part_of_the_log_and_says_where_to_go_on() {
    let server = Server::start().await;
    emit(&server, "rare.x").await;
    tell(
        &server.pool,
        "insert into event (kind, actor) select 'common.x', 'test' from generate_series(1, 45000)",
    )
    .await;
    let mut path = "/api/v1/events?kind=rare.".to_owned();
    let mut pages = Vec::new();
    loop {
        let page: Value = server.get(&path).send().await.unwrap().json().await.unwrap();
        pages.push(page["items"].as_array().unwrap().len());
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/api/v1/events?kind=rare.&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(pages, [0, 0, 1]);
}

#[tokio::test]
async fn streams_end_with_their_token_and_show_nothing_that_comes_after() {
    let server = Server::start().await;
    let demo = server.project("demo").await;
    let job = server.job("demo").await;
    let token = server.token(&[Scope::Read], &[demo]).await;
    let mut events = follow(&server, &token, "", None).await;
    let logs = server
        .anonymous(Method::GET, &format!("/api/v1/jobs/{job}/logs"))
        .bearer_auth(&token)
        .header("accept", "text/event-stream");
    let mut logs = Reader::of(logs.send().await.unwrap());
    logs.greeting().await;
    let id = ask(
        &server.pool,
        &format!("select id from token where hash = sha256('{token}'::bytea)"),
    )
    .await;
    let revoked = server
        .post(&format!("/api/v1/tokens/{id}/revoke"), &Value::Null)
        .send()
        .await
        .unwrap();
    assert_eq!(revoked.status(), 200);
    let output = format!(
        "insert into log (job_id, attempt, seq, position, stream, at, body) values ('{job}', 1, 0, 0, 'stdout', now(), 'late')"
    );
    tell(&server.pool, &output).await;
    server.job("demo").await;
    assert!(events.next().await.is_none());
    assert!(logs.next().await.is_none());
}
