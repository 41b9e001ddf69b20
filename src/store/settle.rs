//! The settle: attempts end, each at most once, only by the session that holds the job.

use chrono::{DateTime, Utc};
use sqlx::postgres::types::PgInterval;
use uuid::Uuid;

use super::ended::Ended;
use super::gate::Gate;
use super::runner::interval;
use super::{Executor, Result};
use crate::domain::attempt::{Ending, Fence, StepRecord};
use crate::domain::id::{JobId, RunnerId};

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
/// Jobs are taken in the order of their ids on connections that plan along keys ([`super::database::keyed`]); on others in
/// whatever order PostgreSQL sees fit, so that two batches may wait for each other until one is refused.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away; either all of the batch was written or nothing, and
/// settling again is safe.
pub async fn settle(db: impl Executor<'_>, runner: RunnerId, batch: &[Settlement]) -> Result<Vec<Ended>> {
    let columns = Columns::of(batch);
    let rows = sqlx::query_as!(
        Row,
        r#"
        with result as (
            -- Side by side, not as a table after `from`, where each array would be laid out as a table of its own first.
            select *, state in ('available', 'scheduled', 'awaiting_approval') as goes_on
              from (select unnest($2::uuid[]) as job_id, unnest($3::int[]) as attempt, unnest($4::text[]) as state,
                           unnest($5::text[]) as outcome, unnest($6::text[]) as code, unnest($7::text[]) as message,
                           unnest($8::interval[]) as wait, unnest($9::smallint[]) as ordinal,
                           unnest($10::smallint[]) as position, unnest($11::text[]) as step_id, unnest($12::text[]) as agent,
                           unnest($13::text[]) as step_status, unnest($14::text[]) as step_code,
                           unnest($15::text[]) as step_message, unnest($16::int[]) as exit_code, unnest($17::int[]) as signal,
                           unnest($18::timestamptz[]) as step_started_at, unnest($19::timestamptz[]) as step_finished_at,
                           unnest($20::bigint[]) as output_bytes, unnest($21::bigint[]) as cpu_ms,
                           unnest($22::bigint[]) as peak_memory_bytes, unnest($23::bigint[]) as logged_bytes,
                           unnest($24::int[]) as redactions, unnest($25::text[]) as verdict) as result
        ), settled as (
            -- Row by row through the key, in the order of the batch. Who has a runner is running (runner_iff_running); to
            -- say that as well would offer the planner the index of what the runner holds, to compare with the whole
            -- batch, pair by pair. Whoever was asked to end while the attempt ended otherwise does not go on.
            update job
               set state = case when result.goes_on and job.cancel_asked_at is not null then 'cancelled' else result.state::job_state end,
                   runner_id = null,
                   code = case when not result.goes_on then result.code when job.cancel_asked_at is not null then 'cancelled' end,
                   message = case when not result.goes_on then result.message
                                  when job.cancel_asked_at is not null then 'Cancelled on request before it ran to its end.' end,
                   finished_at = case when not result.goes_on or job.cancel_asked_at is not null then now() end,
                   run_at = case when result.state = 'scheduled' and job.cancel_asked_at is null then now() + result.wait else job.run_at end,
                   step_retries = job.step_retries + case when result.state = 'scheduled' and job.cancel_asked_at is null then 1 else 0 end
              from result
             where job.id = result.job_id and job.attempt = result.attempt and job.runner_id = $1
            returning job.id, job.project_id, job.queue, job.attempt, job.state, job.step_position, job.needed, job.concurrency_key,
                      job.project_limited, job.claimed_at,
                      -- Only a retry is due at another time afterwards; the statement itself still sees the row as it was.
                      case when result.state = 'scheduled' then (select before.run_at from job as before where before.id = job.id)
                           else job.run_at end as due_at, result.outcome, result.code, result.message,
                      result.ordinal, result.position, result.step_id, result.agent, result.step_status, result.step_code,
                      result.step_message, result.exit_code, result.signal, result.step_started_at, result.step_finished_at,
                      result.output_bytes, result.cpu_ms, result.peak_memory_bytes, result.logged_bytes, result.redactions,
                      result.verdict
        ), ended as (
            insert into attempt (job_id, number, runner_id, due_at, started_at, ended_at, outcome, code)
            select id, attempt, $1, due_at, claimed_at, greatest(now(), claimed_at), outcome, code from settled
        ), stepped as (
            insert into step (job_id, attempt, ordinal, position, step_id, agent, status, code, message, exit_code,
                              signal, started_at, finished_at, output_bytes, cpu_ms, peak_memory_bytes, logged_bytes, redactions,
                              verdict)
            select id, attempt, ordinal, position, step_id, agent, step_status, step_code, step_message, exit_code,
                   signal, step_started_at, step_finished_at, output_bytes, cpu_ms, peak_memory_bytes, logged_bytes, redactions,
                   verdict
              from settled
             where step_id is not null
        ), asked as (
            insert into approval (job_id, attempt, position, question)
            select id, attempt, step_position, message from settled where state = 'awaiting_approval'
        ), logged as (
            insert into event (project_id, job_id, attempt, kind, actor)
            select project_id, id, attempt, 'job.' || state, 'runner:' || $1::text from settled
        )
        select id, project_id, case when state = 'available' then queue end as queue,
               state in ('scheduled', 'available', 'awaiting_approval') as "goes_on!", needed, concurrency_key, project_limited
          from settled
        "#,
        runner.0,
        &columns.jobs,
        &columns.attempts,
        &columns.states as &[&str],
        &columns.outcomes as &[&str],
        &columns.codes as &[Option<&str>],
        &columns.messages as &[Option<&str>],
        &columns.waits,
        &columns.steps.ordinals as &[Option<i16>],
        &columns.steps.positions as &[Option<i16>],
        &columns.steps.step_ids as &[Option<&str>],
        &columns.steps.agents as &[Option<&str>],
        &columns.steps.statuses as &[Option<&str>],
        &columns.steps.codes as &[Option<&str>],
        &columns.steps.messages as &[Option<&str>],
        &columns.steps.exit_codes as &[Option<i32>],
        &columns.steps.signals as &[Option<i32>],
        &columns.steps.started as &[Option<DateTime<Utc>>],
        &columns.steps.finished as &[Option<DateTime<Utc>>],
        &columns.steps.output_bytes as &[Option<i64>],
        &columns.steps.cpu_ms as &[Option<i64>],
        &columns.steps.peak_memory_bytes as &[Option<i64>],
        &columns.steps.logged_bytes as &[Option<i64>],
        &columns.steps.redactions as &[Option<i32>],
        &columns.steps.verdicts as &[Option<&str>],
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(Ended::from).collect())
}

