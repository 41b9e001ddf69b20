//! Limits: how many jobs may run at once under a key, or in a project.
//!
//! A due job with a limit waits at a gate until there is room, and only then becomes available: the
//! claim never meets a job it may not take, however many wait. What is available has its room; what would not be claimed
//! because its queue is paused gets none, or it would keep those of other queues from it: the first of each queue that goes
//! on are looked at, and none of the others.

use uuid::Uuid;

use super::database::BRIEFLY;
use super::{Executor, Result};
use crate::domain::id::ProjectId;

/// What limits: a key within a project, or the project.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gate {
    /// The project.
    pub project: ProjectId,
    /// The key; `None` is the project's own limit.
    pub key: Option<String>,
}

impl Gate {
    fn of(project: Uuid, key: Option<String>) -> Self {
        Self {
            project: ProjectId(project),
            key,
        }
    }

    /// Those of a job, at which it waits for room and leaves some: under its key, and in its project where that has a limit.
    pub(super) fn all_of(project: Uuid, key: Option<String>, project_limited: bool) -> Vec<Self> {
        let keyed = key.map(|key| Self::of(project, Some(key)));
        let own = project_limited.then(|| Self::of(project, None));
        keyed.into_iter().chain(own).collect()
    }
}

/// Waits until no other transaction decides about this gate, and no longer for it, or for its jobs, than a second: whoever
/// put jobs in or ended them asks what may go on now, and a gate that somebody holds is the scheduler's to try again. In a
/// statement of its own, so that the next one sees what the last holder decided.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away, or somebody holds the gate.
pub async fn lock(db: impl Executor<'_>, gate: &Gate) -> Result<()> {
    let name = format!("{}/{}", gate.project.0, gate.key.as_deref().unwrap_or_default());
    sqlx::query!(
        "select set_config('lock_timeout', $2, true), pg_advisory_xact_lock(hashtextextended($1, 7))",
        name,
        BRIEFLY,
    )
    .fetch_one(db)
    .await?;
    Ok(())
}

/// Lets in as many jobs as there is room for under a key, in order; answers with the queues of those
/// that became available, and with how many went on to their project's gate. Where jobs of a key name different limits, one
/// that must wait holds back those behind it, or those with a higher limit would never let it in.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn admit_key(db: impl Executor<'_>, project: ProjectId, key: &str) -> Result<(Vec<String>, usize)> {
    let rows = sqlx::query!(
        r#"
        with live as (
            select count(*) as jobs from job
             where project_id = $1 and concurrency_key = $2 and concurrency_key is not null
               and (state in ('available', 'running') or gate = 'project')
        ), waiting as (
            select id, concurrency_limit, row_number() over (order by priority desc, run_at, id) as place
              from unpaused_at_gate($1, $2) as served (queue)
                   cross join lateral (
                    select id, concurrency_limit, priority, run_at from job
                     where project_id = $1 and concurrency_key = $2 and gate = 'key' and queue = served.queue
                     order by priority desc, run_at, id
                     limit 1000) as waiting
        ), near as (
            -- Up to who must wait whoever is before it, also while somebody holds its row; and of the others as many as there is
            -- room for, with some behind them should others hold those: all who wait would be written to for each.
            select id, concurrency_limit, place,
                   bool_and(concurrency_limit > jobs and place + jobs <= concurrency_limit + 10) over (order by place) as is_near
              from waiting, live
        ), held as materialized (
            -- Row by row, or a planner who expects as many as were looked at reads the whole table for them; and the gate said
            -- in a way that offers nobody a walk over all who wait.
            select job.id, near.concurrency_limit, near.place
              from (select * from near where is_near order by place) as near
             cross join lateral (select id from job where job.id = near.id and gate is not distinct from 'key'
                                    for no key update skip locked) as job
        ), placed as (
            select id, concurrency_limit, row_number() over (order by place) as place from held
        ), first as (
            select id, bool_and(place + jobs <= concurrency_limit) over (order by place) as has_room from placed, live
        ), admitted as (
            update job
               set state = case when project_limited then 'scheduled' else 'available' end::job_state,
                   gate = case when project_limited then 'project' end
             where id = any (array(select id from first where has_room))
            returning id, project_id, queue, state
        ), logged as (
            insert into event (project_id, job_id, kind, actor)
            select project_id, id, 'job.available', 'scheduler' from admitted where state = 'available'
        )
        select queue, state = 'available' as "available!" from admitted
        "#,
        project.0,
        key,
    )
    .fetch_all(db)
    .await?;
    let all = rows.len();
    let queues: Vec<_> = rows
        .into_iter()
        .filter(|row| row.available)
        .map(|row| row.queue)
        .collect();
    let on = all - queues.len();
    Ok((queues, on))
}

