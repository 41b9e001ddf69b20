//! Agents: who a step may name.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::named::Named;
use super::{Executor, Result};
use crate::domain::agent::Kind;

/// An agent as the table has it.
#[derive(Clone, Debug)]
pub struct Agent {
    /// What steps call it.
    pub name: String,
    /// Who does its work.
    pub kind: Kind,
    /// How it is called, asked and understood.
    pub definition: Value,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was changed last: its version, which every change moves.
    pub updated_at: DateTime<Utc>,
}

macro_rules! agent {
    ($row:expr) => {{
        let row = $row;
        Agent {
            name: row.name,
            kind: row.kind.0,
            definition: row.definition,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }};
}

/// Every agent, by name.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn all(db: impl Executor<'_>) -> Result<Vec<Agent>> {
    let rows = sqlx::query!(
        r#"select name, kind as "kind: Named<Kind>", definition, created_at, updated_at from agent order by name"#
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| agent!(row)).collect())
}

/// The agent `name`.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn find(db: impl Executor<'_>, name: &str) -> Result<Option<Agent>> {
    let row = sqlx::query!(
        r#"select name, kind as "kind: Named<Kind>", definition, created_at, updated_at from agent where name = $1"#,
        name,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| agent!(row)))
}

/// Those of `names` that no agent has.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn missing(db: impl Executor<'_>, names: &[&str]) -> Result<Vec<String>> {
    let missing = sqlx::query_scalar!(
        r#"select name as "name!" from unnest($1::text[]) as asked (name)
            where not exists (select from agent where agent.name = asked.name)"#,
        names as &[&str],
    )
    .fetch_all(db)
    .await?;
    Ok(missing)
}

/// Makes an agent. Answers whether it did: there may be one of this name.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn make(db: impl Executor<'_>, name: &str, definition: &Value, actor: &str) -> Result<bool> {
    let made = sqlx::query_scalar!(
        r#"
        with made as (
            insert into agent (name, definition) values ($1, $2) on conflict do nothing returning name
        ), logged as (
            insert into event (kind, actor, detail)
            select 'agent.made', $3, jsonb_build_object('agent', name) from made
        )
        select exists (select from made) as "made!"
        "#,
        name,
        definition,
        actor,
    )
    .fetch_one(db)
    .await?;
    Ok(made)
}

/// Changes an agent that is no built-in one, if it has this `version` or nobody asks for one. Answers whether it did.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn change(
    db: impl Executor<'_>,
    name: &str,
    definition: &Value,
    version: Option<DateTime<Utc>>,
    actor: &str,
) -> Result<bool> {
    let changed = sqlx::query_scalar!(
        r#"
        with changed as (
            update agent
               set definition = $2, updated_at = greatest(clock_timestamp(), updated_at + interval '1 microsecond')
             where name = $1 and kind = 'program' and ($3::timestamptz is null or updated_at = $3)
            returning name
        ), logged as (
            insert into event (kind, actor, detail)
            select 'agent.changed', $4, jsonb_build_object('agent', name) from changed
        )
        select exists (select from changed) as "changed!"
        "#,
        name,
        definition,
        version,
        actor,
    )
    .fetch_one(db)
    .await?;
    Ok(changed)
}

/// Removes an agent that is no built-in one, if it has this `version` or nobody asks for one. Answers whether it did.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn remove(
    db: impl Executor<'_>,
    name: &str,
    version: Option<DateTime<Utc>>,
    actor: &str,
) -> Result<bool> {
    let removed = sqlx::query_scalar!(
        r#"
        with removed as (
            delete from agent
             where name = $1 and kind = 'program' and ($2::timestamptz is null or updated_at = $2)
            returning name
        ), logged as (
            insert into event (kind, actor, detail)
            select 'agent.removed', $3, jsonb_build_object('agent', name) from removed
        )
        select exists (select from removed) as "removed!"
        "#,
        name,
        version,
        actor,
    )
    .fetch_one(db)
    .await?;
    Ok(removed)
}
