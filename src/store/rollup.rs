//! What reports are made of: finished rows, added up in the order of the audit log.
//!
//! An id of `event` can be seen before a smaller one, whose transaction has not committed. So rows are
//! added up only as far as no writer can still be behind: whoever has taken an id holds a lock on the
//! table until it ends, and the locks can be looked at.

use super::{Executor, Result};

/// How far rows were added up, while this transaction has it for itself.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Every event up to this one is added up.
    pub done: i64,
    /// No event up to this one can appear any more.
    pub safe: i64,
    /// Whether writers of the last look ahead go on.
    pub pending: bool,
}

/// Whether there is anything that is not added up.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn behind(db: impl Executor<'_>) -> Result<bool> {
    let behind = sqlx::query_scalar!(
        r#"select done < coalesce(pg_sequence_last_value(pg_get_serial_sequence('event', 'id')::regclass), 0) as "behind!"
             from rollup where name = 'event'"#
    )
    .fetch_one(db)
    .await?;
    Ok(behind)
}

/// Takes the progress for this transaction and looks whether more is safe now. `None`: another
/// scheduler has it.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn take(db: impl Executor<'_>) -> Result<Option<Progress>> {
    let row = sqlx::query!(
        r#"
        -- Ended writers cannot come back under the same number; after a restart a number may be another's, which
        -- costs one more look.
        with taken as materialized (
            select name, done, seen, writers from rollup where name = 'event' for update skip locked
        )
        select done as "done!", seen as "seen!",
               not exists (select from pg_locks
                            where locktype = 'relation' and relation = 'event'::regclass and mode = 'RowExclusiveLock'
                              and database = (select oid from pg_database where datname = current_database())
                              and virtualtransaction = any (writers)) as "over!"
          from taken
        "#
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| Progress {
        done: row.done,
        // While one of them goes on, only what was done before is known to be whole.
        safe: if row.over { row.seen } else { row.done },
        pending: !row.over,
    }))
}

/// Reads how many ids are taken, then who may be using them: whoever has one of these ids and has not
/// committed is among the writers. In two statements: the second must look after the first has read.
/// Answers whether there is anything new.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn look_ahead(db: &mut super::Connection) -> Result<bool> {
    let taken = sqlx::query_scalar!(
        r#"select coalesce(pg_sequence_last_value(pg_get_serial_sequence('event', 'id')::regclass), 0) as "taken!""#
    )
    .fetch_one(&mut *db)
    .await?;
    let news = sqlx::query_scalar!(
        r#"
        update rollup
           set seen = greatest(seen, $1),
               writers = array(select distinct virtualtransaction from pg_locks
                                where locktype = 'relation' and relation = 'event'::regclass and mode = 'RowExclusiveLock'
                                  and database = (select oid from pg_database where datname = current_database())
                                  and pid is distinct from pg_backend_pid())
         where name = 'event'
        returning seen > done as "news!"
        "#,
        taken,
    )
    .fetch_one(&mut *db)
    .await?;
    Ok(news)
}

