//! A client that costs next to nothing, so that what is measured is the server.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A connection that is kept, of one who has a token.
pub(crate) struct Connection {
    stream: TcpStream,
    token: String,
    read: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: &str, token: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            token: token.to_owned(),
            read: Vec::with_capacity(64 * 1024),
        }
    }

    /// Sends JSON and waits for the whole answer: its status and its body.
    pub(crate) async fn post(&mut self, path: &str, body: &str) -> (u16, &[u8]) {
        let head = format!(
            "content-type: application/json\r\ncontent-length: {}\r\n",
            body.len()
        );
        self.ask("POST", path, &head, body).await
    }

    /// The same of a question without a body.
    pub(crate) async fn get(&mut self, path: &str) -> (u16, &[u8]) {
        self.ask("GET", path, "", "").await
    }

    async fn ask(&mut self, method: &str, path: &str, head: &str, body: &str) -> (u16, &[u8]) {
        let token = &self.token;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\n{head}\r\n{body}"
        );
        self.stream.write_all(request.as_bytes()).await.unwrap();
        self.read.clear();
        let mut ends = None;
        loop {
            let read = self.stream.read_buf(&mut self.read).await.unwrap();
            assert_ne!(read, 0, "the API hung up");
            ends = ends.or_else(|| whole(&self.read));
            if let Some((body, end)) = ends
                && self.read.len() >= end
            {
                assert_eq!(end, self.read.len());
                let status = std::str::from_utf8(&self.read[9..12]).unwrap().parse().unwrap();
                return (status, &self.read[body..]);
            }
        }
    }
}

/// Where the body of an answer begins and ends, once its head is there.
fn whole(read: &[u8]) -> Option<(usize, usize)> {
    let body = read.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let lines = std::str::from_utf8(&read[..body]).unwrap();
    let length = lines.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().unwrap())
    });
    Some((body, body + length.expect("a length")))
}
