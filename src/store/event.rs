//! The append-only audit log.

use serde_json::Value;

use super::{Executor, Result};
use crate::domain::id::{JobId, ProjectId};

/// Something that happened, to be kept.
#[derive(Debug)]
pub struct NewEvent<'a> {
    /// The project it happened in, if in one.
    pub project: Option<ProjectId>,
    /// The job it happened to, if to one.
    pub job: Option<JobId>,
    /// What happened, as `job.submitted`.
    pub kind: &'a str,
    /// Who did it.
    pub actor: &'a str,
    /// Anything more.
    pub detail: Option<Value>,
}

/// Appends one event.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away or refuses; nothing is kept then.
pub async fn append(db: impl Executor<'_>, event: &NewEvent<'_>) -> Result<()> {
    sqlx::query!(
        "insert into event (project_id, job_id, kind, actor, detail) values ($1, $2, $3, $4, $5)",
        event.project.map(|id| id.0),
        event.job.map(|id| id.0),
        event.kind,
        event.actor,
        event.detail,
    )
    .execute(db)
    .await?;
    Ok(())
}
