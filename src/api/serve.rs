//! Connections: taken in, bounded in the time they may be idle, let finish when the service stops.

use std::io::ErrorKind;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::{Api, router};

/// Longest time from the beginning of a connection, or the last answer on it, to the end of the
/// next request's headers.
const HEADERS: Duration = Duration::from_secs(30);
/// Longest time that running requests have after the service was asked to stop.
const GRACE: Duration = Duration::from_secs(10);
/// Pause after a connection could not be taken in because descriptors or memory ran out.
const EXHAUSTED: Duration = Duration::from_millis(500);

/// Serves on `listener` until `stop` is cancelled; then no connection is taken in, streams that
/// follow a job end, and running requests have 10 s to finish.
///
/// # Errors
///
/// None so far: a connection that cannot be taken in is logged, and the next one is tried.
pub async fn serve(listener: TcpListener, mut api: Api, stop: CancellationToken) -> std::io::Result<()> {
    api.stop = stop.clone();
    let router = router(api);
    let connections = GracefulShutdown::new();
    let over = CancellationToken::new();
    while let Some(taken) = stop.run_until_cancelled(listener.accept()).await {
        match taken {
            Ok((stream, _)) => take_in(stream, router.clone(), &connections, over.clone()),
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

fn take_in(stream: TcpStream, router: Router, connections: &GracefulShutdown, over: CancellationToken) {
    // Events of a stream are small and are to leave at once. A failure costs only that.
    let _ = stream.set_nodelay(true);
    let service = router.map_request(|request: Request<Incoming>| request.map(Body::new));
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
    });
}

/// The caller hung up before they were let in; the next one may come at once.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset
    )
}
