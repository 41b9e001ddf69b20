//! What agents said in their steps, and what they used.

use super::{Executor, Result};
use crate::domain::attempt::Fence;
use crate::domain::id::{JobId, RunnerId};
use crate::domain::usage::Usage;

/// Keeps what an agent said and used in the step that will be recorded as number `ordinal`, if `runner`
/// still holds the job. Answers whether it does.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away; keeping the same again is safe and changes nothing.
pub async fn record(
    db: impl Executor<'_>,
    runner: RunnerId,
    fence: Fence,
    ordinal: i16,
    usage: &Usage,
) -> Result<bool> {
    let held = sqlx::query_scalar!(
        r#"
        with held as (
            select id, attempt from job where id = $1 and attempt = $2 and runner_id = $3 and state = 'running' for share
        ), recorded as (
            insert into step_usage (job_id, attempt, ordinal, agent, simulated, report, session_id, input_tokens,
                                    output_tokens, cached_tokens, cost_usd)
            select id, attempt, $4, $5, $6, $7, $8, $9, $10, $11, $12::bigint / 1000000.0 from held
            on conflict do nothing
        )
        select exists (select from held) as "held!"
        "#,
        fence.job.0,
        fence.attempt,
        runner.0,
        ordinal,
        usage.agent,
        usage.simulated,
        usage.report,
        usage.session_id,
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_tokens,
        usage.cost_micro_usd,
    )
    .fetch_one(db)
    .await?;
    Ok(held)
}

/// What a step that ended has to say to those after it.
#[derive(Clone, Debug)]
pub struct Told {
    /// Index in the specification.
    pub position: i16,
    /// Its id in the specification.
    pub step_id: String,
    /// How it ended.
    pub status: String,
    /// Why it did not succeed.
    pub message: Option<String>,
    /// An agent's last words, or the end of what a program printed.
    pub said: Option<String>,
}

/// What the steps of a job have to say, the last run of each, in the order in which they ended.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn told(db: impl Executor<'_>, job: JobId) -> Result<Vec<Told>> {
    let told = sqlx::query_as!(
        Told,
        r#"
        with last as (
            select distinct on (position) * from step
             where job_id = $1 and status in ('succeeded', 'failed')
             order by position, attempt desc, ordinal desc
        )
        select last.position, last.step_id, last.status, last.message, coalesce(step_usage.report, tail.body) as said
          from last
          left join step_usage using (job_id, attempt, ordinal)
          left join lateral (
               select right(string_agg(body, '' order by seq), 4000) as body
                 from (select seq, body from log
                        where job_id = last.job_id and attempt = last.attempt and position = last.position
                          and stream <> 'system'
                        order by seq desc limit 4) as piece
          ) as tail on step_usage.job_id is null
         order by last.attempt, last.ordinal
        "#,
        job.0,
    )
    .fetch_all(db)
    .await?;
    Ok(told)
}

/// What an agent said and used in one step, as people see it.
#[derive(Clone, Debug)]
pub struct StepUsage {
    /// The attempt that ran the step.
    pub attempt: i32,
    /// Order of the step's end within its attempt.
    pub ordinal: i16,
    /// What it was.
    pub usage: Usage,
}

/// What agents said and used in the steps of a job, in order.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn of_job(db: impl Executor<'_>, job: JobId) -> Result<Vec<StepUsage>> {
    let rows = sqlx::query!(
        r#"
        select attempt, ordinal, agent, simulated, report, session_id, input_tokens, output_tokens, cached_tokens,
               (cost_usd * 1000000)::bigint as cost_micro_usd
          from step_usage where job_id = $1 order by attempt, ordinal
        "#,
        job.0,
    )
    .fetch_all(db)
    .await?;
    let usage = rows.into_iter().map(|row| StepUsage {
        attempt: row.attempt,
        ordinal: row.ordinal,
        usage: Usage {
            agent: row.agent,
            simulated: row.simulated,
            report: row.report,
            session_id: row.session_id,
            input_tokens: row.input_tokens,
            output_tokens: row.output_tokens,
            cached_tokens: row.cached_tokens,
            cost_micro_usd: row.cost_micro_usd,
        },
    });
    Ok(usage.collect())
}
