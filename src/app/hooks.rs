//! Hooks, made and changed by administrators. A secret goes in, is sealed, and never comes out again.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::authenticate::Caller;
use crate::domain::hook::{HookSpec, check_secret, generate_secret};
use crate::domain::id::{HookId, ProjectId};
use crate::domain::problem::Violation;
use crate::domain::seal::{Keyring, NoKey};
use crate::domain::signature::Provider;
use crate::store::event::{self, NewEvent};
use crate::store::hook::{self, Hook};
use crate::store::{self, Connection, Pool, project};

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something is wrong with what was asked for.
    #[error("the hook has {} error(s)", .0.len())]
    Invalid(Vec<Violation>),
    /// There is no such hook, or the caller may not know of it.
    #[error("there is no hook {0:?} that you can see")]
    Unknown(String),
    /// Another hook of this server has the name.
    #[error("there is a hook named {0:?} already; choose another name, because the name is the address")]
    Taken(String),
    /// Somebody else changed it after the caller looked.
    #[error("the hook was changed after you read it; read it again")]
    Changed,
    /// Secrets cannot be kept.
    #[error(transparent)]
    NoKey(#[from] NoKey),
    /// PostgreSQL refused or is away.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// A hook that was made or given a secret, and the secret if this server made it.
#[derive(Debug)]
pub struct Kept {
    /// The hook.
    pub hook: Hook,
    /// To be shown once.
    pub secret: Option<SecretString>,
}

/// What a hook's secret is sealed for.
pub(super) fn owner(id: HookId) -> String {
    format!("hook:{id}")
}

/// Makes a hook. Without a secret, makes one that the sender is to be given.
///
/// # Errors
///
/// [`Error`], which says what to do; nothing is stored then.
pub async fn create(
    pool: &Pool,
    keys: Option<&Keyring>,
    caller: &Caller,
    spec: HookSpec,
) -> Result<Kept, Error> {
    let keys = keys.ok_or(NoKey)?;
    let mut spec = spec.checked().map_err(Error::Invalid)?;
    let project = reached(pool, caller, &spec.project_id).await?;
    let (secret, shown) = given_or_made(spec.provider, spec.secret.take())?;
    let id = HookId::generate();
    let sealed = keys.seal(&owner(id), &secret);
    let mut transaction = pool.begin().await.map_err(store::Error::from)?;
    let made = hook::insert(&mut *transaction, id, project, &spec, &sealed).await;
    let updated_at = match made {
        Err(error) if error.constraint() == Some("hook_name_is_unique") => {
            return Err(Error::Taken(spec.name));
        }
        made => made?,
    };
    note(&mut transaction, caller, project, "hook.created", &spec.name).await?;
    transaction.commit().await.map_err(store::Error::from)?;
    let hook = Hook {
        id,
        project,
        spec,
        old_secret_until: None,
        created_at: updated_at,
        updated_at,
    };
    Ok(Kept { hook, secret: shown })
}

/// Shows a hook.
///
/// # Errors
///
/// [`Error::Unknown`].
pub async fn find(pool: &Pool, caller: &Caller, name: &str) -> Result<Hook, Error> {
    let found = hook::find(pool, name, caller.projects.as_deref()).await?;
    found.ok_or_else(|| Error::Unknown(name.to_owned()))
}

/// Changes a hook that is still as `seen`, all but its name and its secret.
///
/// # Errors
///
/// [`Error`]; [`Error::Changed`] when somebody else was faster.
pub async fn change(pool: &Pool, caller: &Caller, seen: &Hook, spec: HookSpec) -> Result<Hook, Error> {
    let spec = spec.checked().map_err(Error::Invalid)?;
    if spec.name != seen.spec.name {
        let sentence = format!(
            "is the address and cannot be changed; this hook is {:?}",
            seen.spec.name
        );
        return Err(Error::Invalid(vec![Violation::new("name", sentence)]));
    }
    if spec.provider != seen.spec.provider {
        let sentence = format!(
            "cannot be changed, because the secret is of {}; make another hook",
            seen.spec.provider
        );
        return Err(Error::Invalid(vec![Violation::new("provider", sentence)]));
    }
    if spec.secret.is_some() {
        let sentence =
            "is not changed like this, or the sender would be refused meanwhile; replace it with rotate";
        return Err(Error::Invalid(vec![Violation::new("secret", sentence)]));
    }
    let project = reached(pool, caller, &spec.project_id).await?;
    let mut transaction = pool.begin().await.map_err(store::Error::from)?;
    let changed = hook::update(&mut *transaction, seen.id, seen.updated_at, project, &spec).await?;
    let updated_at = changed.ok_or(Error::Changed)?;
    note(&mut transaction, caller, project, "hook.changed", &spec.name).await?;
    transaction.commit().await.map_err(store::Error::from)?;
    Ok(Hook {
        project,
        spec,
        updated_at,
        ..seen.clone()
    })
}

/// Gives a hook another secret; the present one is taken for `overlap` more, so that nothing is refused
/// while the sender is changed.
///
/// # Errors
///
/// [`Error`], which says what to do; nothing is changed then.
pub async fn rotate(
    pool: &Pool,
    keys: Option<&Keyring>,
    caller: &Caller,
    name: &str,
    secret: Option<SecretString>,
    overlap: Duration,
) -> Result<Kept, Error> {
    let keys = keys.ok_or(NoKey)?;
    let before = find(pool, caller, name).await?;
    let (secret, shown) = given_or_made(before.spec.provider, secret)?;
    let sealed = keys.seal(&owner(before.id), &secret);
    let mut transaction = pool.begin().await.map_err(store::Error::from)?;
    hook::replace_secret(&mut *transaction, before.id, &sealed, overlap).await?;
    note(
        &mut transaction,
        caller,
        before.project,
        "hook.secret_replaced",
        name,
    )
    .await?;
    transaction.commit().await.map_err(store::Error::from)?;
    let hook = find(pool, caller, name).await?;
    Ok(Kept { hook, secret: shown })
}

/// Deletes a hook that is still as `seen`. Its jobs stay.
///
/// # Errors
///
/// [`Error::Changed`] when somebody else was faster.
pub async fn delete(pool: &Pool, caller: &Caller, seen: &Hook) -> Result<(), Error> {
    let mut transaction = pool.begin().await.map_err(store::Error::from)?;
    if !hook::delete(&mut *transaction, seen.id, seen.updated_at).await? {
        return Err(Error::Changed);
    }
    note(
        &mut transaction,
        caller,
        seen.project,
        "hook.deleted",
        &seen.spec.name,
    )
    .await?;
    Ok(transaction.commit().await.map_err(store::Error::from)?)
}

fn given_or_made(
    provider: Provider,
    given: Option<SecretString>,
) -> Result<(SecretString, Option<SecretString>), Error> {
    let refuse = |why: &str| Err(Error::Invalid(vec![Violation::new("secret", why)]));
    match given {
        Some(secret) => match check_secret(provider, secret.expose_secret()) {
            Ok(()) => Ok((secret, None)),
            Err(why) => refuse(why),
        },
        None if provider == Provider::Stripe => {
            refuse("is required: Stripe makes it, and shows it with the endpoint (whsec_…)")
        }
        None => {
            let made = generate_secret(provider);
            Ok((made.clone(), Some(made)))
        }
    }
}

async fn reached(pool: &Pool, caller: &Caller, alias: &str) -> Result<ProjectId, Error> {
    let found = project::by_alias(pool, alias).await?.map(|project| project.id);
    found.filter(|id| caller.reaches(*id)).ok_or_else(|| {
        let sentence = format!("there is no project named {alias:?} that you reach");
        Error::Invalid(vec![Violation::new("project_id", sentence)])
    })
}

async fn note(
    db: &mut Connection,
    caller: &Caller,
    project: ProjectId,
    kind: &str,
    name: &str,
) -> Result<(), Error> {
    let event = NewEvent {
        project: Some(project),
        job: None,
        kind,
        actor: &caller.actor,
        detail: Some(serde_json::json!({ "hook": name })),
    };
    Ok(event::append(db, &event).await?)
}
