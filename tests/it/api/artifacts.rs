//! What jobs left behind, listed and downloaded.

use std::time::Duration;

use orchestrator::app::lease::{Bundle, Content, NewFile, NotKept};
use orchestrator::domain::attempt::{Ending, Fence};
use orchestrator::domain::id::JobId;
use orchestrator::domain::token::Scope;
use orchestrator::objects::{Bucket, Credentials, Objects, PART};
use orchestrator::store::artifact;
use reqwest::{RequestBuilder, StatusCode};
use secrecy::SecretString;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::jobs::{claim, session, session_for, settlement};
use super::server::{Server, problem};
use crate::support::{ask, until};

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
    let step = Bundle {
        fence,
        step: Some((0, "steps/hello".to_owned())),
        files: vec![file("steps/hello/logs.txt", "0123456789")],
    };
    assert!(session.keep_files(&objects, step.into()).await.unwrap());
    let own = Bundle {
        fence,
        step: None,
        files: vec![file("report.md", "# é\n"), file("empty.txt", "")],
    };
    assert!(session.keep_files(&objects, own.into()).await.unwrap());
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
async fn what_many_leave_behind_at_once_is_kept_for_each_and_what_goes_wrong_is_its_own() {
    let server = Server::start().await;
    for _ in 0..20 {
        server.job("demo").await;
    }
    let session = session(&server).await;
    let claimed = session.claim("default", &[], 20).await.unwrap();
    let fences: Vec<_> = claimed.into_iter().map(|job| job.fence).collect();
    assert_eq!(fences.len(), 20);
    let objects = Objects::directory(&server.artifacts);
    objects.prepare().unwrap();
    // A file where the directory of one job is to be.
    let spoilt = fences[3];
    std::fs::write(server.artifacts.join(spoilt.job.to_string()), "in the way").unwrap();
    // One is longer than what is written in one piece.
    let text = |at: usize| match at {
        11 => "of 11 ".repeat(PART / 6 + 1),
        _ => format!("of {at}"),
    };
    let keep = async |at: usize| {
        let fence = Fence {
            attempt: if at == 7 { 9 } else { fences[at].attempt },
            ..fences[at]
        };
        let file = |name: &str| NewFile {
            path: name.to_owned(),
            media_type: "text/plain",
            content: Content::Text(text(at)),
        };
        let bundle = Bundle {
            fence,
            step: None,
            files: ["a.txt", "b.txt"].map(file).into(),
        };
        session.keep_files(&objects, bundle.into()).await
    };
    let kept = futures_util::future::join_all((0..20).map(keep)).await;
    for (at, kept) in kept.into_iter().enumerate() {
        match at {
            3 => assert!(matches!(*kept.unwrap_err(), NotKept::Objects(_))),
            7 => assert!(!kept.unwrap()),
            _ => assert!(kept.unwrap()),
        }
    }
    for (at, fence) in fences.iter().enumerate() {
        let noted = artifact::of_job(&server.pool, fence.job).await.unwrap();
        let paths: Vec<_> = noted.iter().map(|artifact| artifact.path.as_str()).collect();
        match at {
            3 | 7 => assert!(paths.is_empty(), "{at}: {paths:?}"),
            _ => {
                assert_eq!(paths, ["a.txt", "b.txt"]);
                let path = format!("/api/v1/jobs/{}/artifacts/b.txt", fence.job);
                let (_, _, body) = answer(server.get(&path)).await;
                assert!(body == text(at), "{at}: {} bytes", body.len());
            }
        }
    }
}

#[tokio::test]
async fn what_a_later_attempt_does_not_leave_behind_is_gone_with_its_bytes() {
    let server = Server::start().await;
    let job = server.job("demo").await;
    let session = session(&server).await;
    let first = claim(&session).await;
    let objects = Objects::directory(&server.artifacts);
    let keep = async |fence, step: Option<(i16, String)>, paths: &[&str]| {
        let file = |path: &&str| NewFile {
            path: (*path).to_owned(),
            media_type: "text/plain",
            content: Content::Text((*path).to_owned()),
        };
        let files = paths.iter().map(file).collect();
        let bundle = Bundle { fence, step, files };
        assert!(session.keep_files(&objects, bundle.into()).await.unwrap());
    };
    let step = |ordinal| Some((ordinal, "steps/hello".to_owned()));
    keep(
        first,
        step(0),
        &["steps/hello/report.md", "steps/hello/patch.diff"],
    )
    .await;
    keep(first, None, &["report.md", "patch.diff"]).await;
    let there = async || {
        let noted = artifact::of_job(&server.pool, job).await.unwrap();
        let paths: Vec<_> = noted.into_iter().map(|artifact| artifact.path).collect();
        let on_disk = |path: &&str| server.artifacts.join(job.to_string()).join(path).exists();
        let all = [
            "patch.diff",
            "report.md",
            "steps/hello/patch.diff",
            "steps/hello/report.md",
        ];
        assert_eq!(
            paths,
            all.iter()
                .filter(|path| on_disk(path))
                .copied()
                .collect::<Vec<_>>()
        );
        paths.len()
    };
    assert_eq!(there().await, 4);
    // The step again in the same attempt: what it left before is its own only.
    keep(first, step(1), &["steps/hello/report.md"]).await;
    assert_eq!(there().await, 3);
    let handed_back = settlement(first, Ending::HandedBack);
    session.settle(&[handed_back]).await.unwrap();
    keep(claim(&session).await, None, &["report.md"]).await;
    assert_eq!(there().await, 2);
}

