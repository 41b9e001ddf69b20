//! The settle: attempts end, each at most once, only by the session that holds the job.

use chrono::{DateTime, Utc};

use sqlx::postgres::types::PgInterval;

use super::control::gates;
use super::gate::Gate;
use super::runner::interval;
use super::{Executor, Result};
use crate::domain::attempt::{Ending, Fence, StepRecord};
use crate::domain::id::{JobId, RunnerId};
use crate::domain::job::Code;

/// An attempt that ended, and the step it ended in.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The claim that ends.
    pub fence: Fence,
    /// How.
    pub ending: Ending,
    /// The last step, unless it was recorded before.
    pub step: Option<StepRecord>,
}

/// Ends the attempts of `batch` that `runner` still holds, all in one statement, and answers with
/// their jobs. An attempt that is missing in the answer was lost: another session owns the job now,
/// or its end is already recorded, and nothing of it was written.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away; either all of the batch was written or nothing, and
/// settling again is safe.
pub async fn settle(db: impl Executor<'_>, runner: RunnerId, batch: &[Settlement]) -> Result<Vec<Ended>> {
    let columns = Columns::of(batch);
    let rows = sqlx::query!(
        r#"
        with result as (
            select *, state in ('available', 'scheduled', 'awaiting_approval') as goes_on
              from unnest($2::uuid[], $3::int[], $4::text[], $5::text[], $6::text[], $7::text[], $22::interval[])
                   as result (job_id, attempt, state, outcome, code, message, wait)
        ), held as materialized (
            -- In one order everywhere, so that two batches never wait for each other in a circle.
            -- Whoever was asked to end while the attempt ended otherwise does not go on.
            --
            -- Row by row through the key: joined freely, the planner takes the index of what the runner holds and
            -- compares it with the whole batch, pair by pair. Who has a runner is running (runner_iff_running);
            -- to say that as well would offer it that index again.
            select job.*, result.outcome, result.code as attempt_code, result.wait,
                   result.goes_on and job.cancel_asked_at is not null as cancelled,
                   result.goes_on and job.cancel_asked_at is null as goes_on,
                   result.state::job_state as state, result.code, result.message
              from (select * from result order by job_id) as result
             cross join lateral (select id, project_id, attempt, claimed_at, run_at, cancel_asked_at, runner_id
                                   from job
                                  where job.id = result.job_id and job.attempt = result.attempt
                                    for update) as job
             where job.runner_id = $1
        ), settled as (
            update job
               set state = case when held.cancelled then 'cancelled' else held.state end,
                   runner_id = null, claimed_at = null,
                   code = case when held.cancelled then 'cancelled' when not held.goes_on then held.code end,
                   message = case when held.cancelled then 'Cancelled on request before it ran to its end.'
                                  when not held.goes_on then held.message end,
                   finished_at = case when not held.goes_on then now() end,
                   run_at = case when held.state = 'scheduled' and held.goes_on then now() + held.wait else job.run_at end,
                   step_retries = job.step_retries + case when held.state = 'scheduled' and held.goes_on then 1 else 0 end
              from held
             where job.id = held.id
            returning job.id, job.project_id, job.attempt, job.state, job.step_position, job.needed, job.concurrency_key,
                      job.project_limited, held.message as question
        ), ended as (
            insert into attempt (job_id, number, runner_id, due_at, started_at, ended_at, outcome, code)
            select id, attempt, $1, run_at, claimed_at, greatest(now(), claimed_at), outcome, attempt_code from held
        ), stepped as (
            insert into step (job_id, attempt, ordinal, position, step_id, agent, status, code, message, exit_code,
                              signal, started_at, finished_at, output_bytes, cpu_ms, peak_memory_bytes, logged_bytes, redactions,
                              verdict)
            select step.job_id, step.attempt, step.ordinal, step.position, step.step_id, step.agent, step.status,
                   step.code, step.message, step.exit_code, step.signal, step.started_at, step.finished_at,
                   step.output_bytes, step.cpu_ms, step.peak_memory_bytes, step.logged_bytes, step.redactions,
                   step.verdict
              from unnest($8::uuid[], $9::int[], $10::smallint[], $11::smallint[], $12::text[], $13::text[], $14::text[],
                          $15::text[], $16::text[], $17::int[], $18::int[], $19::timestamptz[], $20::timestamptz[],
                          $21::bigint[], $23::bigint[], $24::bigint[], $25::bigint[], $26::int[], $27::text[])
                   as step (job_id, attempt, ordinal, position, step_id, agent, status, code, message, exit_code,
                            signal, started_at, finished_at, output_bytes, cpu_ms, peak_memory_bytes, logged_bytes,
                            redactions, verdict)
              join held on held.id = step.job_id
        ), asked as (
            insert into approval (job_id, attempt, position, question)
            select id, attempt, step_position, question from settled where state = 'awaiting_approval'
        ), logged as (
            insert into event (project_id, job_id, attempt, kind, actor)
            select project_id, id, attempt, 'job.' || state, 'runner:' || $1::text from settled
        )
        select id, project_id, state in ('scheduled', 'available', 'awaiting_approval') as "goes_on!", needed, concurrency_key, project_limited
          from settled
        "#,
        runner.0,
        &columns.jobs,
        &columns.attempts,
        &columns.states as &[&str],
        &columns.outcomes as &[&str],
        &columns.codes as &[Option<&str>],
        &columns.messages as &[Option<&str>],
        &columns.steps.jobs,
        &columns.steps.attempts,
        &columns.steps.ordinals,
        &columns.steps.positions,
        &columns.steps.step_ids as &[&str],
        &columns.steps.agents as &[&str],
        &columns.steps.statuses as &[&str],
        &columns.steps.codes as &[Option<&str>],
        &columns.steps.messages as &[Option<&str>],
        &columns.steps.exit_codes as &[Option<i32>],
        &columns.steps.signals as &[Option<i32>],
        &columns.steps.started,
        &columns.steps.finished,
        &columns.steps.output_bytes,
        &columns.waits,
        &columns.steps.cpu_ms,
        &columns.steps.peak_memory_bytes,
        &columns.steps.logged_bytes,
        &columns.steps.redactions,
        &columns.steps.verdicts as &[Option<&str>],
    )
    .fetch_all(db)
    .await?;
    let ended = rows.into_iter().map(|row| Ended {
        job: JobId(row.id),
        needed: row.needed && !row.goes_on,
        gates: gates(row.project_id, row.concurrency_key, row.project_limited),
    });
    Ok(ended.collect())
}

