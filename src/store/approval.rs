//! Jobs that wait for somebody's word: what was asked, who decided, and what.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::ended::Ended;
use super::gate::Gate;
use super::named::Named;
use super::{Executor, Result};
use crate::domain::approval::{Decision, Word};
use crate::domain::id::JobId;
use crate::domain::job::JobState;

/// What somebody's word met.
#[derive(Clone, Debug)]
pub struct Decided {
    /// Where the job was.
    pub before: JobState,
    /// Where it is now.
    pub after: JobState,
    /// The last question, if there ever was one: the attempt that asked, and what was decided before this.
    pub asked: Option<(i32, Option<Decision>)>,
    /// Its queue, when it is available now.
    pub queue: Option<String>,
    /// The gates it waits at first, when it does.
    pub gates: Vec<Gate>,
    /// Set when the job ended by this.
    pub ended: Option<Ended>,
}

/// Decides the last question of a job, if it waits for that. `None`: there is no such job in
/// `projects`. A job in another state, or a question that another attempt asked, stays as it is.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn decide(
    db: impl Executor<'_>,
    job: JobId,
    projects: super::job::Reach<'_>,
    word: &Word,
    actor: &str,
) -> Result<Option<Decided>> {
    let projects = super::job::reach(projects);
    let row = sqlx::query!(
        r#"
        with found as materialized (
            select id, state, attempt from job where id = $1 and ($2::uuid[] is null or project_id = any ($2)) for no key update
        ), asked as materialized (
            -- Locked, so that what was decided while this waited for the job is seen.
            select approval.attempt, approval.decision from approval join found on found.id = approval.job_id
             order by approval.attempt desc limit 1
               for no key update of approval
        ), decided as (
            update approval
               set decided_at = now(), decision = $3, decided_by = $4, comment = $5, prompt = $6
              from found join asked on asked.attempt = found.attempt and asked.decision is null
             where approval.job_id = found.id and approval.attempt = found.attempt and approval.decision is null
               and found.state = 'awaiting_approval' and ($7::int is null or approval.attempt = $7)
            returning approval.job_id, approval.decision, approval.position, approval.prompt is not null as edited
        ), changed as (
            update job
               set state = case when decision = 'rejected' then 'failed'
                                when concurrency_key is not null or project_limited then 'scheduled'
                                else 'available' end::job_state,
                   gate = case when decision = 'rejected' then null
                               when concurrency_key is not null then 'key'
                               when project_limited then 'project' end,
                   run_at = now(), step_retries = 0,
                   code = case when decision = 'rejected' then 'rejected' end,
                   message = case when decision = 'rejected' then 'Rejected by ' || $4 || coalesce(': ' || $5, '.') end,
                   finished_at = case when decision = 'rejected' then now() end
              from decided
             where job.id = decided.job_id
            returning job.*
        ), logged as (
            insert into event (project_id, job_id, attempt, kind, actor, detail)
            select changed.project_id, changed.id, changed.attempt,
                   case decided.decision when 'rejected' then 'job.rejected' else 'job.approved' end, $4,
                   jsonb_strip_nulls(jsonb_build_object('decision', decided.decision, 'position', decided.position, 'comment', $5,
                                                        'edited_prompt', nullif(decided.edited, false)))
              from changed join decided on decided.job_id = changed.id
        )
        select found.state as "before!: Named<JobState>", coalesce(changed.state, found.state) as "after!: Named<JobState>",
               asked.attempt as "asked?", asked.decision as "decision?: Named<Decision>", changed.queue as "queue?", changed.gate,
               changed.project_id as "project_id?", changed.needed as "needed?", changed.concurrency_key,
               changed.project_limited as "project_limited?"
          from found left join asked on true left join changed using (id)
        "#,
        job.0,
        projects.as_deref(),
        word.decision.as_str(),
        actor,
        word.comment,
        word.prompt,
        word.attempt,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| {
        let after = row.after.0;
        let gates = match row.project_id {
            Some(project) => Gate::all_of(
                project,
                row.concurrency_key,
                row.project_limited.unwrap_or_default(),
            ),
            None => Vec::new(),
        };
        let over = row.project_id.is_some() && after.is_terminal();
        Decided {
            before: row.before.0,
            after,
            asked: row
                .asked
                .map(|attempt| (attempt, row.decision.map(|decision| decision.0))),
            queue: row.queue.filter(|_| after == JobState::Available),
            gates: if over { Vec::new() } else { gates.clone() },
            ended: over.then(|| Ended {
                job,
                queue: None,
                needed: row.needed.unwrap_or_default(),
                gates,
            }),
        }
    }))
}

/// A question, as people see it.
#[derive(Clone, Debug)]
pub struct Approval {
    /// The attempt that asked.
    pub attempt: i32,
    /// Index of the step that waits, or waited.
    pub position: i16,
    /// What was asked.
    pub question: String,
    /// When.
    pub asked_at: DateTime<Utc>,
    /// When it was decided.
    pub decided_at: Option<DateTime<Utc>>,
    /// What was decided.
    pub decision: Option<Decision>,
    /// By whom.
    pub decided_by: Option<String>,
    /// What they said.
    pub comment: Option<String>,
    /// What the step's agent was asked instead.
    pub prompt: Option<String>,
}

/// What was asked about a job, the first question first.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn of_job(db: impl Executor<'_>, job: JobId) -> Result<Vec<Approval>> {
    let rows = sqlx::query!(
        r#"select attempt, position, question, asked_at, decided_at, decision as "decision: Named<Decision>", decided_by,
                  comment, prompt
             from approval where job_id = $1 order by attempt"#,
        job.0,
    )
    .fetch_all(db)
    .await?;
    let approval = rows.into_iter().map(|row| Approval {
        attempt: row.attempt,
        position: row.position,
        question: row.question,
        asked_at: row.asked_at,
        decided_at: row.decided_at,
        decision: row.decision.map(|decision| decision.0),
        decided_by: row.decided_by,
        comment: row.comment,
        prompt: row.prompt,
    });
    Ok(approval.collect())
}

/// The specification of a job that waits and the index of the step that does, for who wants to change its prompt.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn waiting(
    db: impl Executor<'_>,
    job: JobId,
    projects: super::job::Reach<'_>,
) -> Result<Option<(Value, i16)>> {
    let projects = super::job::reach(projects);
    let row = sqlx::query!(
        "select job_spec.spec, job.step_position from job join job_spec on job_spec.job_id = job.id
          where job.id = $1 and ($2::uuid[] is null or job.project_id = any ($2)) and job.state = 'awaiting_approval'",
        job.0,
        projects.as_deref(),
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| (row.spec, row.step_position)))
}