/// Adds up what the events after `progress.done` speak of, at most `limit` of them, and moves the
/// progress; answers with how far it came. In the transaction that took the progress.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away; nothing is added then.
pub async fn add(db: impl Executor<'_>, progress: &Progress, limit: u32) -> Result<i64> {
    let done = sqlx::query_scalar!(
        r#"
        with batch as materialized (
            select id, at, project_id, job_id, attempt, kind, actor
              from event where id > $1 and id <= $2 order by id limit $3
        ), job_change as (
            select (at at time zone 'UTC')::date as day, batch.project_id, coalesce(job.queue, '') as queue,
                   substr(kind, 5) as what,
                   -- A job may have been retried since, and its own code be gone; the attempt's stays.
                   case kind when 'job.failed' then coalesce(case when actor like 'runner:%' or actor = 'scheduler' then attempt.code end, job.code, 'unknown')
                             when 'job.cancelled' then coalesce(case when job.state = 'cancelled' then job.code end, 'cancelled')
                             else '' end as code
              from batch
              left join job on job.id = batch.job_id
              left join attempt on attempt.job_id = batch.job_id and attempt.number = batch.attempt
             where kind in ('job.submitted', 'job.succeeded', 'job.failed', 'job.cancelled') and batch.project_id is not null
        ), added_jobs as (
            insert into rollup_job as kept (day, project_id, queue, what, code, jobs)
            select day, project_id, queue, what, code, count(*) from job_change group by 1, 2, 3, 4, 5
            on conflict (day, project_id, queue, what, code) do update set jobs = kept.jobs + excluded.jobs
        ), ended as materialized (
            -- An attempt ends by its runner's word, or because its runner vanished: once.
            select attempt.*, batch.project_id, coalesce(job.queue, '') as queue, (attempt.ended_at at time zone 'UTC')::date as day
              from batch
              join attempt on attempt.job_id = batch.job_id and attempt.number = batch.attempt
              left join job on job.id = batch.job_id
             where (actor like 'runner:%' and kind in ('job.succeeded', 'job.failed', 'job.cancelled', 'job.scheduled',
                                                       'job.available', 'job.awaiting_approval'))
                or (actor = 'scheduler' and kind in ('job.lost', 'job.failed', 'job.cancelled'))
        ), time as (
            select day, project_id, queue, 'run' as measure, extract(epoch from ended_at - started_at)::double precision as seconds
              from ended
             union all
            select day, project_id, queue, 'wait', extract(epoch from greatest(started_at - due_at, interval '0'))::double precision
              from ended where due_at is not null
        ), added_times as (
            insert into rollup_time as kept (day, project_id, queue, measure, bucket, attempts, seconds)
            select day, project_id, queue, measure,
                   case when seconds <= 0.001 then 0 else ceil(ln(seconds * 1000) / ln(1.1::double precision)) end::smallint,
                   count(*), sum(seconds)
              from time group by 1, 2, 3, 4, 5
            on conflict (day, project_id, queue, measure, bucket)
               do update set attempts = kept.attempts + excluded.attempts, seconds = kept.seconds + excluded.seconds
        ), added_runners as (
            insert into rollup_runner as kept (hour, host, instance, attempts, seconds)
            select hour, host, instance, count(*) filter (where ended_at < hour + interval '1 hour'),
                   sum(extract(epoch from least(ended_at, hour + interval '1 hour') - greatest(ended.started_at, hour)))
              from (select ended.*, runner.host, runner.instance from ended join runner on runner.id = ended.runner_id) as ended,
                   generate_series(date_trunc('hour', ended.started_at, 'UTC'), ended_at, interval '1 hour') as hour
             group by 1, 2, 3
            on conflict (hour, host, instance)
               do update set attempts = kept.attempts + excluded.attempts, seconds = kept.seconds + excluded.seconds
        ), used as (
            select (step.finished_at at time zone 'UTC')::date as day, ended.project_id, step.agent, 1 as steps,
                   (step.status = 'failed')::int as failed, extract(epoch from step.finished_at - step.started_at)::double precision as seconds,
                   0 as simulated, 0::bigint as input_tokens, 0::bigint as output_tokens, 0::bigint as cached_tokens, 0::numeric as cost_usd
              from ended join step on step.job_id = ended.job_id and step.attempt = ended.number
             union all
            -- Not by way of the step: one whose runner vanished before it was written was paid for all the same.
            select (coalesce(step.finished_at, ended.ended_at) at time zone 'UTC')::date, ended.project_id, step_usage.agent, 0, 0, 0,
                   step_usage.simulated::int, coalesce(step_usage.input_tokens, 0), coalesce(step_usage.output_tokens, 0),
                   coalesce(step_usage.cached_tokens, 0), coalesce(step_usage.cost_usd, 0)
              from ended join step_usage on step_usage.job_id = ended.job_id and step_usage.attempt = ended.number
              left join step on step.job_id = step_usage.job_id and step.attempt = step_usage.attempt and step.ordinal = step_usage.ordinal
        ), added_steps as (
            insert into rollup_step as kept (day, project_id, agent, steps, failed, seconds, simulated, input_tokens, output_tokens, cached_tokens, cost_usd)
            select day, project_id, agent, sum(steps), sum(failed), sum(seconds), sum(simulated), sum(input_tokens), sum(output_tokens),
                   sum(cached_tokens), sum(cost_usd)
              from used group by 1, 2, 3
            on conflict (day, project_id, agent)
               do update set steps = kept.steps + excluded.steps, failed = kept.failed + excluded.failed,
                             seconds = kept.seconds + excluded.seconds, simulated = kept.simulated + excluded.simulated,
                             input_tokens = kept.input_tokens + excluded.input_tokens, output_tokens = kept.output_tokens + excluded.output_tokens,
                             cached_tokens = kept.cached_tokens + excluded.cached_tokens, cost_usd = kept.cost_usd + excluded.cost_usd
        )
        update rollup
           -- A short batch has seen everything up to the safe end; ids of transactions that failed leave gaps.
           set done = case when (select count(*) from batch) < $3 then $2 else (select max(id) from batch) end,
               rolled_at = now()
         where name = 'event'
        returning done
        "#,
        progress.done,
        progress.safe,
        i64::from(limit),
    )
    .fetch_one(db)
    .await?;
    Ok(done)
}