/// An attempt that ended, and who may go on because of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The job.
    pub job: JobId,
    /// Whether the job has ended and others wait for that.
    pub needed: bool,
    /// Where it left room.
    pub gates: Vec<Gate>,
}

/// The batch, column by column, as `unnest` takes it.
#[derive(Default)]
struct Columns<'a> {
    jobs: Vec<uuid::Uuid>,
    attempts: Vec<i32>,
    states: Vec<&'a str>,
    outcomes: Vec<&'a str>,
    codes: Vec<Option<&'a str>>,
    messages: Vec<Option<&'a str>>,
    waits: Vec<PgInterval>,
    steps: StepColumns<'a>,
}

/// The last steps of the batch, column by column.
#[derive(Default)]
struct StepColumns<'a> {
    jobs: Vec<uuid::Uuid>,
    attempts: Vec<i32>,
    ordinals: Vec<i16>,
    positions: Vec<i16>,
    step_ids: Vec<&'a str>,
    agents: Vec<&'a str>,
    statuses: Vec<&'a str>,
    codes: Vec<Option<&'a str>>,
    messages: Vec<Option<&'a str>>,
    exit_codes: Vec<Option<i32>>,
    signals: Vec<Option<i32>>,
    started: Vec<DateTime<Utc>>,
    finished: Vec<DateTime<Utc>>,
    output_bytes: Vec<i64>,
    cpu_ms: Vec<i64>,
    peak_memory_bytes: Vec<i64>,
    logged_bytes: Vec<i64>,
    redactions: Vec<i32>,
    verdicts: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    fn of(batch: &'a [Settlement]) -> Self {
        let mut columns = Self::default();
        for Settlement { fence, ending, step } in batch {
            columns.jobs.push(fence.job.0);
            columns.attempts.push(fence.attempt);
            columns.states.push(ending.state().as_str());
            columns.outcomes.push(ending.outcome());
            columns.waits.push(interval(ending.wait()));
            columns
                .codes
                .push(ending.failure().map(|failure| failure.code.as_str()));
            columns.messages.push(ending.message());
            if let Some(step) = step {
                columns.steps.push(*fence, step);
            }
        }
        columns
    }
}

impl<'a> StepColumns<'a> {
    fn push(&mut self, fence: Fence, step: &'a StepRecord) {
        self.jobs.push(fence.job.0);
        self.attempts.push(fence.attempt);
        self.ordinals.push(step.ordinal);
        self.positions.push(step.position);
        self.step_ids.push(&step.step_id);
        self.agents.push(&step.agent);
        self.statuses.push(step.status());
        self.codes
            .push(step.failure.as_ref().map(|failure| Code::as_str(failure.code)));
        self.messages
            .push(step.failure.as_ref().map(|failure| failure.message.as_str()));
        self.exit_codes.push(step.exit_code);
        self.signals.push(step.signal);
        self.started.push(step.started_at);
        self.finished.push(step.finished_at.max(step.started_at));
        self.output_bytes.push(step.output_bytes);
        self.cpu_ms.push(step.measured.cpu_ms);
        self.peak_memory_bytes.push(step.measured.peak_memory_bytes);
        self.logged_bytes.push(step.measured.logged_bytes);
        self.redactions.push(step.measured.redactions);
        self.verdicts.push(step.verdict.as_deref());
    }
}
