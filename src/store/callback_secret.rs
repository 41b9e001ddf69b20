//! The secrets that callbacks of a project are signed with, sealed.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::runner::interval;
use super::{Executor, Result};
use crate::domain::id::{CallbackSecretId, ProjectId};

/// A sealed secret.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// Its id, which is sealed in.
    pub id: CallbackSecretId,
    /// Whose callbacks it signs.
    pub project: ProjectId,
    /// The secret.
    pub secret: Vec<u8>,
}

/// Those of `projects` that sign now, the newest of each first.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn signing(db: impl Executor<'_>, projects: &[ProjectId]) -> Result<Vec<Sealed>> {
    let projects: Vec<_> = projects.iter().map(|project| project.0).collect();
    let rows = sqlx::query!(
        "select id, project_id, secret from callback_secret
          where project_id = any ($1) and (retires_at is null or retires_at > now())
          order by project_id, retires_at desc nulls first, id desc",
        &projects,
    )
    .fetch_all(db)
    .await?;
    let sealed = rows.into_iter().map(|row| Sealed {
        id: CallbackSecretId(row.id),
        project: ProjectId(row.project_id),
        secret: row.secret,
    });
    Ok(sealed.collect())
}

/// Keeps a project's first secret; does nothing when it has one.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn put_first(db: impl Executor<'_>, sealed: &Sealed) -> Result<()> {
    sqlx::query!(
        "insert into callback_secret (id, project_id, secret) values ($1, $2, $3)
         on conflict (project_id) where retires_at is null do nothing",
        sealed.id.0,
        sealed.project.0,
        sealed.secret,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Lets the present secret of a project sign for `overlap` more; answers with until when, if there is one.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn retire(
    db: impl Executor<'_>,
    project: ProjectId,
    overlap: Duration,
) -> Result<Option<DateTime<Utc>>> {
    let row = sqlx::query!(
        "update callback_secret set retires_at = now() + $2 where project_id = $1 and retires_at is null returning retires_at",
        project.0,
        interval(overlap),
    )
    .fetch_optional(db)
    .await?;
    Ok(row.and_then(|row| row.retires_at))
}

/// What may be shown of a secret.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Its id.
    pub id: CallbackSecretId,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Until when it signs, once another has replaced it.
    pub retires_at: Option<DateTime<Utc>>,
}

/// The secrets of a project that sign now, the newest first.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn shown(db: impl Executor<'_>, project: ProjectId) -> Result<Vec<Shown>> {
    let rows = sqlx::query!(
        "select id, created_at, retires_at from callback_secret
          where project_id = $1 and (retires_at is null or retires_at > now())
          order by id desc",
        project.0,
    )
    .fetch_all(db)
    .await?;
    let shown = rows.into_iter().map(|row| Shown {
        id: CallbackSecretId(row.id),
        created_at: row.created_at,
        retires_at: row.retires_at,
    });
    Ok(shown.collect())
}
