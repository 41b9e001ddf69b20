//! What the workspaces of jobs were made from, and where they are.

use super::{Executor, Result};
use crate::domain::attempt::Fence;
use crate::domain::id::{JobId, RunnerId};

/// What a workspace was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The host that has it.
    pub host: String,
    /// `empty`, `copy` or `clone`.
    pub kind: String,
    /// The commit it began as.
    pub base: String,
    /// Whether the patches of its steps are past their time.
    pub forgotten: bool,
}

/// Notes what a job's workspace was made from and that it is on `host`, if `runner` still holds the job; what
/// it was made from first stays.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn put(
    db: impl Executor<'_>,
    runner: RunnerId,
    fence: Fence,
    host: &str,
    kind: &str,
    base: &str,
) -> Result<()> {
    sqlx::query!(
        r#"
        insert into workspace (job_id, host, kind, base)
        select id, $4, $5, $6 from job where id = $1 and attempt = $2 and runner_id = $3 and state = 'running'
        on conflict (job_id) do update set host = excluded.host
        "#,
        fence.job.0,
        fence.attempt,
        runner.0,
        host,
        kind,
        base,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// What a job's workspace was made from, if one was.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn find(db: impl Executor<'_>, job: JobId) -> Result<Option<Origin>> {
    let origin = sqlx::query_as!(
        Origin,
        r#"select host, kind, base, forgotten_at is not null as "forgotten!" from workspace where job_id = $1"#,
        job.0,
    )
    .fetch_optional(db)
    .await?;
    Ok(origin)
}
