//! A client that costs next to nothing, so that what is measured is the server.

use orchestrator::store::{Pool, project};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::support::{Database, Service};

/// A token of the environment.
pub(super) const TOKEN: &str = "a-token-of-the-environment";

/// An API of its own process.
pub(super) struct Api {
    pub(super) service: Service,
    pub(super) address: String,
}

impl Api {
    /// Starts one, and waits until it knows its token.
    pub(super) async fn start(database: &Database, pool: &Pool) -> Self {
        let tokens = format!("{TOKEN}=bench");
        // Where it was made: an alias of the environment moves the project.
        let alias = format!("bench={}", database.project().display());
        let environment = [
            ("WEBHOOK_TOKENS", tokens.as_str()),
            ("PROJECT_ALIASES", alias.as_str()),
            ("WEBHOOK_RATE_LIMIT_MAX_REQUESTS", "0"),
        ];
        let mut service = database.service(&["api", "--bind", "127.0.0.1:0"], &environment);
        let said = service.hear("http.address=");
        let address = said.split("http.address=").nth(1).unwrap().trim().to_owned();
        let api = Self { service, address };
        assert!(project::by_alias(pool, "bench").await.unwrap().is_some());
        while api
            .connect()
            .await
            .post(&body(&json!({ "step_id": "a", "agent": "noop" })))
            .await
            != 202
        {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        api
    }

    pub(super) async fn connect(&self) -> Connection {
        let stream = TcpStream::connect(&self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Connection {
            stream,
            read: Vec::with_capacity(4096),
        }
    }
}

/// A webhook with one step.
pub(super) fn body(step: &serde_json::Value) -> String {
    json!({ "goal": "measure", "project_id": "bench", "steps": [step] }).to_string()
}

/// A connection that is kept.
pub(super) struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    /// Sends a webhook and waits for the whole answer; its status.
    pub(super) async fn post(&mut self, body: &str) -> u16 {
        let request = format!(
            "POST /webhook HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.write_all(request.as_bytes()).await.unwrap();
        self.read.clear();
        loop {
            let read = self.stream.read_buf(&mut self.read).await.unwrap();
            assert_ne!(read, 0, "the API hung up");
            if let Some(end) = whole(&self.read) {
                assert_eq!(end, self.read.len());
                return std::str::from_utf8(&self.read[9..12]).unwrap().parse().unwrap();
            }
        }
    }
}

/// Where an answer ends, once all of it is there.
fn whole(read: &[u8]) -> Option<usize> {
    let head = read.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let lines = std::str::from_utf8(&read[..head]).unwrap();
    let length = lines.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().unwrap())
    });
    let end = head + length.expect("a length");
    (read.len() >= end).then_some(end)
}
