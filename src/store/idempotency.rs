//! Requests under an idempotency key, and what was answered.

use serde_json::Value;

use super::{Executor, Result};
use crate::domain::id::TokenId;

/// An answer that is kept.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status, of the two hundreds.
    pub status: i16,
    /// Its headers, an object of strings.
    pub headers: Value,
    /// Its body.
    pub body: Vec<u8>,
}

/// What is known of a key.
#[derive(Clone, Debug)]
pub struct Kept {
    /// SHA-256 of the request that took it.
    pub request_hash: Vec<u8>,
    /// What was answered; `None` as long as nothing was.
    pub answer: Option<Answer>,
    /// Whether it was taken more than a minute ago.
    pub old: bool,
}

/// Takes `key` for a request, and says whether it was free. A key is kept for a day.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away; then it is not taken.
pub async fn take(db: impl Executor<'_>, token: TokenId, key: &str, request_hash: &[u8; 32]) -> Result<bool> {
    let done = sqlx::query!(
        "insert into idempotent_request as kept (token_id, key, request_hash) values ($1, $2, $3)
         on conflict (token_id, key) do update
            set request_hash = excluded.request_hash, begun_at = now(), status = null, headers = null, body = null
          where kept.begun_at < now() - interval '1 day'",
        token.0,
        key,
        &request_hash[..],
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// What is known of a key that was taken before.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn find(db: impl Executor<'_>, token: TokenId, key: &str) -> Result<Option<Kept>> {
    let row = sqlx::query!(
        r#"select request_hash, status, headers, body, begun_at < now() - interval '1 minute' as "old!"
             from idempotent_request where token_id = $1 and key = $2"#,
        token.0,
        key,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| Kept {
        request_hash: row.request_hash,
        answer: row.status.map(|status| Answer {
            status,
            headers: row.headers.unwrap_or_default(),
            body: row.body.unwrap_or_default(),
        }),
        old: row.old,
    }))
}

/// Keeps what was answered under a key that was taken.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away or refuses; nothing is kept then.
pub async fn keep(db: impl Executor<'_>, token: TokenId, key: &str, answer: &Answer) -> Result<()> {
    sqlx::query!(
        "update idempotent_request set status = $3, headers = $4, body = $5
          where token_id = $1 and key = $2 and status is null",
        token.0,
        key,
        answer.status,
        answer.headers,
        answer.body,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Frees a key whose request changed nothing.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn free(db: impl Executor<'_>, token: TokenId, key: &str) -> Result<()> {
    sqlx::query!(
        "delete from idempotent_request where token_id = $1 and key = $2 and status is null",
        token.0,
        key,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Forgets up to `most` keys older than a day, and answers with their number.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn forget(db: impl Executor<'_>, most: u32) -> Result<u64> {
    let done = sqlx::query!(
        "delete from idempotent_request where (token_id, key) in (
             select token_id, key from idempotent_request
              where begun_at < now() - interval '1 day' order by begun_at limit $1 for update skip locked)",
        i64::from(most),
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}