/// The same of the attempts among `fences` that `runner` ended before: a settle may be carried out without its answer being
/// heard.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn ended_before(db: impl Executor<'_>, runner: RunnerId, fences: &[Fence]) -> Result<Vec<Ended>> {
    let jobs: Vec<_> = fences.iter().map(|fence| fence.job.0).collect();
    let attempts: Vec<_> = fences.iter().map(|fence| fence.attempt).collect();
    let rows = sqlx::query_as!(
        Row,
        r#"
        select job.id, job.project_id, case when job.state = 'available' then job.queue end as queue,
               job.finished_at is null as "goes_on!", job.needed, job.concurrency_key, job.project_limited
          from (select unnest($2::uuid[]) as job_id, unnest($3::int[]) as number) as ended
          join attempt on attempt.job_id = ended.job_id and attempt.number = ended.number
          join job on job.id = ended.job_id
         where attempt.runner_id = $1 and attempt.outcome <> 'lost'
        "#,
        runner.0,
        &jobs,
        &attempts,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(Ended::from).collect())
}

/// A job as the tables answer it.
struct Row {
    id: Uuid,
    project_id: Uuid,
    queue: Option<String>,
    goes_on: bool,
    needed: bool,
    concurrency_key: Option<String>,
    project_limited: bool,
}

impl From<Row> for Ended {
    fn from(row: Row) -> Self {
        Self {
            job: JobId(row.id),
            queue: row.queue,
            needed: row.needed && !row.goes_on,
            gates: Gate::all_of(row.project_id, row.concurrency_key, row.project_limited),
        }
    }
}

/// The batch, column by column, as `unnest` takes it.
#[derive(Default)]
struct Columns<'a> {
    jobs: Vec<Uuid>,
    attempts: Vec<i32>,
    states: Vec<&'a str>,
    outcomes: Vec<&'a str>,
    codes: Vec<Option<&'a str>>,
    messages: Vec<Option<&'a str>>,
    waits: Vec<PgInterval>,
    steps: StepColumns<'a>,
}

/// The last step of each, or nothing, column by column.
#[derive(Default)]
struct StepColumns<'a> {
    ordinals: Vec<Option<i16>>,
    positions: Vec<Option<i16>>,
    step_ids: Vec<Option<&'a str>>,
    agents: Vec<Option<&'a str>>,
    statuses: Vec<Option<&'a str>>,
    codes: Vec<Option<&'a str>>,
    messages: Vec<Option<&'a str>>,
    exit_codes: Vec<Option<i32>>,
    signals: Vec<Option<i32>>,
    started: Vec<Option<DateTime<Utc>>>,
    finished: Vec<Option<DateTime<Utc>>>,
    output_bytes: Vec<Option<i64>>,
    cpu_ms: Vec<Option<i64>>,
    peak_memory_bytes: Vec<Option<i64>>,
    logged_bytes: Vec<Option<i64>>,
    redactions: Vec<Option<i32>>,
    verdicts: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    /// In the order of ids, as whoever holds several jobs takes them, so that two batches need not wait for each other in a circle.
    fn of(batch: &'a [Settlement]) -> Self {
        let mut batch: Vec<_> = batch.iter().collect();
        batch.sort_unstable_by_key(|one| one.fence.job.0);
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
            columns.steps.push(step.as_ref());
        }
        columns
    }
}

impl<'a> StepColumns<'a> {
    fn push(&mut self, step: Option<&'a StepRecord>) {
        let failure = step.and_then(|step| step.failure.as_ref());
        let measured = step.map(|step| &step.measured);
        self.ordinals.push(step.map(|step| step.ordinal));
        self.positions.push(step.map(|step| step.position));
        self.step_ids.push(step.map(|step| &*step.step_id));
        self.agents.push(step.map(|step| &*step.agent));
        self.statuses.push(step.map(StepRecord::status));
        self.codes.push(failure.map(|failure| failure.code.as_str()));
        self.messages.push(failure.map(|failure| &*failure.message));
        self.exit_codes.push(step.and_then(|step| step.exit_code));
        self.signals.push(step.and_then(|step| step.signal));
        self.started.push(step.map(|step| step.started_at));
        self.finished
            .push(step.map(|step| step.finished_at.max(step.started_at)));
        self.output_bytes.push(step.map(|step| step.output_bytes));
        self.cpu_ms.push(measured.map(|measured| measured.cpu_ms));
        self.peak_memory_bytes
            .push(measured.map(|measured| measured.peak_memory_bytes));
        self.logged_bytes
            .push(measured.map(|measured| measured.logged_bytes));
        self.redactions.push(measured.map(|measured| measured.redactions));
        self.verdicts.push(step.and_then(|step| step.verdict.as_deref()));
    }
}
