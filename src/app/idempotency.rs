//! The same request again, under its idempotency key: nothing is done, the first answer is given.
//!
//! The key is taken before the request is handled and the answer kept after it, in statements of their
//! own. A server that goes away between the two leaves a key without an answer, and nobody can know
//! whether the request was done; such a key is refused, not tried again: what it promises is *not twice*.

use std::time::Duration;

use subtle::ConstantTimeEq as _;
use tokio_util::sync::CancellationToken;

use crate::domain::id::TokenId;
use crate::store::idempotency::{self as table, Answer};
use crate::store::{Pool, Result};

/// Most forgotten at once, so that no lock is held for long.
const BATCH: u32 = 1000;
/// Time between two looks for old keys.
const PAUSE: Duration = Duration::from_secs(3600);

/// What a request under a key is to do.
#[derive(Clone, Debug)]
pub enum Turn {
    /// It is the first: handle it, then [`keep`] what was answered or [`free`] the key.
    First,
    /// It was answered before.
    Again(Answer),
    /// The key belongs to another request.
    Another,
    /// The first one is being handled at this moment.
    Busy,
    /// The first one was begun, and what came of it is not known.
    Unknown,
}

/// Takes the key, or says what is known of it.
///
/// # Errors
///
/// [`crate::store::Error`] when PostgreSQL is away; the key is not taken then.
pub async fn take(pool: &Pool, token: TokenId, key: &str, request_hash: &[u8; 32]) -> Result<Turn> {
    if table::take(pool, token, key, request_hash).await? {
        return Ok(Turn::First);
    }
    let Some(kept) = table::find(pool, token, key).await? else {
        // Freed between the two looks: whoever held it changed nothing.
        return Ok(Turn::Busy);
    };
    let same: bool = kept.request_hash.ct_eq(request_hash).into();
    Ok(match kept.answer {
        _ if !same => Turn::Another,
        Some(answer) => Turn::Again(answer),
        None if kept.old => Turn::Unknown,
        None => Turn::Busy,
    })
}

/// Keeps what was answered, for a day.
///
/// # Errors
///
/// [`crate::store::Error`] when PostgreSQL is away; what came of the request is unknown to a repeat then.
pub async fn keep(pool: &Pool, token: TokenId, key: &str, answer: &Answer) -> Result<()> {
    table::keep(pool, token, key, answer).await
}

/// Frees the key of a request that changed nothing.
///
/// # Errors
///
/// [`crate::store::Error`] when PostgreSQL is away; the key stays taken then.
pub async fn free(pool: &Pool, token: TokenId, key: &str) -> Result<()> {
    table::free(pool, token, key).await
}

/// Forgets keys that are older than a day, once an hour until `stop`.
pub async fn forget_old(pool: Pool, stop: CancellationToken) {
    loop {
        if let Err(error) = forget(&pool).await {
            tracing::debug!(error = %error, "old idempotency keys are forgotten later");
        }
        if stop
            .run_until_cancelled(tokio::time::sleep(PAUSE))
            .await
            .is_none()
        {
            return;
        }
    }
}

async fn forget(pool: &Pool) -> Result<()> {
    while table::forget(pool, BATCH).await? == u64::from(BATCH) {}
    Ok(())
}
