//! Output: as text, followed live, taken up again.

use std::time::Duration;

use futures_util::StreamExt as _;
use orchestrator::app::lease::Session;
use orchestrator::domain::attempt::{Ending, Fence};
use orchestrator::domain::clock::now;
use orchestrator::domain::id::JobId;
use orchestrator::store;
use orchestrator::store::log::NewLine;
use serde_json::Value;

use super::jobs::{claim, session, settle, settlement};
use super::server::{Server, problem};

fn line(seq: i32) -> NewLine {
    NewLine {
        seq,
        position: 0,
        stream: "stdout",
        at: now(),
        body: format!("line {seq}\n"),
    }
}

async fn print(session: &Session, fence: Fence, seqs: std::ops::Range<i32>) {
    let lines: Vec<_> = seqs.map(line).collect();
    assert!(session.append_log(fence, &lines).await.unwrap());
}

/// An event of a stream: its name, id and data.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) name: String,
    pub(super) id: String,
    pub(super) data: Value,
}

/// A stream of events as a browser reads one.
pub(super) struct Reader {
    bytes: futures_util::stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    text: String,
}

impl Reader {
    async fn open(server: &Server, job: JobId, last: Option<&str>) -> Self {
        let mut request = server
            .get(&format!("/api/v1/jobs/{job}/logs"))
            .header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        Self::of(request.send().await.unwrap())
    }

    pub(super) fn of(answer: reqwest::Response) -> Self {
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        assert_eq!(answer.headers()["x-accel-buffering"], "no");
        Self {
            bytes: answer.bytes_stream().boxed(),
            text: String::new(),
        }
    }

