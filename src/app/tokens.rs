//! Tokens: made, rotated, taken back, each with its event. A secret is in the answer to whoever asked
//! for it, and nowhere else.

use std::time::Duration;

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::authenticate::Caller;
use crate::domain::clock;
use crate::domain::id::{ProjectId, TokenId};
use crate::domain::problem::Violation;
use crate::domain::token::{NewToken, Scope, TokenHash, generate, prefix};
use crate::store::event::{NewEvent, append};
use crate::store::token::{self as table, Profile};
use crate::store::{self, Pool, Transaction};

/// A token, and the only time its secret is seen.
#[derive(Debug)]
pub struct Made {
    /// The token.
    pub token: Profile,
    /// What to present.
    pub secret: SecretString,
}

/// Why a token was not made, rotated or taken back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something is wrong with the request.
    #[error("the token has {} error(s)", .0.len())]
    Invalid(Vec<Violation>),
    /// The caller does not reach a project the token is to reach.
    #[error("a token can only be given projects that your own token reaches, and it does not reach {0}")]
    Reach(String),
    /// There is none of that id, or the caller may not know of it.
    #[error("there is no token {0} that you can see")]
    Unknown(TokenId),
    /// It is over, so nothing takes its place.
    #[error("token {0} was revoked or has expired; make a new one")]
    Over(TokenId),
    /// It is the environment's to say.
    #[error("token {0} comes from WEBHOOK_TOKENS; put the new secret there and start the service again")]
    Environment(TokenId),
    /// PostgreSQL refused or is away.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl From<Violation> for Error {
    fn from(violation: Violation) -> Self {
        Self::Invalid(vec![violation])
    }
}

/// Makes a token.
///
/// # Errors
///
/// [`Error`], which says what to do; nothing is stored then.
pub async fn create(pool: &Pool, caller: &Caller, new: &NewToken) -> Result<Made, Error> {
    ahead(new.expires_at)?;
    let mut transaction = pool.begin().await.map_err(store::Error::from)?;
    let projects = reached(&mut transaction, caller, new).await?;
    let secret = generate();
    let row = table::NewToken {
        name: &new.name,
        prefix: &prefix(&secret),
        hash: TokenHash::of(secret.expose_secret()),
        scopes: &new.scopes,
        every_project: new.is_for_every_project(),
        origin: "administrator",
        expires_at: new.expires_at,
        rotated_from: None,
    };
    let id = table::put(&mut *transaction, &row).await?;
    table::set_projects(&mut *transaction, id, &projects).await?;
    let detail = json!({"name": new.name, "scopes": new.scopes, "projects": new.projects, "expires_at": new.expires_at});
    finish(transaction, caller, id, "token.created", detail, secret).await
}

/// Puts a token in the place of another, which stays good for `overlap`. The new one lasts until
/// `expires_at`, or as long as the old one did.
///
/// # Errors
///
/// [`Error`], which says what to do; nothing is changed then.
pub async fn rotate(
    pool: &Pool,
    caller: &Caller,
    id: TokenId,
    overlap: Duration,
    expires_at: Option<DateTime<Utc>>,
) -> Result<Made, Error> {
    ahead(expires_at)?;
    let mut transaction = pool.begin().await.map_err(store::Error::from)?;
    let old = table::lock(&mut transaction, id, caller.projects.as_deref()).await?;
    let old = old.ok_or(Error::Unknown(id))?;
    if old.origin == "environment" {
        return Err(Error::Environment(id));
    }
    if old.expired || old.revoked_at.is_some() {
        return Err(Error::Over(id));
    }
    let lifetime = old.expires_at.map(|expires_at| expires_at - old.created_at);
    let secret = generate();
    let row = table::NewToken {
        name: &old.name,
        prefix: &prefix(&secret),
        hash: TokenHash::of(secret.expose_secret()),
        scopes: &old.scopes,
        every_project: old.every_project,
        origin: "administrator",
        expires_at: expires_at.or_else(|| lifetime.map(|lifetime| clock::now() + lifetime)),
        rotated_from: Some(id),
    };
    let new = table::put(&mut *transaction, &row).await?;
    table::copy_projects(&mut *transaction, id, new).await?;
    table::expire_in(&mut *transaction, id, overlap).await?;
    let detail = json!({"name": old.name, "rotated_from": id, "overlap_sec": overlap.as_secs()});
    finish(transaction, caller, new, "token.rotated", detail, secret).await
}

/// Takes a token back, at once. Doing so again changes nothing.
///
/// # Errors
///
/// [`Error::Unknown`], or [`Error::Store`].
pub async fn revoke(pool: &Pool, caller: &Caller, id: TokenId) -> Result<Profile, Error> {
    let mut transaction = pool.begin().await.map_err(store::Error::from)?;
    let old = table::lock(&mut transaction, id, caller.projects.as_deref()).await?;
    let old = old.ok_or(Error::Unknown(id))?;
    if table::revoke(&mut *transaction, id, &caller.actor).await? {
        let detail = json!({"token": id, "name": old.name});
        append(&mut *transaction, &event("token.revoked", caller, detail)).await?;
    }
    let now = table::find(&mut *transaction, id, None).await?;
    transaction.commit().await.map_err(store::Error::from)?;
    now.ok_or(Error::Unknown(id))
}

async fn finish(
    mut transaction: Transaction<'_>,
    caller: &Caller,
    id: TokenId,
    kind: &str,
    mut detail: Value,
    secret: SecretString,
) -> Result<Made, Error> {
    detail["token"] = json!(id);
    append(&mut *transaction, &event(kind, caller, detail)).await?;
    let token = table::find(&mut *transaction, id, None).await?;
    let token = token.ok_or(Error::Unknown(id))?;
    transaction.commit().await.map_err(store::Error::from)?;
    Ok(Made { token, secret })
}

fn event<'a>(kind: &'a str, caller: &'a Caller, detail: Value) -> NewEvent<'a> {
    NewEvent {
        project: None,
        job: None,
        kind,
        actor: &caller.actor,
        detail: Some(detail),
    }
}

fn ahead(expires_at: Option<DateTime<Utc>>) -> Result<(), Violation> {
    match expires_at {
        Some(instant) if instant <= clock::now() => Err(Violation::new(
            "expires_at",
            "has passed; name a time to come, or leave it out",
        )),
        _ => Ok(()),
    }
}

/// The projects a token is to reach. Nobody gives what they do not have.
async fn reached(
    transaction: &mut Transaction<'_>,
    caller: &Caller,
    new: &NewToken,
) -> Result<Vec<ProjectId>, Error> {
    if !caller.may(Scope::Admin) {
        return Err(Error::Reach("anything: it lacks the scope admin".to_owned()));
    }
    if new.is_for_every_project() {
        return match caller.projects {
            None => Ok(Vec::new()),
            Some(_) => Err(Error::Reach("every project".to_owned())),
        };
    }
    let mut reached = Vec::with_capacity(new.projects.len());
    for (place, alias) in new.projects.iter().enumerate() {
        match store::project::by_alias(&mut **transaction, alias).await? {
            Some(project) if caller.reaches(project.id) => reached.push(project.id),
            None if caller.projects.is_none() => {
                let sentence = format!("there is no project named {alias:?}; make it first");
                return Err(Violation::new(format!("projects[{place}]"), sentence).into());
            }
            _ => return Err(Error::Reach(format!("a project named {alias:?}"))),
        }
    }
    Ok(reached)
}
