//! What the workspaces of jobs were made from, and where they are.

use uuid::Uuid;

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

/// What the workspace of an attempt was made from, to be noted.
#[derive(Clone, Debug)]
pub struct NewOrigin {
    /// The attempt.
    pub fence: Fence,
    /// The host that has it.
    pub host: String,
    /// `empty`, `copy` or `clone`.
    pub kind: &'static str,
    /// The commit it began as.
    pub base: String,
}

/// Notes what the workspaces of jobs that `runner` still holds were made from, and where they are now; what one was
/// made from first stays.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn put(db: impl Executor<'_>, runner: RunnerId, origins: &[NewOrigin]) -> Result<()> {
    let jobs: Vec<Uuid> = origins.iter().map(|origin| origin.fence.job.0).collect();
    let attempts: Vec<i32> = origins.iter().map(|origin| origin.fence.attempt).collect();
    let hosts: Vec<&str> = origins.iter().map(|origin| origin.host.as_str()).collect();
    let kinds: Vec<&str> = origins.iter().map(|origin| origin.kind).collect();
    let bases: Vec<&str> = origins.iter().map(|origin| origin.base.as_str()).collect();
    sqlx::query!(
        r#"
        insert into workspace (job_id, host, kind, base)
        -- Row by row through the key, in one order everywhere, as the settle; held, so that the job is there while its row is written.
        select job.id, asked.host, asked.kind, asked.base
          from (select * from unnest($2::uuid[], $3::int[], $4::text[], $5::text[], $6::text[])
                              as asked (job_id, attempt, host, kind, base) order by job_id) as asked
         cross join lateral (select id, runner_id from job
                              where job.id = asked.job_id and job.attempt = asked.attempt
                                for key share) as job
         where job.runner_id = $1
        on conflict (job_id) do update set host = excluded.host
        "#,
        runner.0,
        &jobs,
        &attempts,
        &hosts as &[&str],
        &kinds as &[&str],
        &bases as &[&str],
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
