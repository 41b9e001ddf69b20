//! Earlier runs that make way for a later one.

use uuid::Uuid;

use crate::domain::id::{JobId, RunnerId};
use crate::store::ended::Ended;
use crate::store::gate::Gate;
use crate::store::{Executor, Result};

/// A job that makes way.
#[derive(Clone, Debug)]
pub struct Displaced {
    /// The session that runs it and is to be told, if one does.
    pub runner: Option<RunnerId>,
    /// Set when the job ended by this.
    pub ended: Option<Ended>,
}

/// Cancels those of `jobs` that nobody runs; of those that run, writes down that they are to end.
/// One that was asked before, or has ended, stays as it is.
///
/// # Errors
///
/// [`crate::store::Error`] when PostgreSQL is away.
pub async fn displace(db: impl Executor<'_>, jobs: &[(JobId, &str)]) -> Result<Vec<Displaced>> {
    let ids: Vec<Uuid> = jobs.iter().map(|(job, _)| job.0).collect();
    let actors: Vec<&str> = jobs.iter().map(|(_, actor)| *actor).collect();
    let rows = sqlx::query!(
        r#"
        with found as materialized (
            select job.id, asked.actor
              from job join unnest($1::uuid[], $2::text[]) as asked (id, actor) on asked.id = job.id
             where state in ('blocked', 'scheduled', 'available', 'running', 'awaiting_approval') and cancel_asked_at is null
             order by job.id
               for no key update of job
        ), changed as (
            update job
               set state = case when job.state = 'running' then job.state else 'cancelled' end,
                   cancel_asked_at = now(), gate = null,
                   code = case when job.state <> 'running' then 'cancelled' end,
                   message = case when job.state <> 'running' then 'A later run of its schedule took its place.' end,
                   finished_at = case when job.state <> 'running' then now() end
              from found
             where job.id = found.id
            returning job.*, found.actor
        ), logged as (
            insert into event (project_id, job_id, attempt, kind, actor)
            select project_id, id, nullif(attempt, 0), case state when 'running' then 'job.cancel_asked' else 'job.cancelled' end, actor
              from changed
        )
        select id, runner_id, project_id, needed, concurrency_key, project_limited from changed
        "#,
        &ids,
        &actors as &[&str],
    )
    .fetch_all(db)
    .await?;
    let displaced = rows.into_iter().map(|row| Displaced {
        runner: row.runner_id.map(RunnerId),
        ended: row.runner_id.is_none().then(|| Ended {
            job: JobId(row.id),
            queue: None,
            needed: row.needed,
            gates: Gate::all_of(row.project_id, row.concurrency_key, row.project_limited),
        }),
    });
    Ok(displaced.collect())
}
