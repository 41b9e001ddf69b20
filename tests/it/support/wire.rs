//! A way to PostgreSQL that breaks at a chosen message, as if the client had been killed there.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use orchestrator::domain::environment::DatabaseUrl;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::unix::OwnedReadHalf as ServerReads;
use tokio::net::{TcpListener, TcpStream, UnixStream};

/// Where a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The server never sees the message.
    Before,
    /// The server does what the message says, and the client never hears of it.
    After,
}

/// A way to a database. Every connection through it counts its messages together.
pub(crate) struct Wire {
    shared: Arc<Shared>,
    url: DatabaseUrl,
}

struct Shared {
    socket: String,
    /// Messages left until the cut; `usize::MAX` is never.
    left: AtomicUsize,
    statements: AtomicUsize,
    cut: Mutex<Cut>,
    is_cut: AtomicBool,
}

impl Wire {
    pub(crate) async fn to(database: &DatabaseUrl) -> Self {
        let url = url::Url::parse(database.expose()).unwrap();
        let directory = url
            .query_pairs()
            .find(|(name, _)| name == "host")
            .map(|(_, value)| value.into_owned());
        let shared = Arc::new(Shared {
            socket: format!("{}/.s.PGSQL.5432", directory.unwrap()),
            left: AtomicUsize::new(usize::MAX),
            statements: AtomicUsize::new(0),
            cut: Mutex::new(Cut::Before),
            is_cut: AtomicBool::new(false),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let through = format!(
            "postgresql://{}@127.0.0.1:{port}{}?sslmode=disable",
            url.username(),
            url.path()
        );
        tokio::spawn({
            let shared = shared.clone();
            async move {
                loop {
                    let (client, _) = listener.accept().await.unwrap();
                    tokio::spawn(shared.clone().carry(client));
                }
            }
        });
        Self {
            shared,
            url: through.parse().unwrap(),
        }
    }

    pub(crate) fn url(&self) -> &DatabaseUrl {
        &self.url
    }

    /// How many statements went this way so far.
    pub(crate) fn statements(&self) -> usize {
        self.shared.statements.load(Ordering::SeqCst)
    }

    /// Mends the way, and breaks it again at the `number`-th message from now.
    pub(crate) fn break_at(&self, number: usize, cut: Cut) {
        *self.shared.cut.lock().unwrap() = cut;
        self.shared.is_cut.store(false, Ordering::SeqCst);
        self.shared.left.store(number, Ordering::SeqCst);
    }

    /// Mends the way for good; answers whether it was broken.
    pub(crate) fn mend(&self) -> bool {
        self.shared.left.store(usize::MAX, Ordering::SeqCst);
        self.shared.is_cut.swap(false, Ordering::SeqCst)
    }
}

impl Shared {
    async fn carry(self: Arc<Self>, client: TcpStream) {
        if self.is_cut.load(Ordering::SeqCst) {
            return;
        }
        let server = UnixStream::connect(&self.socket).await.unwrap();
        let (mut from_client, to_client) = client.into_split();
        let (from_server, mut to_server) = server.into_split();
        let answers = tokio::spawn(self.clone().answer(from_server, to_client));
        let mut first = true;
        while let Some(message) = next_message(&mut from_client, first).await {
            if !first && matches!(message[0], b'E' | b'Q') {
                self.statements.fetch_add(1, Ordering::SeqCst);
            }
            first = false;
            let cut = self.counts();
            if cut != Some(Cut::Before) && to_server.write_all(&message).await.is_err() {
                break;
            }
            if cut.is_some() {
                break;
            }
        }
        // The server reads to the end of what was sent, does it, and ends; only then the client is
        // let go: what it sees of the tables afterwards stays as it is.
        drop(to_server);
        let _ = answers.await;
    }

    /// Counts a message; answers with the cut when it is the one.
    fn counts(&self) -> Option<Cut> {
        if self.is_cut.load(Ordering::SeqCst) {
            return Some(Cut::Before);
        }
        let count = |left: usize| match left {
            usize::MAX => None,
            left => Some(left.saturating_sub(1)),
        };
        let before = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, count)
            .ok()?;
        if before != 1 {
            return None;
        }
        self.is_cut.store(true, Ordering::SeqCst);
        Some(*self.cut.lock().unwrap())
    }

    async fn answer(self: Arc<Self>, mut from_server: ServerReads, mut to_client: OwnedWriteHalf) {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
            if !self.is_cut.load(Ordering::SeqCst) {
                let _ = to_client.write_all(&buffer[..length]).await;
            }
        }
    }
}

/// One message of the client; the first has no letter in front.
async fn next_message(client: &mut OwnedReadHalf, first: bool) -> Option<Vec<u8>> {
    let head = if first { 4 } else { 5 };
    let mut message = vec![0; head];
    client.read_exact(&mut message).await.ok()?;
    let length = u32::from_be_bytes(message[head - 4..].try_into().ok()?) as usize;
    let mut body = vec![0; length.checked_sub(4)?];
    client.read_exact(&mut body).await.ok()?;
    message.extend(body);
    Some(message)
}
