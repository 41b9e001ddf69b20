//! Tokens, found by the hash of what a caller presents.

use chrono::{DateTime, Utc};

mod profile;

use super::{Executor, Result};
use crate::domain::id::{ProjectId, TokenId};
use crate::domain::token::{Scope, TokenHash};

pub use profile::{Profile, copy_projects, expire_in, find, lock, page, revoke};

/// A token that exists, with what it reaches. The caller decides whether it still holds.
#[derive(Clone, Debug)]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// The projects it reaches; `None` is every project.
    pub projects: Option<Vec<ProjectId>>,
    /// When it was taken back, if it was.
    pub revoked_at: Option<DateTime<Utc>>,
    /// Whether its time has passed, by the database's clock.
    pub expired: bool,
    /// Whether its last use is not noted within the last half minute. The other half of the minute that is promised is how
    /// long whoever asks may go without looking.
    pub seldom_used: bool,
    /// The row as it was read.
    pub seen: Seen,
}

/// A token's row as somebody read it. Who writes later on the strength of it checks that it is still that row, in the
/// statement that writes: see [`super::insert::insert`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Seen {
    /// The token.
    pub id: TokenId,
    /// The transaction that wrote the row (`xmin`): another for whatever is changed of it.
    pub version: i64,
}

/// The tokens whose secrets have these hashes, in their order.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn by_hashes(db: impl Executor<'_>, hashes: &[TokenHash]) -> Result<Vec<Option<Token>>> {
    let asked: Vec<&[u8]> = hashes.iter().map(|hash| &hash.0[..]).collect();
    let rows = sqlx::query!(
        r#"
        select id, name, hash, scopes, every_project, revoked_at, xmin::text::bigint as "version!",
               coalesce(expires_at <= now(), false) as "expired!",
               coalesce(last_used_at < now() - interval '30 seconds', true) as "seldom_used!",
               array(select project_id from token_project where token_id = token.id) as "projects!"
          from token
         where hash = any ($1)
        "#,
        &asked as &[&[u8]],
    )
    .fetch_all(db)
    .await?;
    let found = rows.into_iter().map(|row| {
        let token = Token {
            id: TokenId(row.id),
            name: row.name,
            scopes: row.scopes.iter().filter_map(|scope| scope.parse().ok()).collect(),
            projects: (!row.every_project).then(|| row.projects.into_iter().map(ProjectId).collect()),
            revoked_at: row.revoked_at,
            expired: row.expired,
            seldom_used: row.seldom_used,
            seen: Seen {
                id: TokenId(row.id),
                version: row.version,
            },
        };
        (row.hash, token)
    });
    let found: Vec<_> = found.collect();
    // The index compared bytes as they came; only a whole match in constant time counts.
    let of = |hash: &TokenHash| found.iter().find(|(stored, _)| hash.matches(stored));
    Ok(hashes
        .iter()
        .map(|hash| of(hash).map(|(_, token)| token.clone()))
        .collect())
}

/// Whether the token is good now: neither revoked nor expired, by the database's clock.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn holds(db: impl Executor<'_>, id: TokenId) -> Result<bool> {
    let holds = sqlx::query_scalar!(
        r#"select revoked_at is null and coalesce(expires_at > now(), true) as "holds!" from token where id = $1"#,
        id.0,
    )
    .fetch_optional(db)
    .await?;
    Ok(holds.unwrap_or(false))
}

/// Notes that the token was used, at most once in half a minute.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn touch(db: impl Executor<'_>, id: TokenId) -> Result<()> {
    sqlx::query!(
        "update token set last_used_at = now()
          where id = $1 and (last_used_at is null or last_used_at < now() - interval '30 seconds')",
        id.0,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A token to be made.
#[derive(Debug)]
pub struct NewToken<'a> {
    /// What people call it.
    pub name: &'a str,
    /// The secret's first characters.
    pub prefix: &'a str,
    /// The secret's hash.
    pub hash: TokenHash,
    /// What it may do.
    pub scopes: &'a [Scope],
    /// Whether it reaches every project.
    pub every_project: bool,
    /// Where the row comes from.
    pub origin: &'a str,
    /// When it stops being good.
    pub expires_at: Option<DateTime<Utc>>,
    /// The token whose place it takes.
    pub rotated_from: Option<TokenId>,
}

/// Makes a token; one with the same secret is brought up to date instead.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn put(db: impl Executor<'_>, token: &NewToken<'_>) -> Result<TokenId> {
    let scopes: Vec<String> = token.scopes.iter().map(ToString::to_string).collect();
    let row = sqlx::query!(
        "insert into token (id, name, prefix, hash, scopes, every_project, origin, expires_at, rotated_from)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         on conflict on constraint token_hash_is_unique
             do update set name = excluded.name, scopes = excluded.scopes, every_project = excluded.every_project,
                           -- a secret that the environment names again is valid again, unless somebody took it back
                           revoked_at = case when excluded.origin = 'environment' and coalesce(token.revoked_by, 'environment') = 'environment'
                                             then null else token.revoked_at end,
                           revoked_by = case when token.revoked_by = 'environment' and excluded.origin = 'environment' then null else token.revoked_by end
         returning id",
        TokenId::generate().0,
        token.name,
        token.prefix,
        &token.hash.0[..],
        &scopes,
        token.every_project,
        token.origin,
        token.expires_at,
        token.rotated_from.map(|id| id.0),
    )
    .fetch_one(db)
    .await?;
    Ok(TokenId(row.id))
}

/// Makes `projects` the only projects the token reaches by name.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn set_projects(db: impl Executor<'_>, id: TokenId, projects: &[ProjectId]) -> Result<()> {
    let projects: Vec<_> = projects.iter().map(|project| project.0).collect();
    sqlx::query!(
        "with dropped as (delete from token_project where token_id = $1 and project_id <> all ($2))
         insert into token_project (token_id, project_id) select $1, unnest($2::uuid[]) on conflict do nothing",
        id.0,
        &projects,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Takes back every token of the environment that is not among `kept`, and answers with their number.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn revoke_environment_except(db: impl Executor<'_>, kept: &[TokenId]) -> Result<u64> {
    let kept: Vec<_> = kept.iter().map(|id| id.0).collect();
    let done = sqlx::query!(
        "update token set revoked_at = now(), revoked_by = 'environment'
          where origin = 'environment' and revoked_at is null and id <> all ($1)",
        &kept,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}
