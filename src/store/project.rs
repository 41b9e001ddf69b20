//! Projects: aliases of source directories, with what operators say about them.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::job::{Reach, reach};
use super::{Executor, Result};
use crate::domain::id::ProjectId;
use crate::domain::page::{Cursor, Page};
use crate::domain::project::NewProject;

/// A project as jobs need it.
#[derive(Clone, Debug)]
pub struct Project {
    /// Its id.
    pub id: ProjectId,
    /// What callers name it by.
    pub alias: String,
    /// Where its source lies on the host.
    pub directory: String,
}

/// The project named `alias`.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn by_alias(db: impl Executor<'_>, alias: &str) -> Result<Option<Project>> {
    let row = sqlx::query!("select id, alias, directory from project where alias = $1", alias)
        .fetch_optional(db)
        .await?;
    Ok(row.map(|row| Project {
        id: ProjectId(row.id),
        alias: row.alias,
        directory: row.directory,
    }))
}

/// The projects of these aliases that there are, by alias.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn by_aliases(db: impl Executor<'_>, aliases: &[&str]) -> Result<HashMap<String, ProjectId>> {
    let rows = sqlx::query!(
        "select id, alias from project where alias = any ($1)",
        aliases as &[&str]
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.alias, ProjectId(row.id)))
        .collect())
}

/// Makes the project named `alias`, or points it at `directory` if it exists.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away, or refuses the alias or a directory that is not absolute.
pub async fn put(db: impl Executor<'_>, alias: &str, directory: &str, origin: &str) -> Result<ProjectId> {
    let row = sqlx::query!(
        "insert into project (id, alias, directory, origin) values ($1, $2, $3, $4)
         on conflict on constraint project_alias_is_unique
             do update set directory = excluded.directory,
                           updated_at = case when project.directory = excluded.directory then project.updated_at
                                             else greatest(now(), project.updated_at + interval '1 microsecond') end
         returning id",
        ProjectId::generate().0,
        alias,
        directory,
        origin,
    )
    .fetch_one(db)
    .await?;
    Ok(ProjectId(row.id))
}

/// A project with everything that is said about it.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its id.
    pub id: ProjectId,
    /// What callers name it by.
    pub alias: String,
    /// Where its source lies on the host.
    pub directory: String,
    /// What it is, for people.
    pub description: String,
    /// How many of its jobs may run at once.
    pub max_running: Option<i16>,
    /// Most calls to agents of its jobs in a day.
    pub max_daily_calls: Option<i32>,
    /// Most US dollars its jobs' agents may cost in a day.
    pub max_daily_cost_usd: Option<f64>,
    /// `false` lets its steps run without a sandbox.
    pub sandbox: bool,
    /// What its jobs may do.
    pub policy: Value,
    /// `administrator`, `environment` or `dev`.
    pub origin: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed; its version.
    pub updated_at: DateTime<Utc>,
}

/// The project named `alias`, if the caller may see it.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn find(db: impl Executor<'_>, alias: &str, projects: Reach<'_>) -> Result<Option<Profile>> {
    let projects = reach(projects);
    let found = sqlx::query_as!(
        Profile,
        "select id, alias, directory, description, max_running, max_daily_calls,
                max_daily_cost_usd::float8 as max_daily_cost_usd, sandbox, policy, origin, created_at, updated_at
           from project where alias = $1 and ($2::uuid[] is null or id = any ($2))",
        alias,
        projects.as_deref(),
    )
    .fetch_optional(db)
    .await?;
    Ok(found)
}

/// The projects the caller may see, the oldest first, a page at a time.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn page(
    db: impl Executor<'_>,
    projects: Reach<'_>,
    after: Option<Cursor>,
    limit: u16,
) -> Result<Page<Profile>> {
    let projects = reach(projects);
    let found = sqlx::query_as!(
        Profile,
        "select id, alias, directory, description, max_running, max_daily_calls,
                max_daily_cost_usd::float8 as max_daily_cost_usd, sandbox, policy, origin, created_at, updated_at
           from project
          where ($1::uuid[] is null or id = any ($1)) and ($2::uuid is null or id > $2)
          order by id limit $3",
        projects.as_deref(),
        after.map(|cursor| cursor.0),
        i64::from(limit) + 1,
    )
    .fetch_all(db)
    .await?;
    Ok(Page::cut(found, usize::from(limit), |project| project.id.0))
}

/// Makes a project; answers with nothing when there is one of that alias.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away or refuses a value.
pub async fn insert(db: impl Executor<'_>, new: &NewProject) -> Result<Option<Profile>> {
    let made = sqlx::query_as!(
        Profile,
        "insert into project (id, alias, directory, description, max_running, max_daily_calls, max_daily_cost_usd, sandbox, policy)
         values ($1, $2, $3, $4, $5, $6, $7::float8::numeric, $8, $9)
         on conflict on constraint project_alias_is_unique do nothing
         returning id, alias, directory, description, max_running, max_daily_calls,
                   max_daily_cost_usd::float8 as max_daily_cost_usd, sandbox, policy, origin, created_at, updated_at",
        ProjectId::generate().0,
        new.alias,
        new.directory,
        new.description,
        new.max_running,
        new.max_daily_calls,
        new.max_daily_cost_usd,
        new.sandbox,
        serde_json::to_value(&new.policy).unwrap_or_default(),
    )
    .fetch_optional(db)
    .await?;
    Ok(made)
}

/// Writes what is said about a project, unless it was changed after `project.updated_at`.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away or refuses a value.
pub async fn update(db: impl Executor<'_>, project: &Profile) -> Result<Option<Profile>> {
    let changed = sqlx::query_as!(
        Profile,
        "update project set directory = $3, description = $4, max_running = $5, max_daily_calls = $6,
                            max_daily_cost_usd = $7::float8::numeric, sandbox = $8, policy = $9,
                            updated_at = greatest(now(), updated_at + interval '1 microsecond')
          where id = $1 and updated_at = $2
         returning id, alias, directory, description, max_running, max_daily_calls,
                   max_daily_cost_usd::float8 as max_daily_cost_usd, sandbox, policy, origin, created_at, updated_at",
        project.id.0,
        project.updated_at,
        project.directory,
        project.description,
        project.max_running,
        project.max_daily_calls,
        project.max_daily_cost_usd,
        project.sandbox,
        project.policy,
    )
    .fetch_optional(db)
    .await?;
    Ok(changed)
}

/// Deletes a project that nothing belongs to, unless it was changed after `version`.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away, or when something belongs to it: [`super::Error::constraint`]
/// says what.
pub async fn delete(db: impl Executor<'_>, id: ProjectId, version: DateTime<Utc>) -> Result<bool> {
    let done = sqlx::query!(
        "delete from project where id = $1 and updated_at = $2",
        id.0,
        version
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}
