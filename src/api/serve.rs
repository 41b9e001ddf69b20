//! Connections: taken in, bounded in the time they may be idle, let finish when the service stops.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::client::Peer;
use super::{Api, router};

/// Longest time from the beginning of a connection, or the last answer on it, to the end of the
/// next request's headers.
const HEADERS: Duration = Duration::from_secs(30);
/// Longest time that a reader may leave unread what was sent.
#[cfg(target_os = "linux")]
const UNREAD: Duration = Duration::from_secs(60);
/// Longest time that running requests have after the service was asked to stop.
pub const GRACE: Duration = Duration::from_secs(10);
/// Pause after a connection could not be taken in because descriptors or memory ran out.
const EXHAUSTED: Duration = Duration::from_millis(500);

/// Raises the bound on open descriptors to what the system allows: a shell's 1,024 is fewer than callers may be.
fn open_as_many_as_may_be() {
    let mut bound = getrlimit(Resource::Nofile);
    bound.current = bound.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, bound) {
        tracing::debug!(error = %error, "the bound on open descriptors stays as it is");
    }
}

/// Serves on `listener` until the API is told to stop; then no connection is taken in, streams that
/// follow a job end, and running requests have 10 s to finish.
///
/// # Errors
///
/// None so far: a connection that cannot be taken in is logged, and the next one is tried.
pub async fn serve(listener: TcpListener, api: Api) -> std::io::Result<()> {
    open_as_many_as_may_be();
    let stop = api.stop.clone();
    let most = api.settings.max_connections;
    let router = router(api);
    let connections = GracefulShutdown::new();
    let over = CancellationToken::new();
    let seats = Arc::new(Semaphore::new(most));
    while let Some((taken, seat)) = stop.run_until_cancelled(next(&listener, &seats)).await {
        match taken {
            Ok((stream, peer)) => {
                take_in((stream, peer), router.clone(), &connections, over.clone(), seat);
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(error = %error, "a connection could not be taken in");
                tokio::time::sleep(EXHAUSTED).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(GRACE, connections.shutdown()).await.is_err() {
        tracing::warn!("requests that did not finish in time were cut off");
    }
    over.cancel();
    Ok(())
}

/// The next connection, and its seat: without a free one, callers wait in the kernel's queue.
async fn next(
    listener: &TcpListener,
    seats: &Arc<Semaphore>,
) -> (
    std::io::Result<(TcpStream, SocketAddr)>,
    Option<OwnedSemaphorePermit>,
) {
    // The semaphore is never closed.
    let seat = seats.clone().acquire_owned().await.ok();
    (listener.accept().await, seat)
}

fn take_in(
    (stream, peer): (TcpStream, SocketAddr),
    router: Router,
    connections: &GracefulShutdown,
    over: CancellationToken,
    seat: Option<OwnedSemaphorePermit>,
) {
    bound(&stream);
    // Events of a stream are small and are to leave at once. A failure costs only that.
    let _ = stream.set_nodelay(true);
    let service = router.map_request(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer(peer));
        request
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        // Who has said everything may close their side and still be answered.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let watched = connections.watch(connection);
    tokio::spawn(async move {
        if let Some(Err(error)) = over.run_until_cancelled(watched).await {
            tracing::debug!(error = %error, "a connection broke");
        }
        drop(seat);
    });
}

/// Who reads nothing of what they asked for is hung up on; a stream that was followed can be taken up again.
fn bound(stream: &TcpStream) {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(stream, UNREAD.as_millis() as u32) {
        tracing::debug!(error = %error, "a reader who stops reading is not hung up on");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = stream;
}

/// The caller hung up before they were let in; the next one may come at once.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset
    )
}
