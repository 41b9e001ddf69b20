//! Bodies and connections that mean harm: each gets a clear answer, and no 5xx.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::server::{Server, problem, spec};

async fn send(server: &Server, content_type: Option<&str>, body: Vec<u8>) -> reqwest::Response {
    let mut request = server
        .anonymous(Method::POST, "/webhook")
        .bearer_auth(&server.admin)
        .body(body);
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    request.send().await.unwrap()
}

/// How many jobs there are.
async fn jobs(server: &Server) -> usize {
    let list: Value = server
        .get("/api/v1/jobs")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    list["items"].as_array().unwrap().len()
}

#[tokio::test]
async fn every_body_that_is_no_specification_is_422_with_a_reason() {
    let server = Server::start().await;
    let goal = |text: &str| format!(r#"{{"goal": {text}, "project_id": "demo"}}"#).into_bytes();
    let metadata =
        |text: &str| format!(r#"{{"goal": "g", "project_id": "demo", "metadata": {text}}}"#).into_bytes();
    let utf16: Vec<u8> = r#"{"goal": "g"}"#.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("empty", vec![]),
        ("null", b"null".to_vec()),
        ("an array", b"[]".to_vec()),
        (
            "an array of what fields hold, in their order",
            br#"["g", "demo"]"#.to_vec(),
        ),
        (
            "an array for an object within",
            br#"{"goal": "g", "project_id": "demo", "policy": [null, null]}"#.to_vec(),
        ),
        ("a string", b"\"goal\"".to_vec()),
        ("a number", b"1e400".to_vec()),
        ("not JSON", b"goal=g&project_id=demo".to_vec()),
        ("cut off", b"{\"goal\": \"g".to_vec()),
        ("two documents", b"{} {}".to_vec()),
        (
            "metadata 65 levels deep",
            metadata(&format!(
                "{}{}",
                "{\"a\":".repeat(63) + "[1",
                "]".to_owned() + &"}".repeat(63)
            )),
        ),
        ("nested arrays", "[".repeat(100_000).into_bytes()),
        (
            "nested metadata",
            metadata(&format!("{}{}", "{\"a\":[".repeat(5_000), "]}".repeat(5_000))),
        ),
        (
            "a repeated key",
            br#"{"goal": "a", "goal": "b", "project_id": "demo"}"#.to_vec(),
        ),
        (
            "a byte order mark",
            [b"\xef\xbb\xbf".to_vec(), goal("\"g\"")].concat(),
        ),
        ("UTF-16", utf16.clone()),
        ("UTF-16 with a mark", [vec![0xff, 0xfe], utf16].concat()),
        (
            "no UTF-8",
            goal("\"\u{0}\"")
                .iter()
                .map(|byte| if *byte == 0 { 0xff } else { *byte })
                .collect(),
        ),
        ("a lone surrogate", goal(r#""\ud800""#)),
        ("a number too large", metadata(r#"{"a": 1e400}"#)),
        ("an escaped NUL in the goal", goal(r#""a\u0000b""#)),
        ("an escaped NUL in metadata", metadata(r#"{"a": ["\u0000"]}"#)),
        (
            "an escaped NUL in a key of metadata",
            metadata(r#"{"\u0000": 1}"#),
        ),
        (
            "a time before all clocks",
            br#"{"goal": "g", "project_id": "demo", "run_at": "-262000-01-01T00:00:00Z"}"#.to_vec(),
        ),
        (
            "a time after all clocks",
            br#"{"goal": "g", "project_id": "demo", "run_at": "+262000-01-01T00:00:00Z"}"#.to_vec(),
        ),
        (
            "an unknown field",
            br#"{"goal": "g", "project_id": "demo", "gaol": 1}"#.to_vec(),
        ),
    ];
    for (name, body) in bodies {
        let answer = send(&server, Some("application/json"), body).await;
        assert_eq!(answer.status(), 422, "{name}: {}", answer.text().await.unwrap());
        let problem = problem(answer).await;
        assert_eq!(problem["code"], "invalid_body", "{name}");
        let reason = problem["errors"][0]["message"].as_str().unwrap();
        assert!(!reason.is_empty(), "{name}");
    }
    assert_eq!(jobs(&server).await, 0);
}

#[tokio::test]
async fn a_body_in_another_encoding_is_told_what_to_send() {
    let server = Server::start().await;
    for (body, word) in [
        (&b"\xef\xbb\xbf{}"[..], "byte order mark"),
        (b"\xff\xfe{\0}\0", "UTF-8"),
        (b"\0{\0}", "UTF-8"),
        (b"", "empty"),
    ] {
        let answer = send(&server, Some("application/json"), body.to_vec()).await;
        let problem = problem(answer).await;
        assert!(problem["detail"].as_str().unwrap().contains(word), "{problem}");
    }
}

#[tokio::test]
async fn what_is_not_said_to_be_json_is_415() {
    let server = Server::start().await;
    let body = spec("demo").to_string().into_bytes();
    for kind in [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("json"),
        Some("+json"),
    ] {
        let answer = send(&server, kind, body.clone()).await;
        assert_eq!(answer.status(), 415, "{kind:?}");
        assert_eq!(problem(answer).await["code"], "unsupported_media_type");
    }
    for kind in [
        "application/json",
        "APPLICATION/JSON; charset=utf-8",
        "application/vnd.github+json",
    ] {
        assert_eq!(
            send(&server, Some(kind), body.clone()).await.status(),
            202,
            "{kind}"
        );
    }
}

#[tokio::test]
async fn a_packed_body_is_not_unpacked() {
    let server = Server::start().await;
    let answer = server
        .post("/webhook", &spec("demo"))
        .header("content-encoding", "gzip")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 415);
}

#[tokio::test]
async fn a_body_of_ten_megabytes_is_413_and_the_client_can_read_that() {
    let server = Server::start().await;
    let body = json!({"goal": "g", "project_id": "demo", "metadata": {"a": "x".repeat(10 * 1024 * 1024)}});
    let bytes = body.to_string().into_bytes();
    // With a length, and in chunks of which nobody knows how many will come.
    let announced = send(&server, Some("application/json"), bytes.clone()).await;
    assert_eq!(announced.status(), 413);
    assert_eq!(problem(announced).await["code"], "body_too_large");
    let pieces: Vec<Result<Vec<u8>, std::io::Error>> =
        bytes.chunks(64 * 1024).map(|piece| Ok(piece.to_vec())).collect();
    let chunked = server
        .anonymous(Method::POST, "/webhook")
        .bearer_auth(&server.admin)
        .header("content-type", "application/json")
        .body(reqwest::Body::wrap_stream(futures_util::stream::iter(pieces)))
        .send()
        .await
        .unwrap();
    assert_eq!(chunked.status(), 413);
    // Whoever has no token learns that, and not that the connection broke.
    let anonymous = server
        .anonymous(Method::POST, "/webhook")
        .body(bytes)
        .send()
        .await
        .unwrap();
    assert_eq!(anonymous.status(), 401);
    assert_eq!(jobs(&server).await, 0);
}

#[tokio::test]
async fn a_client_that_sends_everything_before_it_reads_still_gets_the_refusal() {
    let server = Server::start().await;
    let body = vec![b'x'; 10 * 1024 * 1024];
    for (headers, status) in [
        (
            format!("authorization: Bearer {}\r\n", server.admin),
            "HTTP/1.1 413",
        ),
        (String::new(), "HTTP/1.1 401"),
    ] {
        let head = format!(
            "POST /webhook HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n",
            body.len()
        );
        let answer = raw(&server, &[head.as_bytes(), &body].concat()).await;
        assert!(answer.starts_with(status), "{answer}");
    }
}

/// Sends bytes as they are, half-closes, and reads the answer to its end.
pub(super) async fn raw(server: &Server, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn chunks_without_an_end_make_no_job() {
    let server = Server::start().await;
    let body = spec("demo").to_string();
    let head = format!(
        "POST /webhook HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n",
        server.admin
    );
    for rest in [
        format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n", body.len()),
        format!("content-length: {}\r\n\r\n{body}", body.len() + 10),
    ] {
        let answer = raw(&server, format!("{head}{rest}").as_bytes()).await;
        assert!(
            !answer.starts_with("HTTP/1.1 2") && !answer.starts_with("HTTP/1.1 5"),
            "{answer}"
        );
    }
    assert_eq!(jobs(&server).await, 0);
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_is_refused_before_it_sends() {
    let server = Server::start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "POST /webhook HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: 10000000\r\nexpect: 100-continue\r\n\r\n",
        server.admin
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[tokio::test]
async fn garbage_for_http_is_answered_and_others_are_served() {
    let server = Server::start().await;
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\nhost: a\r\n\r\n",
        b"POST /webhook HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
        b"POST /webhook HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
    ] {
        let answer = raw(&server, bytes).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert_eq!(server.get("/api/v1/jobs").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_thousand_half_sent_requests_do_not_stop_a_good_one() {
    let server = Server::start().await;
    let mut slow = Vec::new();
    for number in 0..1000 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let part: &[u8] = match number % 3 {
            0 => b"",
            1 => b"GET /health HTTP/1.1\r\nhost",
            _ => b"POST /webhook HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{",
        };
        stream.write_all(part).await.unwrap();
        slow.push(stream);
    }
    let answer = server.post("/webhook", &spec("demo")).send().await.unwrap();
    assert_eq!(answer.status(), 202);
}
