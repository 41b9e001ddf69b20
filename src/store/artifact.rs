//! Artifacts: which there are, and who may write them.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

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

/// The artifacts of a step, or of a job itself, in place of those that were there.
#[derive(Debug)]
pub struct Noted<'a> {
    /// The attempt that left them.
    pub fence: Fence,
    /// The step's number and its directory; `None` for the job's own, at the top.
    pub step: Option<(i16, &'a str)>,
    /// All of them.
    pub artifacts: Vec<NewArtifact>,
}

impl Noted<'_> {
    /// Whether there may be others of an earlier run.
    #[must_use]
    pub fn may_replace(&self) -> bool {
        self.fence.attempt > 1 || self.step.is_some_and(|(ordinal, _)| ordinal > 0)
    }
}

/// Holds jobs for a runner that still has them, until the transaction ends: nobody takes them away meanwhile. A
/// runner that is frozen in the middle lets go after `patience`. Answers with those that the runner has.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn hold(
    db: &mut Connection,
    runner: RunnerId,
    fences: &[Fence],
    patience: Duration,
) -> Result<HashSet<Fence>> {
    let jobs: Vec<Uuid> = fences.iter().map(|fence| fence.job.0).collect();
    let attempts: Vec<i32> = fences.iter().map(|fence| fence.attempt).collect();
    let held = sqlx::query!(
        r#"
        with limited as (
            select set_config('idle_in_transaction_session_timeout', $4, true)
        )
        -- Weaker than what a request to cancel takes, stronger than what takes the job from its runner. In one order
        -- everywhere, as the settle.
        select job.id, job.attempt
          from limited
         cross join (select * from unnest($2::uuid[], $3::int[]) as asked (job_id, attempt) order by job_id) as asked
         cross join lateral (select id, attempt, runner_id from job
                              where job.id = asked.job_id and job.attempt = asked.attempt
                                for key share) as job
         where job.runner_id = $1
        "#,
        runner.0,
        &jobs,
        &attempts,
        patience.as_millis().to_string(),
    )
    .fetch_all(db)
    .await?;
    let fence = |job, attempt| Fence {
        job: JobId(job),
        attempt,
    };
    Ok(held.into_iter().map(|row| fence(row.id, row.attempt)).collect())
}

/// Says that whoever holds jobs in this transaction is still there.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away, or has ended the transaction.
pub async fn still_hold(db: &mut Connection) -> Result<()> {
    sqlx::query!(r#"select 1 as "here!""#).fetch_one(db).await?;
    Ok(())
}

/// Notes artifacts, in place of those at the same paths.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn put(db: impl Executor<'_>, noted: &[Noted<'_>]) -> Result<()> {
    let columns = Columns::of(noted);
    sqlx::query!(
        r#"
        insert into artifact (job_id, attempt, ordinal, path, size, sha256, media_type)
        select *
          from unnest($1::uuid[], $2::int[], $3::smallint[], $4::text[], $5::bigint[], $6::bytea[], $7::text[])
        on conflict (job_id, path) do update
           set attempt = excluded.attempt, ordinal = excluded.ordinal, size = excluded.size, sha256 = excluded.sha256,
               media_type = excluded.media_type, created_at = now()
        "#,
        &columns.jobs,
        &columns.attempts,
        &columns.ordinals as &[Option<i16>],
        &columns.paths as &[&str],
        &columns.sizes,
        &columns.hashes as &[&[u8]],
        &columns.types as &[&str],
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Artifacts, column by column, as `unnest` takes them.
#[derive(Default)]
struct Columns<'a> {
    jobs: Vec<Uuid>,
    attempts: Vec<i32>,
    ordinals: Vec<Option<i16>>,
    paths: Vec<&'a str>,
    sizes: Vec<i64>,
    hashes: Vec<&'a [u8]>,
    types: Vec<&'a str>,
}

impl<'a> Columns<'a> {
    fn of(noted: &'a [Noted<'a>]) -> Self {
        let mut columns = Self::default();
        for Noted {
            fence,
            step,
            artifacts,
        } in noted
        {
            for artifact in artifacts {
                columns.jobs.push(fence.job.0);
                columns.attempts.push(fence.attempt);
                columns.ordinals.push(step.map(|(ordinal, _)| ordinal));
                columns.paths.push(&artifact.path);
                columns.sizes.push(artifact.size);
                columns.hashes.push(&artifact.sha256);
                columns.types.push(artifact.media_type);
            }
        }
        columns
    }
}

/// Takes what was noted of the step or of the job itself before, and no longer is; answers with the paths.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn prune(db: impl Executor<'_>, noted: &Noted<'_>) -> Result<Vec<String>> {
    let paths: Vec<&str> = noted
        .artifacts
        .iter()
        .map(|artifact| artifact.path.as_str())
        .collect();
    let gone = sqlx::query_scalar!(
        r#"
        delete from artifact
         where job_id = $1 and path <> all ($2)
           and case when $3::text is null then position('/' in path) = 0 else starts_with(path, $3 || '/') end
        returning path
        "#,
        noted.fence.job.0,
        &paths as &[&str],
        noted.step.map(|(_, directory)| directory),
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
