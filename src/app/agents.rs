//! Agents: made, changed, removed by administrators; looked up by whoever names one.

use chrono::{DateTime, Utc};

use super::authenticate::Caller;
use crate::domain::agent::{Definition, Kind};
use crate::domain::name::is_step_id;
use crate::domain::problem::Violation;
use crate::domain::spec::JobSpec;
use crate::store::agent::Agent;
use crate::store::{self, Pool};

/// Why an agent was not made, changed or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is none of this name.
    #[error("there is no agent named {0:?}")]
    Unknown(String),
    /// It is this program's own.
    #[error("the agent {0:?} is built in; make another under a name of its own")]
    BuiltIn(String),
    /// There is one already.
    #[error("there is an agent named {0:?}; change that one, or take another name")]
    Exists(String),
    /// It was changed since whoever asked looked at it.
    #[error("the agent {0:?} was changed meanwhile; read it again, then change what is there now")]
    Stale(String),
    /// Something is wrong with the name.
    #[error("{0:?} cannot name an agent: 1–64 letters, digits, `_` or `-`, a letter or digit first")]
    Name(String),
    /// PostgreSQL refused or is away.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Makes an agent.
///
/// # Errors
///
/// [`Error::Name`], [`Error::Exists`].
pub async fn make(pool: &Pool, caller: &Caller, name: &str, definition: &Definition) -> Result<Agent, Error> {
    if !is_step_id(name) {
        return Err(Error::Name(name.to_owned()));
    }
    match store::agent::make(pool, name, &json(definition), &caller.actor).await? {
        true => find(pool, name).await,
        false => Err(Error::Exists(name.to_owned())),
    }
}

/// Changes an agent, if it still has the `version` the caller looked at.
///
/// # Errors
///
/// [`Error::Unknown`], [`Error::BuiltIn`], [`Error::Stale`].
pub async fn change(
    pool: &Pool,
    caller: &Caller,
    name: &str,
    definition: &Definition,
    version: Option<DateTime<Utc>>,
) -> Result<Agent, Error> {
    match store::agent::change(pool, name, &json(definition), version, &caller.actor).await? {
        true => find(pool, name).await,
        false => Err(why_not(pool, name).await?),
    }
}

/// Removes an agent, if it still has the `version` the caller looked at. Jobs that name it fail when they come to it.
///
/// # Errors
///
/// As [`change`].
pub async fn remove(
    pool: &Pool,
    caller: &Caller,
    name: &str,
    version: Option<DateTime<Utc>>,
) -> Result<(), Error> {
    match store::agent::remove(pool, name, version, &caller.actor).await? {
        true => Ok(()),
        false => Err(why_not(pool, name).await?),
    }
}

/// One agent.
///
/// # Errors
///
/// [`Error::Unknown`].
pub async fn find(pool: &Pool, name: &str) -> Result<Agent, Error> {
    let found = store::agent::find(pool, name).await?;
    found.ok_or_else(|| Error::Unknown(name.to_owned()))
}

async fn why_not(pool: &Pool, name: &str) -> Result<Error, Error> {
    Ok(match find(pool, name).await?.kind {
        Kind::BuiltIn => Error::BuiltIn(name.to_owned()),
        Kind::Program => Error::Stale(name.to_owned()),
    })
}

fn json(definition: &Definition) -> serde_json::Value {
    // Strings, numbers and maps with text keys: nothing here can fail to become JSON.
    serde_json::to_value(definition).unwrap_or_default()
}

/// What specifications say of agents that are not there. `path` is where a specification lies in the request.
///
/// # Errors
///
/// [`store::Error`] when PostgreSQL is away.
pub(super) async fn violations(
    pool: &Pool,
    specs: &[JobSpec],
    path: impl Fn(usize) -> String + Send + Sync,
) -> store::Result<Vec<Violation>> {
    let all = || {
        let steps = |(at, spec): (usize, &JobSpec)| {
            let places = (0..spec.steps.len()).map(move |place| (at, place));
            places.collect::<Vec<_>>()
        };
        specs.iter().enumerate().flat_map(steps)
    };
    let mut names: Vec<&str> = all()
        .map(|(at, place)| &specs[at].steps[place])
        .filter(|step| step.is_agents())
        .map(|step| step.agent.as_str())
        .collect();
    // Jobs of commands alone, which are most, cost no look at the table.
    if names.is_empty() {
        return Ok(Vec::new());
    }
    names.sort_unstable();
    names.dedup();
    let missing = store::agent::missing(pool, &names).await?;
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let there: Vec<String> = store::agent::all(pool)
        .await?
        .into_iter()
        .map(|agent| agent.name)
        .collect();
    let violation = |(at, place): (usize, usize)| {
        let agent = &specs[at].steps[place].agent;
        missing.contains(agent).then(|| {
            let sentence = format!("there is no agent {agent:?}; there are: {}", there.join(", "));
            Violation::new(format!("{}steps[{place}].agent", path(at)), sentence)
        })
    };
    Ok(all().filter_map(violation).collect())
}
