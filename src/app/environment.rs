//! `WEBHOOK_TOKENS` and `PROJECT_ALIASES` of the environment, brought into the tables at start.

use secrecy::{ExposeSecret, SecretString};

use crate::domain::environment::{Alias, EnvironmentToken};
use crate::domain::token::{Scope, TokenHash, prefix};
use crate::store::token::NewToken;
use crate::store::{self, Pool, Result};

/// Makes the tables say what the environment says: aliases are made or moved, tokens made, and a
/// token that is no longer named is revoked. Rows made in other ways are left alone.
///
/// # Errors
///
/// [`store::Error`] when PostgreSQL is away; nothing is changed then.
pub async fn synchronise(pool: &Pool, aliases: &[Alias], tokens: &[EnvironmentToken]) -> Result<()> {
    let mut transaction = pool.begin().await?;
    for Alias { alias, directory } in aliases {
        store::project::put(&mut *transaction, alias, directory, "environment").await?;
    }
    let mut kept = Vec::new();
    for (place, token) in tokens.iter().enumerate() {
        let new = NewToken {
            name: &format!("environment-{}", place + 1),
            prefix: &prefix(&token.secret),
            hash: TokenHash::of(token.secret.expose_secret()),
            scopes: &[Scope::Submit, Scope::Read],
            every_project: token.projects.is_none(),
            origin: "environment",
            expires_at: None,
            rotated_from: None,
        };
        let id = store::token::put(&mut *transaction, &new).await?;
        let mut projects = Vec::new();
        for alias in token.projects.iter().flatten() {
            projects.extend(
                store::project::by_alias(&mut *transaction, alias)
                    .await?
                    .map(|project| project.id),
            );
        }
        store::token::set_projects(&mut *transaction, id, &projects).await?;
        kept.push(id);
    }
    let revoked = store::token::revoke_environment_except(&mut *transaction, &kept).await?;
    transaction.commit().await?;
    if revoked > 0 {
        tracing::info!(
            tokens = revoked,
            "revoked tokens that WEBHOOK_TOKENS no longer names"
        );
    }
    Ok(())
}

/// Makes the project `alias` and a token for everything, for a first look.
///
/// # Errors
///
/// [`store::Error`] when PostgreSQL is away.
pub async fn first_project_and_token(pool: &Pool, alias: &Alias, secret: &SecretString) -> Result<()> {
    let mut transaction = pool.begin().await?;
    store::project::put(&mut *transaction, &alias.alias, &alias.directory, "dev").await?;
    let token = NewToken {
        name: "dev",
        prefix: &prefix(secret),
        hash: TokenHash::of(secret.expose_secret()),
        scopes: &[Scope::Submit, Scope::Read, Scope::Operate, Scope::Admin],
        every_project: true,
        origin: "dev",
        expires_at: None,
        rotated_from: None,
    };
    store::token::put(&mut *transaction, &token).await?;
    Ok(transaction.commit().await?)
}
