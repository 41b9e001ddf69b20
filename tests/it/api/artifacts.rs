//! What jobs left behind, listed and downloaded.

use orchestrator::app::lease::{Content, NewFile};
use orchestrator::domain::id::JobId;
use orchestrator::domain::token::Scope;
use orchestrator::objects::Objects;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::Value;

use super::jobs::{claim, session};
use super::server::{Server, problem};

/// A job with an artifact of its own and one of a step.
async fn job_with_artifacts(server: &Server) -> JobId {
    let job = server.job("demo").await;
    let session = session(server).await;
    let fence = claim(&session).await;
    let objects = Objects::directory(&server.artifacts);
    let file = |path: &str, text: &str| NewFile {
        path: path.to_owned(),
        media_type: "text/plain; charset=utf-8",
        content: Content::Text(text.to_owned()),
    };
    let files = [file("steps/hello/logs.txt", "0123456789")];
    assert!(
        session
            .keep_files(&objects, fence, Some((0, "steps/hello")), &files)
            .await
            .unwrap()
    );
    let files = [file("report.md", "# é\n"), file("empty.txt", "")];
    assert!(session.keep_files(&objects, fence, None, &files).await.unwrap());
    job
}

async fn answer(request: RequestBuilder) -> (StatusCode, reqwest::header::HeaderMap, String) {
    let answer = request.send().await.unwrap();
    (
        answer.status(),
        answer.headers().clone(),
        answer.text().await.unwrap(),
    )
}

