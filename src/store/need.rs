//! Jobs that need other jobs: marked when they come in, moved when those end.

use super::gate::Gate;
use super::named::Named;
use super::{Executor, Result};
use crate::domain::id::{JobId, ProjectId};
use crate::domain::job::JobState;

/// Says of jobs, each of the project it is named with, that another needs them; answers with those that are there. Holds
/// their rows until the transaction ends, so that none of them ends unnoticed meanwhile.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn mark(db: impl Executor<'_>, needs: &[(JobId, ProjectId)]) -> Result<Vec<(JobId, ProjectId)>> {
    let (ids, projects): (Vec<_>, Vec<_>) = needs.iter().map(|(job, project)| (job.0, project.0)).unzip();
    let found = sqlx::query!(
        r#"
        with held as materialized (
            select id from job
             where id = any ($1) and (id, project_id) in (select * from unnest($1::uuid[], $2::uuid[]) as need (id, project))
             order by id for no key update
        )
        update job set needed = true from held where job.id = held.id returning job.id, job.project_id
        "#,
        &ids,
        &projects,
    )
    .fetch_all(db)
    .await?;
    let found = found
        .into_iter()
        .map(|row| (JobId(row.id), ProjectId(row.project_id)));
    Ok(found.collect())
}

/// What `job` needs and has not succeeded, with where it is.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn unmet(db: impl Executor<'_>, job: JobId) -> Result<Vec<(JobId, JobState)>> {
    let rows = sqlx::query!(
        r#"select need.id, need.state as "state: Named<JobState>" from job_need join job as need on need.id = needs_id
            where job_id = $1 and need.state <> 'succeeded' order by need.id"#,
        job.0,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (JobId(row.id), row.state.0)).collect())
}

/// Jobs that have ended and are needed by jobs that have not heard of it; not those whose rows somebody holds.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn untold(db: impl Executor<'_>, limit: u32) -> Result<Vec<JobId>> {
    let ids = sqlx::query_scalar!(
        "select id from job where needed and state in ('succeeded', 'failed', 'cancelled') order by id limit $1
            for no key update skip locked",
        i64::from(limit),
    )
    .fetch_all(db)
    .await?;
    Ok(ids.into_iter().map(JobId).collect())
}

/// Holds jobs, and up to `most` of those that are to hear of their ends, until the transaction ends, so that nobody marks or
/// ends them meanwhile: all in the order of their ids, as [`mark`] does, which may be of both.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn hold(db: impl Executor<'_>, jobs: &[JobId], most: u32) -> Result<()> {
    let ids: Vec<_> = jobs.iter().map(|id| id.0).collect();
    sqlx::query!(
        "select id from job
          where id = any ($1 || array(select job_id from job_to_hear where needs_id = any ($1) limit $2))
          order by id for no key update",
        &ids,
        i64::from(most),
    )
    .fetch_all(db)
    .await?;
    Ok(())
}

/// A job that heard of the end of what it needs.
#[derive(Clone, Debug)]
pub struct Moved {
    /// The job.
    pub job: JobId,
    /// Its queue.
    pub queue: String,
    /// Where it is now.
    pub state: JobState,
    /// Whether others need it in turn.
    pub needed: bool,
    /// Where it needs room, or left none.
    pub gates: Vec<Gate>,
}

/// Moves up to `most` of the jobs that need one of `ended`: on, when all they need succeeded; to the end, when one did not.
/// In a transaction, after [`hold`] in a statement of its own: only then does this one see every job that was put in before.
/// Answers as well whether there may be more of them; `ended` stay [`untold`] until there are none.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn release(db: impl Executor<'_>, ended: &[JobId], most: u32) -> Result<(Vec<Moved>, bool)> {
    let ids: Vec<_> = ended.iter().map(|id| id.0).collect();
    let rows = sqlx::query!(
        r#"
        with part as materialized (
            select array(select job_id from job_to_hear where needs_id = any ($1) limit $2) as ids
        ), heard as (
            -- Who has ended has an end (finished_iff_terminal). States, and a subquery that is no array, offer the planner
            -- a walk over all jobs that are so, asking of each whether it is among these.
            update job set needed = false
             where id = any ($1) and finished_at is not null and (select cardinality(ids) < $2 from part)
        ), waiting as materialized (
            select id from job
             where id = any ((select ids from part)::uuid[]) and state::text = 'blocked'
             order by id
               for no key update
        ), judged as (
            select waiting.id, bool_and(need.state = 'succeeded') as ready,
                   min(need.id::text) filter (where need.state in ('failed', 'cancelled')) as culprit
              from waiting
              join job_need on job_need.job_id = waiting.id
              join job need on need.id = job_need.needs_id
             group by waiting.id
        ), moved as (
            update job
               set state = case when culprit is not null then 'cancelled'
                                when run_at > now() or concurrency_key is not null or project_limited then 'scheduled'
                                else 'available' end::job_state,
                   gate = case when culprit is not null or run_at > now() then null
                               when concurrency_key is not null then 'key'
                               when project_limited then 'project' end,
                   code = case when culprit is not null then 'needs_failed' end,
                   message = 'Job ' || culprit || ', which this one needs, did not succeed; retry that one, then this.',
                   finished_at = case when culprit is not null then now() end
              from judged
             where job.id = judged.id and (ready or culprit is not null)
            returning job.id, job.project_id, job.queue, job.state, job.needed, job.concurrency_key, job.project_limited
        ), logged as (
            insert into event (project_id, job_id, kind, actor)
            select project_id, id, 'job.' || state, 'scheduler' from moved
        )
        select id as "id?", project_id as "project_id?", queue as "queue?", state as "state?: Named<JobState>",
               needed as "needed?", concurrency_key, project_limited as "project_limited?",
               cardinality(ids) >= $2 as "more!"
          from part left join moved on true
        "#,
        &ids,
        i64::from(most),
    )
    .fetch_all(db)
    .await?;
    // One row without a job where nobody was moved.
    let more = rows.first().is_some_and(|row| row.more);
    let moved = rows.into_iter().filter_map(|row| {
        Some(Moved {
            job: JobId(row.id?),
            queue: row.queue?,
            state: row.state?.0,
            needed: row.needed?,
            gates: Gate::all_of(row.project_id?, row.concurrency_key, row.project_limited?),
        })
    });
    Ok((moved.collect(), more))
}
