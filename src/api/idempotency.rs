//! `Idempotency-Key` on every POST: a repeat does nothing and is answered like the first.
//!
//! The entrances for jobs are left out: there the key becomes the job's, in the job's own commit.

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tracing::Instrument as _;

use super::Api;
use super::auth;
use super::extract::{IdempotencyKey, arrived};
use super::problem::{Kind, Problem};
use crate::app::idempotency::{self, Turn};
use crate::domain::id::TokenId;
use crate::store::idempotency::Answer;

/// Routes that know what to do with the key themselves.
const NATIVE: &[&str] = &[
    "/webhook",
    "/api/v1/jobs",
    "/hooks/{name}",
    "/api/v1/schedules/{id}/trigger",
];
/// Headers that are kept with an answer.
const KEPT: [HeaderName; 3] = [header::CONTENT_TYPE, header::LOCATION, header::ETAG];
/// Largest answer that is kept, in bytes.
const LARGEST: usize = 4 * 1024 * 1024;
/// Says that nothing was done now.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// What to keep of an answer instead of its body, set by a handler whose answer holds a secret.
#[derive(Clone, Debug)]
pub(super) struct KeepInstead(pub(super) Bytes);

/// Whether a POST of this route is answered from what is kept.
pub(super) fn is_kept(path: &str) -> bool {
    !NATIVE.contains(&path)
}

/// Answers a request with a key once.
pub(super) async fn once(api: Api, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let applies = request.method() == Method::POST
        && request.headers().contains_key(IdempotencyKey::NAME)
        && request.headers().contains_key(header::AUTHORIZATION)
        && route.is_some_and(|route| is_kept(route.as_str()));
    if !applies {
        return next.run(request).await;
    }
    answer(api, request, next)
        .await
        .unwrap_or_else(IntoResponse::into_response)
}

async fn answer(api: Api, request: Request, next: Next) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let Some(key) = IdempotencyKey::read(&parts.headers)? else {
        return Ok(next.run(Request::from_parts(parts, body)).await);
    };
    let caller = auth::caller(&mut parts, &api).await?;
    let Some(token) = caller.token else {
        return Ok(next.run(Request::from_parts(parts, body)).await);
    };
    let body = arrived(&parts.headers, body, api.settings.max_body_bytes).await?;
    let hash = Sha256::new()
        .chain_update(parts.method.as_str())
        .chain_update([0])
        .chain_update(parts.uri.to_string())
        .chain_update([0])
        .chain_update(&body)
        .finalize();
    match idempotency::take(&api.pool, token, &key, &hash.into()).await? {
        Turn::First => {}
        Turn::Again(answer) => return Ok(replay(answer)),
        refused => return Err(refusal(&refused)),
    }
    let request = Request::from_parts(parts, Body::from(body));
    // A client that hangs up must not stop what its key promises to remember.
    let handled = async move {
        let response = next.run(request).await;
        remember(&api, token, &key, response).await
    };
    let handled = tokio::spawn(handled.in_current_span());
    handled.await.map_err(|_| Problem::internal())
}

fn refusal(turn: &Turn) -> Problem {
    match turn {
        Turn::Another => Problem::new(
            Kind::IdempotencyKeyReused,
            "this Idempotency-Key came with another request before; use a new key",
        ),
        Turn::Unknown => Problem::new(
            Kind::Conflict,
            "a request under this Idempotency-Key was begun, and what came of it is not known because the server or \
             its database went away meanwhile; look whether it was done, then use a new key",
        ),
        _ => Problem::new(
            Kind::Conflict,
            "a request under this Idempotency-Key is being answered at this moment; send it again shortly",
        )
        .with_header(header::RETRY_AFTER, "1"),
    }
}

/// Keeps an answer of success; after any other nothing was changed, and the key is free again.
async fn remember(api: &Api, token: TokenId, key: &str, response: Response) -> Response {
    let (parts, body) = response.into_parts();
    let status = i16::try_from(parts.status.as_u16()).unwrap_or(0);
    let refused = parts.extensions.get::<Problem>();
    let is_known = !parts.status.is_server_error() || refused.is_some_and(Problem::has_changed_nothing);
    let body = match parts.status.is_success() {
        true => to_bytes(body, LARGEST).await.ok(),
        false => None,
    };
    let kept = match (&body, parts.extensions.get::<KeepInstead>()) {
        (Some(_), Some(KeepInstead(instead))) => Some(instead.clone()),
        (body, _) => body.clone(),
    };
    let done = match kept {
        Some(body) => {
            let headers = kept_headers(&parts.headers);
            let body = body.to_vec();
            let answer = Answer {
                status,
                headers,
                body,
            };
            idempotency::keep(&api.pool, token, key, &answer).await
        }
        None if is_known => idempotency::free(&api.pool, token, key).await,
        // What became of it is not known: the key stays taken.
        None => Ok(()),
    };
    if let Err(error) = done {
        tracing::warn!(error = %error, "an answer could not be kept under its idempotency key");
    }
    // The body of anything but success is written where the request id is known.
    Response::from_parts(parts, body.map_or_else(Body::empty, Body::from))
}

fn kept_headers(headers: &axum::http::HeaderMap) -> Value {
    let kept = KEPT.iter().filter_map(|name| {
        let value = headers.get(name)?.to_str().ok()?;
        Some((name.to_string(), Value::from(value)))
    });
    Value::Object(kept.collect::<Map<_, _>>())
}

fn replay(answer: Answer) -> Response {
    let status = u16::try_from(answer.status).ok();
    let status = status.and_then(|status| StatusCode::from_u16(status).ok());
    let mut response = (status.unwrap_or(StatusCode::OK), answer.body).into_response();
    let headers = response.headers_mut();
    for name in KEPT {
        match answer.headers[name.as_str()].as_str() {
            Some(value) => drop(HeaderValue::from_str(value).map(|value| headers.insert(name, value))),
            None => drop(headers.remove(name)),
        }
    }
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    response
}