    /// Waits until the stream has begun.
    pub(super) async fn greeting(&mut self) {
        while !self.text.contains("\n\n") {
            let chunk = self.bytes.next().await.unwrap().unwrap();
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next event; `None` when the stream is closed.
    pub(super) async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                if let Some(event) = event(&block) {
                    return Some(event);
                }
                continue;
            }
            let chunk = self.bytes.next().await?.ok()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

fn event(block: &str) -> Option<Event> {
    let field = |name: &str| {
        let mut lines = block.lines().filter_map(|line| line.strip_prefix(name));
        lines.next().map(|value| value.trim_start().to_owned())
    };
    Some(Event {
        data: serde_json::from_str(&field("data:")?).unwrap(),
        name: field("event:")?,
        id: field("id:").unwrap_or_default(),
    })
}

#[tokio::test]
async fn the_text_is_everything_that_was_printed_in_order() {
    let server = Server::start().await;
    let job = server.job("demo").await;
    let session = session(&server).await;
    let fence = claim(&session).await;
    // More than one read of the table.
    print(&session, fence, 0..150).await;
    let answer = server
        .get(&format!("/api/v1/jobs/{job}/logs"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.headers()["content-type"], "text/plain; charset=utf-8");
    let expected: String = (0..150).map(|seq| format!("line {seq}\n")).collect();
    assert_eq!(answer.text().await.unwrap(), expected);
}

#[tokio::test]
async fn colours_stay_for_a_terminal_and_are_left_out_of_text() {
    let server = Server::start().await;
    let job = server.job("demo").await;
    let session = session(&server).await;
    let fence = claim(&session).await;
    // A sequence that is cut between two pieces, with another stream's in between.
    let pieces = [
        ("stdout", "\x1b[1;3"),
        ("stderr", "\x1b[2Kerror\n"),
        ("stdout", "1mred\x1b[0m\n"),
    ];
    let lines = pieces.iter().zip(0..).map(|((stream, body), seq)| NewLine {
        stream,
        body: (*body).to_owned(),
        ..line(seq)
    });
    assert!(
        session
            .append_log(fence, &lines.collect::<Vec<_>>())
            .await
            .unwrap()
    );
    let text = async |format: &str| {
        let answer = server
            .get(&format!("/api/v1/jobs/{job}/logs{format}"))
            .send()
            .await
            .unwrap();
        answer.text().await.unwrap()
    };
    let printed: String = pieces.iter().map(|(_, body)| *body).collect();
    assert_eq!(text("").await, printed);
    assert_eq!(text("?format=terminal").await, printed);
    assert_eq!(text("?format=text").await, "error\nred\n");
    let refused = server
        .get(&format!("/api/v1/jobs/{job}/logs?format=html"))
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 422);
}

#[tokio::test]
async fn a_job_that_printed_nothing_has_an_empty_text() {
    let server = Server::start().await;
    let job = server.job("demo").await;
    let answer = server
        .get(&format!("/api/v1/jobs/{job}/logs"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.text().await.unwrap(), "");
}

#[tokio::test]
async fn a_follower_sees_every_line_once_and_then_the_end() {
    let server = Server::start().await;
    let job = server.job("demo").await;
    let mut reader = Reader::open(&server, job, None).await;
    let session = session(&server).await;
    let fence = claim(&session).await;
    for begin in [0, 100, 200] {
        print(&session, fence, begin..begin + 100).await;
        for seq in begin..begin + 100 {
            let event = reader.next().await.unwrap();
            assert_eq!((event.name.as_str(), event.id), ("log", format!("1-{seq}")));
            assert_eq!(event.data["body"], format!("line {seq}\n"));
        }
    }
    settle(&session, fence, Ending::Succeeded).await;
    let end = reader.next().await.unwrap();
    assert_eq!(
        (end.name.as_str(), &end.data["state"]),
        ("end", &"succeeded".into())
    );
    assert!(reader.next().await.is_none());
}

#[tokio::test]
async fn lines_printed_just_before_the_end_are_not_lost_to_it() {
    let server = Server::start().await;
    for _ in 0..5 {
        let job = server.job("demo").await;
        let session = session(&server).await;
        let fence = claim(&session).await;
        let mut reader = Reader::open(&server, job, None).await;
        print(&session, fence, 0..200).await;
        settle(&session, fence, Ending::Succeeded).await;
        let mut seen = 0;
        while let Some(event) = reader.next().await {
            if event.name == "end" {
                break;
            }
            assert_eq!(event.data["seq"], seen);
            seen += 1;
        }
        assert_eq!(seen, 200);
    }
}

#[tokio::test]
async fn output_that_comes_while_the_job_ends_is_discarded_and_not_added_behind_the_end() {
    let server = Server::start().await;
    server.job("demo").await;
    let session = session(&server).await;
    let fence = claim(&session).await;
    // The job is settled and that is not yet committed while output is written.
    let mut settler = server.pool.acquire().await.unwrap();
    sqlx::raw_sql("begin").execute(&mut *settler).await.unwrap();
    let ending = settlement(fence, Ending::Succeeded);
    store::settle::settle(&mut *settler, session.id, &[ending])
        .await
        .unwrap();
    let late = tokio::spawn(async move { session.append_log(fence, &[line(0)]).await.unwrap() });
    let waiting = "select count(*) from pg_locks where not granted";
    while count(&server, waiting).await == 0 {
        assert!(!late.is_finished());
        tokio::task::yield_now().await;
    }
    sqlx::raw_sql("commit").execute(&mut *settler).await.unwrap();
    assert!(!late.await.unwrap(), "the lease is lost, and the writer is told");
    assert_eq!(count(&server, "select count(*) from log").await, 0);
}

async fn count(server: &Server, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(&server.pool).await.unwrap()
}

#[tokio::test]
async fn a_broken_stream_goes_on_behind_the_last_line_seen() {
    let server = Server::start().await;
    let job = server.job("demo").await;
    let session = session(&server).await;
    let fence = claim(&session).await;
    print(&session, fence, 0..10).await;
    let mut reader = Reader::open(&server, job, None).await;
    let mut last = String::new();
    for _ in 0..4 {
        last = reader.next().await.unwrap().id;
    }
    drop(reader);
    print(&session, fence, 10..20).await;
    settle(&session, fence, Ending::Succeeded).await;
    let mut reader = Reader::open(&server, job, Some(&last)).await;
    for seq in 4..20 {
        assert_eq!(reader.next().await.unwrap().id, format!("1-{seq}"));
    }
    assert_eq!(reader.next().await.unwrap().name, "end");
}

#[tokio::test]
async fn a_second_attempt_goes_on_in_the_same_stream() {
    let server = Server::start().await;
    let job = server.job("demo").await;
    let first = session(&server).await;
    let fence = claim(&first).await;
    let mut reader = Reader::open(&server, job, None).await;
    print(&first, fence, 0..2).await;
    settle(&first, fence, Ending::HandedBack).await;
    let second = session(&server).await;
    let fence = claim(&second).await;
    print(&second, fence, 0..2).await;
    settle(&second, fence, Ending::Succeeded).await;
    let mut ids = Vec::new();
    while let Some(event) = reader.next().await {
        ids.push(event.id);
    }
    assert_eq!(ids, ["1-0", "1-1", "2-0", "2-1", ""]);
}

#[tokio::test]
async fn a_place_that_no_stream_gave_is_refused() {
    let server = Server::start().await;
    let job = server.job("demo").await;
    for place in [
        "",
        "here",
        "1",
        "1-",
        "-1",
        "1-x",
        "1--1",
        "+1-1",
        "99999999999-1",
    ] {
        let answer = server
            .get(&format!("/api/v1/jobs/{job}/logs"))
            .header("last-event-id", place)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 422, "{place}");
        assert_eq!(problem(answer).await["errors"][0]["path"], "Last-Event-ID");
    }
}

#[tokio::test]
async fn a_reader_that_does_not_read_holds_no_connection_to_the_database() {
    let server = Server::start().await;
    let job = server.job("demo").await;
    let session = session(&server).await;
    let fence = claim(&session).await;
    let wide: Vec<_> = (0..400)
        .map(|seq| NewLine {
            seq,
            position: 0,
            stream: "stdout",
            at: now(),
            body: "x".repeat(60_000),
        })
        .collect();
    for batch in wide.chunks(50) {
        assert!(session.append_log(fence, batch).await.unwrap());
    }
    // More of them than the pool has connections, each with far more to read than a socket takes.
    let mut readers = Vec::new();
    for _ in 0..24 {
        readers.push(Reader::open(&server, job, None).await);
    }
    for _ in 0..20 {
        print(&session, fence, 400..401).await;
        assert_eq!(server.get("/api/v1/jobs").send().await.unwrap().status(), 200);
    }
    // They were only slow: everything is still there for them.
    let mut reader = readers.pop().unwrap();
    for seq in 0..400 {
        assert_eq!(reader.next().await.unwrap().data["seq"], seq);
    }
}

#[tokio::test]
async fn stopping_the_server_ends_a_stream_without_calling_the_job_ended() {
    let server = Server::start().await;
    let job = server.job("demo").await;
    let mut reader = Reader::open(&server, job, None).await;
    server.stop.cancel();
    assert!(reader.next().await.is_none());
    tokio::time::timeout(Duration::from_secs(9), server.task)
        .await
        .expect("streams end before the deadline of running requests")
        .unwrap()
        .unwrap();
}
