//! The API tells that it is ready, and that it lives, when it answers on its own address: the word
//! comes from where connections are taken in and requests are answered.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::alive::Alive;
use crate::app::schema;
use crate::store::Pool;

/// Time between two requests to ourselves.
const EVERY: Duration = Duration::from_secs(5);
/// Longest time an answer may take.
const WITHIN: Duration = Duration::from_secs(5);
/// Longest time without an answer before the process counts as hung. A flood of connections may
/// take up all there are for a while.
const PATIENCE: Duration = Duration::from_secs(60);

const REQUEST: &[u8] = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Tells `alive` that the API at `address` is ready, once it answers and its database has the schema, and
/// from then on that it goes on answering, until `stop`.
///
/// A database that goes away later is no reason to restart: the API says so to callers, and comes back by itself.
pub async fn tell(address: SocketAddr, pool: Pool, alive: Alive, stop: CancellationToken) {
    let address = reachable(address);
    if !schema::wait(&pool, &stop).await {
        return;
    }
    let part = alive.part("HTTP", PATIENCE);
    let mut ready = false;
    while !stop.is_cancelled() {
        match tokio::time::timeout(WITHIN, answers(address)).await {
            Ok(Ok(true)) => {
                part.moves();
                if !ready {
                    alive.ready(&format!("serving on {address}"));
                    ready = true;
                }
            }
            Ok(Ok(false)) => {
                tracing::warn!(http.address = %address, "the API does not answer itself with 200");
            }
            Ok(Err(error)) => {
                tracing::warn!(http.address = %address, error = %error, "the API cannot reach itself");
            }
            Err(_) => tracing::warn!(http.address = %address, "the API does not answer itself in time"),
        }
        let _ = tokio::time::timeout(EVERY, stop.cancelled()).await;
    }
}

async fn answers(address: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(REQUEST).await?;
    let mut answer = Vec::new();
    stream.take(16).read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.1 200"))
}

/// Where to reach what listens on `address`: every address of this host is also its own loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}
