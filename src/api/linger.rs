//! A request body nobody read is read off before the answer goes out.
//!
//! A server that closes a connection while bytes are still coming in resets it, and the reset can
//! destroy the answer before the client has read it: "413" becomes "broken pipe". So what an early
//! answer (401, 404, 413, 415) leaves of a body is read and dropped, up to a bound in bytes and time.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes, HttpBody as _};
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures_util::{Stream, StreamExt as _};
use tokio::sync::oneshot;

/// Most bytes that are read to be dropped.
const BYTES: usize = 32 * 1024 * 1024;
/// Longest time that is spent on it.
const TIME: Duration = Duration::from_secs(5);

/// Lends the body to the handler and reads off what comes back.
pub(super) async fn linger<Answer>(request: Request, next: impl FnOnce(Request) -> Answer) -> Response
where
    Answer: Future<Output = Response>,
{
    // A client that asked for `100-continue` has sent nothing yet, and will not after a refusal.
    if request.body().is_end_stream() || request.headers().contains_key(header::EXPECT) {
        return next(request).await;
    }
    let (back, returned) = oneshot::channel();
    let (parts, body) = request.into_parts();
    let lent = Lent {
        stream: Some(body.into_data_stream()),
        back: Some(back),
    };
    let mut response = next(Request::from_parts(parts, Body::from_stream(lent))).await;
    if let Ok(mut rest) = returned.await
        && !drained(&mut rest).await
    {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Reads until the end, and says whether there was one within the bounds.
async fn drained(rest: &mut BodyDataStream) -> bool {
    let read = async {
        let mut dropped = 0;
        while let Some(Ok(chunk)) = rest.next().await {
            dropped += chunk.len();
            if dropped > BYTES {
                return false;
            }
        }
        true
    };
    tokio::time::timeout(TIME, read).await.unwrap_or(false)
}

/// A body that goes back when its reader lets go of it before the end.
struct Lent {
    stream: Option<BodyDataStream>,
    back: Option<oneshot::Sender<BodyDataStream>>,
}

impl Stream for Lent {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(None);
        };
        let polled = stream.poll_next_unpin(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.stream = None;
        }
        polled
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(stream), Some(back)) = (self.stream.take(), self.back.take()) {
            // The other end is gone when the request itself was given up.
            let _ = back.send(stream);
        }
    }
}
