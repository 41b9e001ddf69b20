//! A server that callbacks go to, as good or as bad as a test wants it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use orchestrator::domain::signature::Headers;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

/// A request that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Heard {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    /// The headers as the other side of the house reads them.
    pub(super) fn signed(&self) -> Headers {
        let pair = |(name, value): (&axum::http::HeaderName, &axum::http::HeaderValue)| {
            (name.to_string(), value.to_str().unwrap().to_owned())
        };
        self.headers.iter().map(pair).collect()
    }
}

type Answer = Arc<dyn Fn(usize) -> Response + Send + Sync>;

/// An HTTP server that keeps what it hears and answers the nth request as it was told.
pub(crate) struct Receiver {
    pub(super) address: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Receiver {
    pub(crate) async fn start<R: IntoResponse>(answer: impl Fn(usize) -> R + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let answer: Answer = Arc::new(move |number| answer(number).into_response());
        let router = Router::new().fallback(hear).with_state((heard.clone(), answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, heard }
    }

    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    pub(crate) fn url(&self) -> String {
        self.url_at("127.0.0.1")
    }

    pub(super) fn url_at(&self, host: &str) -> String {
        format!("http://{host}:{}/done?key=k3y", self.address.port())
    }
}

async fn hear(
    State((heard, answer)): State<(Arc<Mutex<Vec<Heard>>>, Answer)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let number = {
        let mut heard = heard.lock().unwrap();
        heard.push(Heard { headers, body });
        heard.len()
    };
    answer(number)
}

/// A server that writes `head`, and then `again` for ever; with nothing to write it only holds the line.
pub(super) async fn endless(head: &'static [u8], again: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                stream.write_all(head).await.unwrap();
                while !again.is_empty() {
                    if stream.write_all(again).await.is_err() {
                        return;
                    }
                }
                std::future::pending::<()>().await;
            });
        }
    });
    address
}
