//! Projects: aliases of source directories.

use super::{Executor, Result};
use crate::domain::id::ProjectId;

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

/// Makes the project named `alias`, or points it at `directory` if it exists.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away, or refuses the alias or a directory that is not absolute.
pub async fn put(db: impl Executor<'_>, alias: &str, directory: &str, origin: &str) -> Result<ProjectId> {
    let row = sqlx::query!(
        "insert into project (id, alias, directory, origin) values ($1, $2, $3, $4)
         on conflict on constraint project_alias_is_unique
             do update set directory = excluded.directory, updated_at = now()
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
