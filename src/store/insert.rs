//! Jobs, put in: any number in one statement, and so in one commit.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use uuid::Uuid;

use super::named::Named;
use super::token::Seen;
use super::{Executor, Result};
use crate::domain::clock::Instant;
use crate::domain::id::{JobId, ProjectId};
use crate::domain::job::JobState;
use crate::domain::spec::{Concurrency, JobSpec};
use crate::domain::trace::TraceParent;

/// A job to be put in.
#[derive(Clone, Debug)]
pub struct NewJob<'a> {
    /// Its id.
    pub id: JobId,
    /// The project it belongs to.
    pub project: ProjectId,
    /// What is to be done.
    pub spec: &'a JobSpec,
    /// SHA-256 of the request.
    pub request_hash: [u8; 32],
    /// Who asked.
    pub actor: &'a str,
    /// The jobs that must succeed first; they are to be marked, see [`super::need::mark`].
    pub needs: Vec<JobId>,
    /// Whether another job of the same statement needs it.
    pub needed: bool,
    /// In whose trace it was asked for.
    pub trace: Option<TraceParent>,
    /// The token by which it is asked for, unless it was looked up just now.
    pub seen: Option<Seen>,
}

/// A job that was put in.
#[derive(Clone, Copy, Debug)]
pub struct Inserted {
    /// Its id.
    pub id: JobId,
    /// Where it is in its life.
    pub state: JobState,
    /// Whether it is due and waits for room under its key or in its project.
    pub at_gate: bool,
}

/// Inserts jobs with their specifications and the events that say who asked, all or none. `now`
/// decides whether they are due.
///
/// A job whose `idempotency_key` or `unique_key` is held by another is left out, and so is not among
/// the answers: [`holders`] says by which. While another transaction is about to take the same key, waits for its end.
/// Left out as well is a job whose project is gone, and one that is asked for by a token which is no longer the row that was
/// seen, has expired or no longer reaches the project.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away or refuses a row; nothing is inserted then.
pub async fn insert(db: impl Executor<'_>, jobs: &[NewJob<'_>], now: Instant) -> Result<Vec<Inserted>> {
    let columns = Columns::of(jobs);
    let rows = sqlx::query!(
        r#"
        with bearer as materialized (
            -- Each token once, for however many jobs.
            select seen.place, every_project, array(select project_id from token_project where token_id = token.id) as reached
              from unnest($22::uuid[], $23::bigint[]) with ordinality as seen (id, version, place)
              join token on token.id = seen.id and token.xmin::text::bigint = seen.version
             where coalesce(expires_at > now(), true)
        ), input as (
            select input.*, coalesce(input.run_at, $14, now()) as due_at,
                   project.max_running is not null as project_limited, project.policy
              -- Side by side, as in `settle`.
              from (select unnest($1::uuid[]) as id, unnest($2::uuid[]) as project_id, unnest($3::text[]) as queue,
                           unnest($4::text[]) as runs_on, unnest($5::smallint[]) as priority,
                           unnest($6::timestamptz[]) as run_at, unnest($7::smallint[]) as max_attempts,
                           unnest($8::jsonb[]) as spec, unnest($9::bytea[]) as request_hash, unnest($10::text[]) as actor,
                           unnest($11::text[]) as idempotency_key, unnest($12::text[]) as concurrency_key,
                           unnest($13::smallint[]) as concurrency_limit, unnest($15::text[]) as unique_key,
                           unnest($16::bool[]) as needed, unnest($17::bool[]) as blocked, unnest($20::text[]) as traceparent,
                           unnest($21::int[]) as bearer) as input
              join project on project.id = input.project_id
              left join bearer on bearer.place = input.bearer
             where input.bearer is null or every_project or project.id = any (reached)
        ), keyed as (
            insert into job_key (project_id, key, job_id)
            -- A job has one kind of key, or it could be left out for the other when its row is here. Of several with the
            -- same key in one request the first goes in, see `submit::needs`.
            select project_id, idempotency_key, id from input where idempotency_key is not null and unique_key is null
             order by project_id, idempotency_key, id
            on conflict do nothing
            returning job_id
        ), inserted as (
            insert into job (id, project_id, queue, runs_on, state, priority, run_at, max_attempts, needed, gate,
                             project_limited, concurrency_key, concurrency_limit, unique_key, calls_back)
            select id, project_id, queue, runs_on,
                   case when blocked then 'blocked'
                        when due_at > coalesce($14, now()) or concurrency_key is not null or project_limited then 'scheduled'
                        else 'available' end::job_state,
                   priority, due_at, max_attempts, needed,
                   case when blocked or due_at > coalesce($14, now()) then null
                        when concurrency_key is not null then 'key'
                        when project_limited then 'project' end,
                   project_limited, concurrency_key, concurrency_limit, unique_key, spec ? 'callback_url'
              from input
             where idempotency_key is null or id in (select job_id from keyed)
             -- Unique keys in one order everywhere, as the idempotency keys above: two batches then never wait for each other.
             order by project_id, unique_key, id
            on conflict do nothing
            returning id, state, gate
        ), specified as (
            insert into job_spec (job_id, of_project, spec, request_hash, traceparent)
            -- Asked here, because a function is begun anew in every statement that calls it: a fifth of the whole.
            select id, project_id, case when policy = '{}' then spec else narrowed(spec, policy) end, request_hash, traceparent
              -- `is true` keeps this a look into a table of all that went in: joined, they are compared pair by pair.
              from input where (id in (select id from inserted)) is true
        ), waiting as (
            insert into job_need (job_id, needs_id)
            select need.job_id, need.needs_id
              from unnest($18::uuid[], $19::uuid[]) as need (job_id, needs_id)
             where (need.job_id in (select id from inserted)) is true
        ), logged as (
            insert into event (project_id, job_id, kind, actor)
            select project_id, id, 'job.submitted', actor from input where (id in (select id from inserted)) is true
        )
        select id, state as "state: Named<JobState>", gate is not null as "at_gate!" from inserted
        "#,
        &columns.ids,
        &columns.projects,
        &columns.queues as &[&str],
        &columns.labels as &[&str],
        &columns.priorities,
        &columns.run_at as &[Option<DateTime<Utc>>],
        &columns.max_attempts,
        &columns.specs as &[Json<&JobSpec>],
        &columns.hashes as &[&[u8]],
        &columns.actors as &[&str],
        &columns.keys as &[Option<&str>],
        &columns.concurrency_keys as &[Option<&str>],
        &columns.concurrency_limits as &[Option<i16>],
        now,
        &columns.unique_keys as &[Option<&str>],
        &columns.needed,
        &columns.blocked,
        &columns.need_of,
        &columns.need,
        &columns.traces as &[Option<String>],
        &columns.bearers as &[Option<i32>],
        &columns.tokens,
        &columns.versions,
    )
    .fetch_all(db)
    .await?;
    let inserted = rows.into_iter().map(|row| Inserted {
        id: JobId(row.id),
        state: row.state.0,
        at_gate: row.at_gate,
    });
    Ok(inserted.collect())
}

