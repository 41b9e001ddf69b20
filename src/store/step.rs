//! Steps: written once, when they end.

use chrono::{DateTime, Utc};

use super::named::Named;
use super::{Executor, Result};
use crate::domain::attempt::{Fence, Measured, StepRecord};
use crate::domain::id::{JobId, RunnerId};
use crate::domain::job::Code;

/// Records a step that ended and moves the job to the step at `next`, if `runner` still holds it.
/// Answers whether it did; `false` means the lease is lost and nothing was written.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away; recording the same step again is safe and changes nothing.
pub async fn record(
    db: impl Executor<'_>,
    runner: RunnerId,
    fence: Fence,
    step: &StepRecord,
    next: i16,
) -> Result<bool> {
    let held = sqlx::query_scalar!(
        r#"
        with held as (
            update job set step_position = $4, step_retries = 0
             where id = $1 and attempt = $2 and runner_id = $3 and state = 'running'
            returning id
        ), recorded as (
            insert into step (job_id, attempt, ordinal, position, step_id, agent, status, code, message, exit_code,
                              signal, started_at, finished_at, output_bytes, cpu_ms, peak_memory_bytes, logged_bytes, redactions,
                              verdict)
            select id, $2, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21 from held
            -- written before, when the answer to that was lost
            on conflict do nothing
        )
        select exists (select from held) as "held!"
        "#,
        fence.job.0,
        fence.attempt,
        runner.0,
        next,
        step.ordinal,
        step.position,
        step.step_id,
        step.agent,
        step.status(),
        step.failure.as_ref().map(|failure| failure.code.as_str()),
        step.failure.as_ref().map(|failure| failure.message.as_str()),
        step.exit_code,
        step.signal,
        step.started_at,
        step.finished_at.max(step.started_at),
        step.output_bytes,
        step.measured.cpu_ms,
        step.measured.peak_memory_bytes,
        step.measured.logged_bytes,
        step.measured.redactions,
        step.verdict,
    )
    .fetch_one(db)
    .await?;
    Ok(held)
}

/// A step that ended, as people see it.
#[derive(Clone, Debug)]
pub struct Step {
    /// The attempt that ran it.
    pub attempt: i32,
    /// Index in the specification.
    pub position: i16,
    /// Its id in the specification.
    pub step_id: String,
    /// Who did it.
    pub agent: String,
    /// `succeeded`, `failed`, `cancelled`, `interrupted` or `skipped`.
    pub status: String,
    /// What its failure led to.
    pub verdict: Option<String>,
    /// Why it did not succeed.
    pub code: Option<Code>,
    /// The same as a sentence.
    pub message: Option<String>,
    /// The program's exit code, when it exited.
    pub exit_code: Option<i32>,
    /// The signal that ended the program, when one did.
    pub signal: Option<i32>,
    /// When it was started.
    pub started_at: DateTime<Utc>,
    /// When it had ended.
    pub finished_at: DateTime<Utc>,
    /// What its agent used, if it was an agent's.
    pub usage: Option<Used>,
    /// Bytes printed.
    pub output_bytes: i64,
    /// What it used.
    pub measured: Measured,
}

/// What an agent used in a step; `None` is unknown.
#[derive(Clone, Debug)]
pub struct Used {
    /// Whether it was not really run.
    pub simulated: bool,
    /// What it calls its session.
    pub session_id: Option<String>,
    /// Tokens it read.
    pub input_tokens: Option<i64>,
    /// Tokens it wrote.
    pub output_tokens: Option<i64>,
    /// Tokens of those it read that came out of a cache.
    pub cached_tokens: Option<i64>,
    /// What it cost, in US dollars.
    pub cost_usd: Option<f64>,
}

/// The steps of a job that ended, in order.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn of_job(db: impl Executor<'_>, job: JobId) -> Result<Vec<Step>> {
    let rows = sqlx::query!(
        r#"
        select attempt, position, step_id, step.agent, status, verdict, code as "code: Named<Code>", message, exit_code, signal,
               started_at, finished_at, output_bytes, cpu_ms, peak_memory_bytes, logged_bytes, redactions,
               simulated as "simulated?", session_id, input_tokens, output_tokens, cached_tokens, cost_usd::float8 as cost_usd
          from step left join step_usage using (job_id, attempt, ordinal)
         where job_id = $1
         order by attempt, ordinal
        "#,
        job.0,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Step {
            attempt: row.attempt,
            position: row.position,
            step_id: row.step_id,
            agent: row.agent,
            status: row.status,
            verdict: row.verdict,
            code: row.code.map(|code| code.0),
            message: row.message,
            exit_code: row.exit_code,
            signal: row.signal,
            started_at: row.started_at,
            finished_at: row.finished_at,
            usage: row.simulated.map(|simulated| Used {
                simulated,
                session_id: row.session_id,
                input_tokens: row.input_tokens,
                output_tokens: row.output_tokens,
                cached_tokens: row.cached_tokens,
                cost_usd: row.cost_usd,
            }),
            output_bytes: row.output_bytes,
            measured: Measured {
                cpu_ms: row.cpu_ms,
                peak_memory_bytes: row.peak_memory_bytes,
                logged_bytes: row.logged_bytes,
                redactions: row.redactions,
            },
        })
        .collect())
}
