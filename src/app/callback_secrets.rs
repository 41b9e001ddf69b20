//! What callbacks of a project are signed with: made, replaced with an overlap, never shown twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use secrecy::SecretString;

use super::authenticate::Caller;
use crate::domain::id::{CallbackSecretId, ProjectId};
use crate::domain::seal::{Keyring, NoKey, Shut};
use crate::domain::signature::standard;
use crate::store::callback_secret::{self, Sealed};
use crate::store::event::{self, NewEvent};
use crate::store::{self, Pool, project};

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such project, or the caller may not know of it.
    #[error("there is no project {0:?} that you can see")]
    Unknown(String),
    /// Somebody else replaced it at the same moment.
    #[error("somebody else replaces the secret at this moment; look which one signs, and try again")]
    Raced,
    /// Secrets cannot be kept.
    #[error(transparent)]
    NoKey(#[from] NoKey),
    /// PostgreSQL refused or is away.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// A project's new secret.
#[derive(Debug)]
pub struct Rotated {
    /// Its id.
    pub id: CallbackSecretId,
    /// The secret, to be shown once.
    pub secret: SecretString,
    /// Until when the one before signs as well.
    pub old_signs_until: Option<DateTime<Utc>>,
}

fn owner(id: CallbackSecretId) -> String {
    format!("callback:{id}")
}

fn sealed(keys: &Keyring, project: ProjectId) -> (Sealed, SecretString) {
    let secret = standard::generate();
    let id = CallbackSecretId::generate();
    let sealed = Sealed {
        id,
        project,
        secret: keys.seal(&owner(id), &secret),
    };
    (sealed, secret)
}

/// Gives a project another secret; the present one signs for `overlap` more, so that no receiver
/// refuses a callback while it learns the new one.
///
/// # Errors
///
/// [`Error::Unknown`] for a project the caller does not reach; [`Error::NoKey`]; [`Error::Raced`] when
/// somebody else replaces it at the same moment.
pub async fn rotate(
    pool: &Pool,
    keys: Option<&Keyring>,
    caller: &Caller,
    alias: &str,
    overlap: Duration,
) -> Result<Rotated, Error> {
    let keys = keys.ok_or(NoKey)?;
    let project = reached(pool, caller, alias).await?;
    let (sealed, secret) = sealed(keys, project);
    let mut transaction = pool.begin().await.map_err(store::Error::from)?;
    let old_signs_until = callback_secret::retire(&mut *transaction, project, overlap).await?;
    callback_secret::put_first(&mut *transaction, &sealed).await?;
    let signing = callback_secret::signing(&mut *transaction, &[project]).await?;
    if !signing.iter().any(|other| other.id == sealed.id) {
        return Err(Error::Raced);
    }
    let event = NewEvent {
        project: Some(project),
        job: None,
        kind: "callback_secret.replaced",
        actor: &caller.actor,
        detail: None,
    };
    event::append(&mut *transaction, &event).await?;
    transaction.commit().await.map_err(store::Error::from)?;
    Ok(Rotated {
        id: sealed.id,
        secret,
        old_signs_until,
    })
}

/// What may be shown of the secrets that sign now.
///
/// # Errors
///
/// [`Error::Unknown`] for a project the caller does not reach.
pub async fn shown(pool: &Pool, caller: &Caller, alias: &str) -> Result<Vec<callback_secret::Shown>, Error> {
    let project = reached(pool, caller, alias).await?;
    Ok(callback_secret::shown(pool, project).await?)
}

async fn reached(pool: &Pool, caller: &Caller, alias: &str) -> Result<ProjectId, Error> {
    let found = project::by_alias(pool, alias).await?.map(|project| project.id);
    found
        .filter(|id| caller.reaches(*id))
        .ok_or_else(|| Error::Unknown(alias.to_owned()))
}

/// The secrets that sign the callbacks of each project. One that has none gets one, so that nothing
/// goes out unsigned; an administrator who wants to know it replaces it.
pub(super) async fn of_projects(
    pool: &Pool,
    keys: &Keyring,
    projects: &BTreeSet<ProjectId>,
) -> store::Result<BTreeMap<ProjectId, Result<Vec<SecretString>, Shut>>> {
    let list: Vec<ProjectId> = projects.iter().copied().collect();
    let mut kept = callback_secret::signing(pool, &list).await?;
    let without = |project: &&ProjectId| !kept.iter().any(|sealed| sealed.project == **project);
    let without: Vec<ProjectId> = projects.iter().filter(without).copied().collect();
    for project in &without {
        callback_secret::put_first(pool, &sealed(keys, *project).0).await?;
    }
    if !without.is_empty() {
        kept = callback_secret::signing(pool, &list).await?;
    }
    let open = |project: &ProjectId| {
        let own = kept.iter().filter(|sealed| sealed.project == *project);
        own.map(|sealed| keys.open(&owner(sealed.id), &sealed.secret))
            .collect()
    };
    Ok(projects.iter().map(|project| (*project, open(project))).collect())
}