/// Lets in as many jobs as a project has room for, in order; answers with their queues.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn admit_project(db: impl Executor<'_>, project: ProjectId) -> Result<Vec<String>> {
    let queues = sqlx::query_scalar!(
        r#"
        with room as (
            select coalesce(project.max_running, 32767)
                   - (select count(*) from job where project_id = $1 and project_limited and state in ('available', 'running')) as jobs
              from project where id = $1
        ), first as materialized (
            select waiting.id
              from unpaused_at_gate($1, null) as served (queue)
                   cross join lateral (
                    select id, priority, run_at from job
                     where project_id = $1 and gate = 'project' and queue = served.queue
                     order by priority desc, run_at, id
                     limit (select greatest(jobs, 0) from room)
                       for no key update skip locked) as waiting
             order by priority desc, run_at, id
             limit (select greatest(jobs, 0) from room)
        ), admitted as (
            update job set state = 'available', gate = null where id = any (array(select id from first))
            returning id, project_id, queue
        ), logged as (
            insert into event (project_id, job_id, kind, actor)
            select project_id, id, 'job.available', 'scheduler' from admitted
        )
        select queue from admitted
        "#,
        project.0,
    )
    .fetch_all(db)
    .await?;
    Ok(queues)
}

/// Keys with jobs waiting and room for one, looked for from `limit` keys on, those behind `place` in their order, a step
/// of an index each; and the place from where to look on, when there may be more.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn keys_with_room(
    db: impl Executor<'_>,
    place: Option<&Gate>,
    limit: u32,
) -> Result<(Vec<Gate>, Option<Gate>)> {
    let rows = sqlx::query!(
        r#"
        with recursive keyed as (
            (select project_id, concurrency_key as key, 1 as number from job
              where gate = 'key' and (project_id, concurrency_key) > ($2, $3)
              order by project_id, concurrency_key limit 1)
            union all
            select next.project_id, next.concurrency_key, keyed.number + 1
              from keyed, lateral (
                   select project_id, concurrency_key from job
                    where gate = 'key' and (project_id, concurrency_key) > (keyed.project_id, keyed.key)
                    order by project_id, concurrency_key limit 1) as next
             where keyed.number < $1
        )
        select project_id as "project_id!", key as "key!",
               coalesce((select concurrency_limit
                           from unpaused_at_gate(project_id, key) as served (queue)
                                cross join lateral (
                                 select concurrency_limit, priority, run_at, id from job
                                  where job.project_id = keyed.project_id and concurrency_key = key and gate = 'key'
                                    and job.queue = served.queue
                                  order by priority desc, run_at, id limit 1) as waiting
                          order by priority desc, run_at, id limit 1), 0)
                   > (select count(*) from job
                       where job.project_id = keyed.project_id and job.concurrency_key = keyed.key
                         and job.concurrency_key is not null
                         and (state in ('available', 'running') or gate = 'project')) as "has_room!"
          from keyed order by number
        "#,
        i32::try_from(limit).unwrap_or(i32::MAX),
        place.map_or(Uuid::nil(), |gate| gate.project.0),
        place.and_then(|gate| gate.key.as_deref()).unwrap_or_default(),
    )
    .fetch_all(db)
    .await?;
    let last = rows.last().filter(|_| rows.len() >= limit as usize);
    let last = last.map(|row| Gate::of(row.project_id, Some(row.key.clone())));
    let with_room = rows.into_iter().filter(|row| row.has_room);
    let gates = with_room.map(|row| Gate::of(row.project_id, Some(row.key)));
    Ok((gates.collect(), last))
}

/// Projects with jobs waiting and room for one.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn projects_with_room(db: impl Executor<'_>) -> Result<Vec<Gate>> {
    let ids = sqlx::query_scalar!(
        "select id from project
          where exists (select from unpaused_at_gate(project.id, null))
            and coalesce(max_running, 32767)
                > (select count(*) from job where project_id = project.id and project_limited and state in ('available', 'running'))"
    )
    .fetch_all(db)
    .await?;
    Ok(ids.into_iter().map(|id| Gate::of(id, None)).collect())
}