/// The rows as arrays, one a column.
#[derive(Default)]
struct Columns<'a> {
    ids: Vec<Uuid>,
    projects: Vec<Uuid>,
    queues: Vec<&'a str>,
    labels: Vec<&'a str>,
    priorities: Vec<i16>,
    run_at: Vec<Option<DateTime<Utc>>>,
    max_attempts: Vec<i16>,
    specs: Vec<Json<&'a JobSpec>>,
    hashes: Vec<&'a [u8]>,
    actors: Vec<&'a str>,
    keys: Vec<Option<&'a str>>,
    concurrency_keys: Vec<Option<&'a str>>,
    concurrency_limits: Vec<Option<i16>>,
    unique_keys: Vec<Option<&'a str>>,
    needed: Vec<bool>,
    blocked: Vec<bool>,
    need_of: Vec<Uuid>,
    need: Vec<Uuid>,
    traces: Vec<Option<String>>,
    /// Place of its token among those that were seen, from 1.
    bearers: Vec<Option<i32>>,
    tokens: Vec<Uuid>,
    versions: Vec<i64>,
}

impl<'a> Columns<'a> {
    fn of(jobs: &'a [NewJob<'a>]) -> Self {
        let (mut columns, mut places) = (Self::default(), HashMap::new());
        for job in jobs {
            let spec = job.spec;
            columns.ids.push(job.id.0);
            columns.projects.push(job.project.0);
            columns.queues.push(&spec.queue);
            columns.labels.push(spec.runs_on.as_deref().unwrap_or_default());
            columns.priorities.push(spec.priority);
            columns.run_at.push(spec.run_at);
            columns.max_attempts.push(spec.max_attempts);
            columns.specs.push(Json(spec));
            columns.hashes.push(&job.request_hash);
            columns.actors.push(job.actor);
            columns.keys.push(spec.idempotency_key.as_deref());
            columns.concurrency_keys.push(
                spec.concurrency
                    .as_ref()
                    .map(|Concurrency { key, .. }| key.as_str()),
            );
            columns
                .concurrency_limits
                .push(spec.concurrency.as_ref().map(|concurrency| concurrency.limit));
            columns.unique_keys.push(spec.unique_key.as_deref());
            columns.needed.push(job.needed);
            columns.blocked.push(!job.needs.is_empty());
            columns.need_of.extend(job.needs.iter().map(|_| job.id.0));
            columns.need.extend(job.needs.iter().map(|need| need.0));
            columns.traces.push(job.trace.map(|trace| trace.to_string()));
            let bearer = job.seen.map(|seen| {
                *places.entry(seen).or_insert_with(|| {
                    columns.tokens.push(seen.id.0);
                    columns.versions.push(seen.version);
                    i32::try_from(columns.tokens.len()).unwrap_or(i32::MAX)
                })
            });
            columns.bearers.push(bearer);
        }
        columns
    }
}

/// The job that holds a key.
#[derive(Clone, Copy, Debug)]
pub struct Holder {
    /// The job.
    pub job: JobId,
    /// SHA-256 of the request it was made by.
    pub request_hash: [u8; 32],
}

/// Which jobs hold these idempotency keys in `project`, by key.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn holders(
    db: impl Executor<'_>,
    project: ProjectId,
    keys: &[&str],
) -> Result<HashMap<String, Holder>> {
    let rows = sqlx::query!(
        r#"select key, job_id, request_hash from job_key join job_spec using (job_id)
            where project_id = $1 and key = any ($2)"#,
        project.0,
        keys as &[&str],
    )
    .fetch_all(db)
    .await?;
    let holder = |job, hash: Vec<u8>| Holder {
        job: JobId(job),
        request_hash: hash.try_into().unwrap_or_default(),
    };
    Ok(rows
        .into_iter()
        .map(|row| (row.key, holder(row.job_id, row.request_hash)))
        .collect())
}

/// The job of `project` that has not ended and holds `unique_key`.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn unique_holder(
    db: impl Executor<'_>,
    project: ProjectId,
    unique_key: &str,
) -> Result<Option<JobId>> {
    let id = sqlx::query_scalar!(
        "select id from job where project_id = $1 and unique_key = $2
            and state in ('blocked', 'scheduled', 'available', 'running', 'awaiting_approval')",
        project.0,
        unique_key,
    )
    .fetch_optional(db)
    .await?;
    Ok(id.map(JobId))
}