/// Answers the one who writes to a bucket when a transaction has lasted three times its lease of a second.
async fn answer_late(server: &Server, listener: TcpListener) {
    let (mut writer, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"what a step made") {
        assert_ne!(writer.read_buf(&mut request).await.unwrap(), 0);
    }
    let lasts = "select count(*) from pg_stat_activity
                  where datname = current_database() and now() - xact_start > interval '3 seconds' and pid <> pg_backend_pid()";
    until(async || (ask(&server.pool, lasts).await == "1").then_some(())).await;
    let answer = b"HTTP/1.1 200 OK\r\netag: \"e\"\r\ncontent-length: 0\r\n\r\n";
    writer.write_all(answer).await.unwrap();
}

fn bucket_at(endpoint: String) -> Objects {
    let bucket = Bucket {
        name: "artifacts".into(),
        endpoint: Some(endpoint),
        region: "us-east-1".into(),
        credentials: Some(Credentials {
            id: "test".into(),
            secret: SecretString::from("test"),
            token: None,
        }),
        ..Bucket::default()
    };
    Objects::bucket(&bucket).unwrap()
}

#[tokio::test]
async fn what_takes_longer_to_write_than_the_lease_is_kept_all_the_same() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = Server::start().await;
    let job = server.job("demo").await;
    let session = session_for(&server, Duration::from_secs(1)).await;
    let fence = claim(&session).await;
    let mut made = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut made, b"what a step made").unwrap();
    let patch = NewFile {
        path: "steps/hello/patch.diff".to_owned(),
        media_type: "text/x-diff",
        content: Content::File(made),
    };
    let bundle = Bundle {
        fence,
        step: Some((0, "steps/hello".to_owned())),
        files: vec![patch],
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let objects = bucket_at(format!("http://{}", listener.local_addr().unwrap()));
    let keeping = session.keep_files(&objects, bundle.into());
    let (kept, ()) = tokio::join!(keeping, answer_late(&server, listener));
    assert!(kept.unwrap());
    let noted = artifact::of_job(&server.pool, job).await.unwrap();
    assert_eq!((noted.len(), noted[0].size), (1, 16));
}

#[tokio::test]
async fn a_runner_that_lost_the_job_writes_nothing_and_one_that_writes_cannot_lose_it() {
    let server = Server::start().await;
    let job = server.job("demo").await;
    let session = session(&server).await;
    let fence = claim(&session).await;
    let objects = Objects::directory(&server.artifacts);
    let keep = async |fence, text: &str| {
        let file = NewFile {
            path: "report.md".to_owned(),
            media_type: "text/plain",
            content: Content::Text(text.to_owned()),
        };
        let bundle = Bundle {
            fence,
            step: None,
            files: vec![file],
        };
        session.keep_files(&objects, bundle.into()).await.unwrap()
    };
    assert!(keep(fence, "mine").await);
    let late = Fence {
        attempt: fence.attempt - 1,
        ..fence
    };
    assert!(!keep(late, "late").await);
    let (_, _, body) = answer(server.get(&format!("/api/v1/jobs/{job}/artifacts/report.md"))).await;
    assert_eq!(body, "mine");
    // While it is held, whoever takes jobs from vanished runners passes it by.
    #[expect(clippy::disallowed_methods, reason = "a runner in the middle of its writing")]
    let mut writing = server.pool.begin().await.unwrap();
    let lease = Duration::from_secs(60);
    let held = artifact::hold(&mut writing, session.id, &[fence, late], lease).await;
    assert_eq!(held.unwrap(), [fence].into());
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
    assert!(!keep(fence, "late").await);
    let (_, _, body) = answer(server.get(&format!("/api/v1/jobs/{job}/artifacts/report.md"))).await;
    assert_eq!(body, "mine");
}