#[tokio::test]
async fn artifacts_are_listed_and_downloaded_whole_and_in_part() {
    let server = Server::start().await;
    let job = job_with_artifacts(&server).await;
    let list: Value = server
        .get(&format!("/api/v1/jobs/{job}/artifacts"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let paths: Vec<&str> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths, ["empty.txt", "report.md", "steps/hello/logs.txt"]);
    let (url, sha256) = (
        list["items"][2]["url"].as_str().unwrap(),
        list["items"][2]["sha256"].as_str().unwrap(),
    );
    let tag = format!("\"{sha256}\"");

    let (status, headers, body) = answer(server.get(url)).await;
    assert_eq!((status.as_u16(), body.as_str()), (200, "0123456789"));
    assert_eq!(headers["etag"], tag.as_str());
    assert_eq!(headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(headers["content-length"], "10");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    // The same with the slashes encoded, as programs made from the document write them.
    let encoded = format!("/api/v1/jobs/{job}/artifacts/steps%2Fhello%2Flogs.txt");
    assert_eq!(answer(server.get(&encoded)).await.2, "0123456789");

    for (range, status, content, body) in [
        ("bytes=2-4", 206, "bytes 2-4/10", "234"),
        ("bytes=7-", 206, "bytes 7-9/10", "789"),
        ("bytes=-2", 206, "bytes 8-9/10", "89"),
        ("bytes=0-1,3-4", 200, "", "0123456789"),
    ] {
        let (got, headers, text) = answer(server.get(url).header("range", range)).await;
        assert_eq!((got.as_u16(), text.as_str()), (status, body), "{range}");
        let said = headers
            .get("content-range")
            .map_or("", |value| value.to_str().unwrap());
        assert_eq!(said, content, "{range}");
    }
    let beyond = server.get(url).header("range", "bytes=10-").send().await.unwrap();
    assert_eq!(
        (beyond.status().as_u16(), &beyond.headers()["content-range"]),
        (416, &"bytes */10".parse().unwrap())
    );
    assert_eq!(problem(beyond).await["code"], "range_not_satisfiable");

    let (status, _, body) = answer(server.get(url).header("if-none-match", &tag)).await;
    assert_eq!((status.as_u16(), body.as_str()), (304, ""));
    let other = server
        .get(url)
        .header("if-range", "\"other\"")
        .header("range", "bytes=2-4");
    assert_eq!(answer(other).await.0, 200);
    let head = server
        .anonymous(reqwest::Method::HEAD, url)
        .bearer_auth(&server.admin);
    let (status, headers, body) = answer(head).await;
    assert_eq!(
        (status.as_u16(), &headers["etag"], body.as_str()),
        (200, &tag.parse().unwrap(), "")
    );
    let (status, _, body) = answer(server.get(&format!("/api/v1/jobs/{job}/artifacts/empty.txt"))).await;
    assert_eq!((status.as_u16(), body.as_str()), (200, ""));
}

#[tokio::test]
async fn nothing_but_artifacts_of_a_job_the_token_reaches_is_found() {
    let server = Server::start().await;
    let job = job_with_artifacts(&server).await;
    std::fs::write(server.artifacts.join("secret"), "s3cret").unwrap();
    std::fs::write(server.artifacts.join(job.to_string()).join("unlisted"), "s3cret").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", server.artifacts.join(job.to_string()).join("link")).unwrap();
    for path in [
        "../secret",
        "%2e%2e/secret",
        "..%2Fsecret",
        "unlisted",
        "link",
        "steps",
        "steps/",
        "steps/hello",
        "/etc/passwd",
        "%2Fetc%2Fpasswd",
        "report.md%00",
        "report.md/",
        "steps//hello/logs.txt",
    ] {
        let answer = server
            .get(&format!("/api/v1/jobs/{job}/artifacts/{path}"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 404, "{path}");
        assert!(!answer.text().await.unwrap().contains("s3cret"), "{path}");
    }
    // What is written over behind our back is not what the row says.
    let report = server.artifacts.join(job.to_string()).join("report.md");
    std::fs::write(&report, "longer than it was").unwrap();
    assert_eq!(
        server
            .get(&format!("/api/v1/jobs/{job}/artifacts/report.md"))
            .send()
            .await
            .unwrap()
            .status(),
        404
    );
    std::fs::remove_file(&report).unwrap();
    std::os::unix::fs::symlink(server.artifacts.join("secret"), &report).unwrap();
    let linked = server
        .get(&format!("/api/v1/jobs/{job}/artifacts/report.md"))
        .send()
        .await
        .unwrap();
    assert!(!linked.status().is_success() && !linked.text().await.unwrap().contains("s3cret"));

    let other = server.project("other").await;
    for (token, status) in [
        (server.token(&[Scope::Read], &[other]).await, 404),
        (server.token(&[Scope::Submit], &[]).await, 403),
    ] {
        for path in ["", "/steps/hello/logs.txt"] {
            let request = server.anonymous(
                reqwest::Method::GET,
                &format!("/api/v1/jobs/{job}/artifacts{path}"),
            );
            assert_eq!(
                request.bearer_auth(&token).send().await.unwrap().status(),
                status,
                "{path}"
            );
        }
    }
    let unknown = format!("/api/v1/jobs/{}/artifacts", uuid::Uuid::now_v7());
    assert_eq!(server.get(&unknown).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_runner_that_lost_the_job_writes_nothing_and_one_that_writes_cannot_lose_it() {
    let server = Server::start().await;
    let job = server.job("demo").await;
    let session = session(&server).await;
    let fence = claim(&session).await;
    let objects = Objects::directory(&server.artifacts);
    let files = |text: &str| {
        [NewFile {
            path: "report.md".to_owned(),
            media_type: "text/plain",
            content: Content::Text(text.to_owned()),
        }]
    };
    assert!(
        session
            .keep_files(&objects, fence, None, &files("mine"))
            .await
            .unwrap()
    );
    let late = orchestrator::domain::attempt::Fence {
        attempt: fence.attempt - 1,
        ..fence
    };
    assert!(
        !session
            .keep_files(&objects, late, None, &files("late"))
            .await
            .unwrap()
    );
    let (_, _, body) = answer(server.get(&format!("/api/v1/jobs/{job}/artifacts/report.md"))).await;
    assert_eq!(body, "mine");
    // While it is held, whoever takes jobs from vanished runners passes it by.
    #[expect(clippy::disallowed_methods, reason = "a runner in the middle of its writing")]
    let mut writing = server.pool.begin().await.unwrap();
    let lease = std::time::Duration::from_secs(60);
    assert!(
        orchestrator::store::artifact::hold(&mut writing, session.id, fence, lease)
            .await
            .unwrap()
    );
    let later = Some(orchestrator::domain::clock::now() + chrono::Duration::days(1));
    assert!(
        orchestrator::store::expire::expire(&server.pool, later, 10)
            .await
            .unwrap()
            .is_empty()
    );
    writing.commit().await.unwrap();
    assert_eq!(
        orchestrator::store::expire::expire(&server.pool, later, 10)
            .await
            .unwrap()
            .len(),
        1
    );
    assert!(
        !session
            .keep_files(&objects, fence, None, &files("late"))
            .await
            .unwrap()
    );
    let (_, _, body) = answer(server.get(&format!("/api/v1/jobs/{job}/artifacts/report.md"))).await;
    assert_eq!(body, "mine");
}
