//! Artifacts: which there are, and who may write them.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{Connection, Executor, Result};
use crate::domain::attempt::Fence;
use crate::domain::id::{JobId, RunnerId};

/// An artifact to be noted.
#[derive(Clone, Debug)]
pub struct NewArtifact {
    /// Its path within the job.
    pub path: String,
    /// Its length in bytes.
    pub size: i64,
    /// The SHA-256 of its bytes.
    pub sha256: [u8; 32],
    /// What it is.
    pub media_type: &'static str,
}

/// Holds a job for a runner that still has it, until the transaction ends: nobody takes it away meanwhile. A
/// runner that is frozen in the middle lets go after `patience`. Answers whether the runner has the job.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn hold(db: &mut Connection, runner: RunnerId, fence: Fence, patience: Duration) -> Result<bool> {
    let held = sqlx::query_scalar!(
        r#"
        with limited as (
            select set_config('idle_in_transaction_session_timeout', $4, true)
        )
        -- Weaker than what a request to cancel takes, stronger than what takes the job from its runner.
        select job.id from job, limited
         where job.id = $1 and attempt = $2 and runner_id = $3 and state = 'running' for key share of job
        "#,
        fence.job.0,
        fence.attempt,
        runner.0,
        patience.as_millis().to_string(),
    )
    .fetch_optional(db)
    .await?;
    Ok(held.is_some())
}

/// Notes artifacts of a job, those of its step number `ordinal` below the directory given with it, or the job's own at the
/// top, in place of those that were there. Answers with the paths of what was there and no longer is.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn put(
    db: impl Executor<'_>,
    fence: Fence,
    step: Option<(i16, &str)>,
    artifacts: &[NewArtifact],
) -> Result<Vec<String>> {
    let paths: Vec<&str> = artifacts.iter().map(|artifact| artifact.path.as_str()).collect();
    let sizes: Vec<i64> = artifacts.iter().map(|artifact| artifact.size).collect();
    let hashes: Vec<&[u8]> = artifacts.iter().map(|artifact| &artifact.sha256[..]).collect();
    let types: Vec<&str> = artifacts.iter().map(|artifact| artifact.media_type).collect();
    let gone = sqlx::query_scalar!(
        r#"
        with noted as (
            insert into artifact (job_id, path, attempt, ordinal, size, sha256, media_type)
            select $1, path, $2, $3, size, sha256, media_type
              from unnest($4::text[], $5::bigint[], $6::bytea[], $7::text[]) as new (path, size, sha256, media_type)
            on conflict (job_id, path) do update
               set attempt = excluded.attempt, ordinal = excluded.ordinal, size = excluded.size, sha256 = excluded.sha256,
                   media_type = excluded.media_type, created_at = now()
        )
        delete from artifact
         where job_id = $1 and path <> all ($4)
           and case when $8::text is null then position('/' in path) = 0 else starts_with(path, $8 || '/') end
        returning path
        "#,
        fence.job.0,
        fence.attempt,
        step.map(|(ordinal, _)| ordinal),
        &paths as &[&str],
        &sizes,
        &hashes as &[&[u8]],
        &types as &[&str],
        step.map(|(_, directory)| directory),
    )
    .fetch_all(db)
    .await?;
    Ok(gone)
}

/// An artifact, as people see it.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// Its path within the job.
    pub path: String,
    /// The attempt that left it.
    pub attempt: i32,
    /// Its length in bytes.
    pub size: i64,
    /// The SHA-256 of its bytes.
    pub sha256: Vec<u8>,
    /// What it is.
    pub media_type: String,
    /// When it was written.
    pub created_at: DateTime<Utc>,
}

/// The artifacts of a job, by path.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn of_job(db: impl Executor<'_>, job: JobId) -> Result<Vec<Artifact>> {
    let artifacts = sqlx::query_as!(
        Artifact,
        "select path, attempt, size, sha256, media_type, created_at from artifact where job_id = $1 order by path",
        job.0,
    )
    .fetch_all(db)
    .await?;
    Ok(artifacts)
}

/// One artifact of a job.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn find(db: impl Executor<'_>, job: JobId, path: &str) -> Result<Option<Artifact>> {
    let artifact = sqlx::query_as!(
        Artifact,
        "select path, attempt, size, sha256, media_type, created_at from artifact where job_id = $1 and path = $2",
        job.0,
        path,
    )
    .fetch_optional(db)
    .await?;
    Ok(artifact)
}

/// The path of the patch that was recorded last, which holds everything the steps of a job made of its workspace.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn last_patch(db: impl Executor<'_>, job: JobId) -> Result<Option<String>> {
    let path = sqlx::query_scalar!(
        r#"
        select path from artifact
         where job_id = $1 and ordinal is not null and path like 'steps/%/patch.diff'
         order by attempt desc, ordinal desc
         limit 1
        "#,
        job.0,
    )
    .fetch_optional(db)
    .await?;
    Ok(path)
}
