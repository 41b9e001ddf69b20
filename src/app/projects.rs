//! Projects: made, changed, removed, each with its event.
//!
//! Where a project's source lies decides what its jobs can read, so only who reaches every project may
//! say it: the administrator of one project could else point it at another's.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::authenticate::Caller;
use crate::domain::project::{NewProject, ProjectChange};
use crate::domain::token::Scope;
use crate::store::event::{NewEvent, append};
use crate::store::project::{self as table, Profile};
use crate::store::{self, Pool};

/// Why a project was not made, changed or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller is no administrator of every project.
    #[error(
        "projects are made and changed with a token that has the scope `admin` and reaches every project"
    )]
    Reach,
    /// There is none of that alias, or the caller may not know of it.
    #[error("there is no project {0:?} that you can see")]
    Unknown(String),
    /// There is one of that alias.
    #[error("there is a project {0:?} already; change that one, or choose another alias")]
    Exists(String),
    /// It was changed between reading and writing.
    #[error("project {0:?} was changed at the same time; read it again")]
    Changed(String),
    /// It is the environment's to say.
    #[error("project {0:?} comes from PROJECT_ALIASES; change it there and start the service again")]
    Environment(String),
    /// Something belongs to it.
    #[error(
        "project {0:?} has jobs, schedules or the like; they would lose their history, so it stays until retention \
         or you have removed them"
    )]
    InUse(String),
    /// PostgreSQL refused or is away.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Whether the caller may say what projects there are.
///
/// # Errors
///
/// [`Error::Reach`].
pub fn may_change(caller: &Caller) -> Result<(), Error> {
    match caller.may(Scope::Admin) && caller.projects.is_none() {
        true => Ok(()),
        false => Err(Error::Reach),
    }
}

/// Makes a project.
///
/// # Errors
///
/// [`Error`], which says what to do; nothing is stored then.
pub async fn create(pool: &Pool, caller: &Caller, new: &NewProject) -> Result<Profile, Error> {
    may_change(caller)?;
    let mut transaction = pool.begin().await.map_err(store::Error::from)?;
    let made = table::insert(&mut *transaction, new).await?;
    let made = made.ok_or_else(|| Error::Exists(new.alias.clone()))?;
    let mut detail = json!({"alias": new.alias, "directory": new.directory});
    if !new.sandbox {
        detail["sandbox"] = json!(false);
    }
    append(
        &mut *transaction,
        &event(&made, "project.created", caller, detail),
    )
    .await?;
    transaction.commit().await.map_err(store::Error::from)?;
    Ok(made)
}

/// Changes a project, if `admits` lets the version that is changed.
///
/// # Errors
///
/// [`Error`], or what `admits` says; nothing is changed then.
pub async fn change<E: From<Error>>(
    pool: &Pool,
    caller: &Caller,
    alias: &str,
    change: &ProjectChange,
    admits: impl FnOnce(DateTime<Utc>) -> Result<(), E>,
) -> Result<Profile, E> {
    let before = to_change(pool, caller, alias).await?;
    admits(before.updated_at)?;
    Ok(write(pool, caller, before, change).await?)
}

async fn to_change(pool: &Pool, caller: &Caller, alias: &str) -> Result<Profile, Error> {
    let found = table::find(pool, alias, caller.projects.as_deref()).await?;
    let found = found.ok_or_else(|| Error::Unknown(alias.to_owned()))?;
    may_change(caller)?;
    Ok(found)
}

async fn write(
    pool: &Pool,
    caller: &Caller,
    before: Profile,
    change: &ProjectChange,
) -> Result<Profile, Error> {
    let moves = change
        .directory
        .as_ref()
        .is_some_and(|directory| *directory != before.directory);
    if moves && before.origin == "environment" {
        return Err(Error::Environment(before.alias));
    }
    let mut after = before.clone();
    let mut detail = json!({"alias": before.alias});
    if let Some(directory) = &change.directory {
        detail["directory"] = json!(directory);
        after.directory.clone_from(directory);
    }
    if let Some(description) = &change.description {
        after.description.clone_from(description);
    }
    if let Some(max_running) = change.max_running {
        detail["max_running"] = json!(max_running);
        after.max_running = max_running;
    }
    if let Some(calls) = change.max_daily_calls {
        detail["max_daily_calls"] = json!(calls);
        after.max_daily_calls = calls;
    }
    if let Some(cost) = change.max_daily_cost_usd {
        detail["max_daily_cost_usd"] = json!(cost);
        after.max_daily_cost_usd = cost;
    }
    if let Some(sandbox) = change.sandbox {
        detail["sandbox"] = json!(sandbox);
        after.sandbox = sandbox;
    }
    if let Some(policy) = &change.policy {
        after.policy = serde_json::to_value(policy).unwrap_or_default();
        detail["policy"] = after.policy.clone();
    }
    let mut transaction = pool.begin().await.map_err(store::Error::from)?;
    let changed = table::update(&mut *transaction, &after).await?;
    let changed = changed.ok_or(Error::Changed(before.alias))?;
    append(
        &mut *transaction,
        &event(&changed, "project.changed", caller, detail),
    )
    .await?;
    transaction.commit().await.map_err(store::Error::from)?;
    Ok(changed)
}

/// Removes a project that nothing belongs to, if `admits` lets its version.
///
/// # Errors
///
/// [`Error`], or what `admits` says; it stays then.
pub async fn remove<E: From<Error>>(
    pool: &Pool,
    caller: &Caller,
    alias: &str,
    admits: impl FnOnce(DateTime<Utc>) -> Result<(), E>,
) -> Result<(), E> {
    let found = to_change(pool, caller, alias).await?;
    admits(found.updated_at)?;
    Ok(delete(pool, caller, &found).await?)
}

async fn delete(pool: &Pool, caller: &Caller, project: &Profile) -> Result<(), Error> {
    if project.origin == "environment" {
        return Err(Error::Environment(project.alias.clone()));
    }
    let mut transaction = pool.begin().await.map_err(store::Error::from)?;
    match table::delete(&mut *transaction, project.id, project.updated_at).await {
        Ok(true) => {}
        Ok(false) => return Err(Error::Changed(project.alias.clone())),
        Err(error) if error.constraint().is_some() => return Err(Error::InUse(project.alias.clone())),
        Err(error) => return Err(error.into()),
    }
    let detail = json!({"alias": project.alias});
    append(
        &mut *transaction,
        &event(project, "project.removed", caller, detail),
    )
    .await?;
    transaction.commit().await.map_err(store::Error::from)?;
    Ok(())
}

fn event<'a>(project: &Profile, kind: &'a str, caller: &'a Caller, detail: Value) -> NewEvent<'a> {
    NewEvent {
        project: Some(project.id),
        job: None,
        kind,
        actor: &caller.actor,
        detail: Some(detail),
    }
}
