//! `orchestrator status ID`

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use serde_json::json;

use super::{database, output};
use crate::app::authenticate::Caller;
use crate::app::overview::{Overview, overview};
use crate::config;
use crate::domain::id::JobId;
use crate::domain::job::JobState;
use crate::store::job::Job;
use crate::store::step::Step;
use crate::store::waiting::Waiting;
use crate::store::{self, Pool, Result};

/// Shows where a job is and how its steps ended.
#[derive(Args, Debug)]
pub(super) struct Status {
    #[command(flatten)]
    database: config::Database,
    /// The job's id
    id: JobId,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let pool = database::open(&self.database.database_url, "orchestrator-status", 1).await?;
        let Some(found) = overview(&pool, &Caller::operator("cli"), self.id).await? else {
            bail!("there is no job {}", self.id);
        };
        if self.json {
            output::json(&as_json(&found))?;
            return Ok(ExitCode::SUCCESS);
        }
        let why = match found.job.message {
            Some(_) => None,
            None => waits(&pool, &found.job).await?,
        };
        output::text(&for_people(&found, why))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A job and its steps as a table, with what it waits for.
pub(super) fn for_people(Overview { job, steps, .. }: &Overview, waits: Option<String>) -> String {
    let why = job.message.clone().or(waits);
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    let mut head = format!("job {} is {}{why}\n", job.id, job.state);
    if let Some(at) = job.cancel_asked_at.filter(|_| !job.state.is_terminal()) {
        let at = at.format("%F %TZ");
        head.push_str(&format!(
            "its cancellation was asked for at {at}; it ends when its step has\n"
        ));
    }
    if !job.sandbox {
        head.push_str("an administrator has turned the sandbox off for its project\n");
    }
    if steps.is_empty() {
        return head;
    }
    let rows = steps.iter().map(|step| {
        [
            step.attempt.to_string(),
            step.step_id.clone(),
            step.status.clone(),
            end_of(step),
            took(step),
        ]
    });
    head + "\n" + &output::table(["attempt", "step", "status", "exit", "took"], rows)
}

/// What a job that has not ended waits for, or where it is.
async fn waits(pool: &Pool, job: &Job) -> Result<Option<String>> {
    let Some(waiting) = store::waiting::of(pool, job.id).await? else {
        return Ok(None);
    };
    let needs = match job.state {
        JobState::Blocked => store::need::unmet(pool, job.id).await?,
        _ => Vec::new(),
    };
    let begins = matches!(
        job.state,
        JobState::Blocked | JobState::Scheduled | JobState::Available
    );
    let mut said = reason(job, &waiting, &needs);
    if let (Some(said), Some(at), true) = (&mut said, waiting.paused_at, begins) {
        let (queue, at) = (&job.queue, at.format("%F %TZ"));
        said.push_str(&format!(
            "; queue {queue} is paused since {at}, `orchestrator queues resume {queue}` opens it"
        ));
    }
    Ok(said)
}

fn reason(job: &Job, waiting: &Waiting, needs: &[(JobId, JobState)]) -> Option<String> {
    let at = job.run_at.format("%F %TZ");
    match (job.state, job.gate.as_deref(), job.runner) {
        (JobState::Blocked, ..) => {
            let needs: Vec<_> = needs
                .iter()
                .map(|(need, state)| format!("{need} ({state})"))
                .collect();
            Some(format!("it waits for jobs that it needs: {}", needs.join(", ")))
        }
        (JobState::Scheduled, Some("key"), _) => {
            let key = waiting.concurrency_key.as_deref().unwrap_or_default();
            let limit = waiting.concurrency_limit.unwrap_or_default();
            Some(format!(
                "it waits for room under its concurrency key {key:?}, of which {limit} may be available or running at once"
            ))
        }
        (JobState::Scheduled, Some(_), _) => {
            let (project, most) = (&job.project_alias, waiting.max_running.unwrap_or_default());
            Some(format!(
                "it waits for room in project {project}, of which {most} may be available or running at once"
            ))
        }
        (JobState::Scheduled, None, _) => Some(format!("it is due at {at}")),
        (JobState::Available, ..) => {
            let label = match &*waiting.runs_on {
                "" => String::new(),
                label => format!(" with label {label}"),
            };
            let none = match waiting.served {
                true => "",
                false => ", and there is none",
            };
            let queue = &job.queue;
            Some(format!(
                "it waits for a runner of queue {queue}{label} since {at}{none}"
            ))
        }
        (JobState::AwaitingApproval, ..) => {
            let (id, question) = (job.id, waiting.question.as_deref().unwrap_or_default());
            let question = output::cell(question);
            Some(format!(
                "it asks {question:?}; `orchestrator approve {id}` lets it go on, `orchestrator reject {id}` ends it"
            ))
        }
        (JobState::Running, _, Some(runner)) => Some(format!("runner session {} has it", runner.0)),
        _ => None,
    }
}

fn end_of(step: &Step) -> String {
    match (step.exit_code, step.signal, step.code) {
        (Some(code), ..) => code.to_string(),
        (_, Some(signal), _) => format!("signal {signal}"),
        (.., Some(code)) => code.to_string(),
        _ => String::new(),
    }
}

fn took(step: &Step) -> String {
    let took = (step.finished_at - step.started_at).to_std().unwrap_or_default();
    format!("{:.2} s", took.as_secs_f64())
}

fn as_json(Overview { job, steps, .. }: &Overview) -> serde_json::Value {
    let steps: Vec<_> = steps
        .iter()
        .map(|step| {
            json!({
                "step_id": step.step_id, "attempt": step.attempt, "status": step.status, "verdict": step.verdict, "code": step.code,
                "message": step.message, "exit_code": step.exit_code, "signal": step.signal,
                "started_at": step.started_at, "finished_at": step.finished_at, "output_bytes": step.output_bytes,
                "logged_bytes": step.measured.logged_bytes, "redactions": step.measured.redactions,
                "cpu_ms": step.measured.cpu_ms, "peak_memory_bytes": step.measured.peak_memory_bytes,
            })
        })
        .collect();
    let mut whole = of_job(job);
    whole["steps"] = steps.into();
    whole
}

/// A job as programs read it.
pub(super) fn of_job(job: &Job) -> serde_json::Value {
    json!({
        "job_id": job.id, "project_id": job.project_alias, "goal": job.goal, "tags": job.tags, "sandbox": job.sandbox,
        "state": job.state, "queue": job.queue, "priority": job.priority, "attempt": job.attempt, "run_at": job.run_at,
        "losses": job.losses, "max_attempts": job.max_attempts, "runner_id": job.runner, "gate": job.gate,
        "cancel_asked_at": job.cancel_asked_at,
        "created_at": job.created_at, "started_at": job.started_at, "finished_at": job.finished_at, "code": job.code,
        "message": job.message,
    })
}
