//! Tokens as administrators see them: never the secret, never its hash.

use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::id::TokenId;
use crate::domain::page::{Cursor, Page};
use crate::domain::token::Scope;
use crate::store::job::{Reach, reach};
use crate::store::runner::interval;
use crate::store::{Executor, Result};

/// A token with everything but its secret.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its id.
    pub id: TokenId,
    /// What people call it.
    pub name: String,
    /// The secret's first characters.
    pub prefix: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// Whether it reaches every project.
    pub every_project: bool,
    /// Aliases of the projects it reaches by name.
    pub projects: Vec<String>,
    /// `administrator`, `environment` or `dev`.
    pub origin: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it stops being good.
    pub expires_at: Option<DateTime<Utc>>,
    /// Whether that has passed, by the database's clock.
    pub expired: bool,
    /// When it was taken back.
    pub revoked_at: Option<DateTime<Utc>>,
    /// By whom.
    pub revoked_by: Option<String>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<DateTime<Utc>>,
    /// The token whose place it took.
    pub rotated_from: Option<TokenId>,
}

struct Row {
    id: Uuid,
    name: String,
    prefix: String,
    scopes: Vec<String>,
    every_project: bool,
    projects: Vec<String>,
    origin: String,
    created_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    expired: bool,
    revoked_at: Option<DateTime<Utc>>,
    revoked_by: Option<String>,
    last_used_at: Option<DateTime<Utc>>,
    rotated_from: Option<Uuid>,
}

impl From<Row> for Profile {
    fn from(row: Row) -> Self {
        Self {
            id: TokenId(row.id),
            name: row.name,
            prefix: row.prefix,
            scopes: row.scopes.iter().filter_map(|scope| scope.parse().ok()).collect(),
            every_project: row.every_project,
            projects: row.projects,
            origin: row.origin,
            created_at: row.created_at,
            expires_at: row.expires_at,
            expired: row.expired,
            revoked_at: row.revoked_at,
            revoked_by: row.revoked_by,
            last_used_at: row.last_used_at,
            rotated_from: row.rotated_from.map(TokenId),
        }
    }
}

/// One token, if the caller may see it: one that reaches nothing beyond the caller's projects.
///
/// # Errors
///
/// [`crate::store::Error`] when PostgreSQL is away.
pub async fn find(db: impl Executor<'_>, id: TokenId, projects: Reach<'_>) -> Result<Option<Profile>> {
    let projects = reach(projects);
    let row = sqlx::query_as!(
        Row,
        r#"
        select id, name, prefix, scopes, every_project, origin, created_at, expires_at, revoked_at, revoked_by,
               last_used_at, rotated_from, coalesce(expires_at <= now(), false) as "expired!",
               array(select alias from project join token_project on project_id = project.id
                      where token_id = token.id order by alias) as "projects!"
          from token
         where id = $1
           and ($2::uuid[] is null
                or not every_project
                   and exists (select from token_project where token_id = token.id)
                   and not exists (select from token_project where token_id = token.id and project_id <> all ($2)))
        "#,
        id.0,
        projects.as_deref(),
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(Profile::from))
}

/// As [`find`], and nobody else changes it before the transaction ends.
///
/// # Errors
///
/// [`crate::store::Error`] when PostgreSQL is away.
pub async fn lock(
    db: &mut crate::store::Connection,
    id: TokenId,
    projects: Reach<'_>,
) -> Result<Option<Profile>> {
    sqlx::query!("select id from token where id = $1 for update", id.0)
        .fetch_optional(&mut *db)
        .await?;
    find(&mut *db, id, projects).await
}

/// The tokens the caller may see, the newest first, a page at a time.
///
/// # Errors
///
/// [`crate::store::Error`] when PostgreSQL is away.
pub async fn page(
    db: impl Executor<'_>,
    projects: Reach<'_>,
    after: Option<Cursor>,
    limit: u16,
) -> Result<Page<Profile>> {
    let projects = reach(projects);
    let rows = sqlx::query_as!(
        Row,
        r#"
        select id, name, prefix, scopes, every_project, origin, created_at, expires_at, revoked_at, revoked_by,
               last_used_at, rotated_from, coalesce(expires_at <= now(), false) as "expired!",
               array(select alias from project join token_project on project_id = project.id
                      where token_id = token.id order by alias) as "projects!"
          from token
         where ($1::uuid[] is null
                or not every_project
                   and exists (select from token_project where token_id = token.id)
                   and not exists (select from token_project where token_id = token.id and project_id <> all ($1)))
           and ($2::uuid is null or id < $2)
         order by id desc
         limit $3
        "#,
        projects.as_deref(),
        after.map(|cursor| cursor.0),
        i64::from(limit) + 1,
    )
    .fetch_all(db)
    .await?;
    let tokens = rows.into_iter().map(Profile::from).collect();
    Ok(Page::cut(tokens, usize::from(limit), |token| token.id.0))
}

/// Lets the token `to` reach what `from` reaches by name.
///
/// # Errors
///
/// [`crate::store::Error`] when PostgreSQL is away.
pub async fn copy_projects(db: impl Executor<'_>, from: TokenId, to: TokenId) -> Result<()> {
    sqlx::query!(
        "insert into token_project (token_id, project_id) select $2, project_id from token_project where token_id = $1",
        from.0,
        to.0,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Lets a token be good for `rest` at most.
///
/// # Errors
///
/// [`crate::store::Error`] when PostgreSQL is away.
pub async fn expire_in(db: impl Executor<'_>, id: TokenId, rest: Duration) -> Result<()> {
    sqlx::query!(
        "update token set expires_at = least(coalesce(expires_at, 'infinity'), now() + $2) where id = $1",
        id.0,
        interval(rest),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Takes a token back; answers whether it was good until now.
///
/// # Errors
///
/// [`crate::store::Error`] when PostgreSQL is away.
pub async fn revoke(db: impl Executor<'_>, id: TokenId, actor: &str) -> Result<bool> {
    let done = sqlx::query!(
        "update token set revoked_at = coalesce(revoked_at, now()), revoked_by = $2
          where id = $1 and (revoked_at is null or revoked_by is null or revoked_by = 'environment')",
        id.0,
        actor,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}
