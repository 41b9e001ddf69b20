//! What `result.json` says of a step and of a job, for programs that read artifacts.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::attempt::StepRecord;
use super::id::JobId;
use super::job::{Code, JobState};

/// `steps/<step_id>/result.json`: how a step ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StepResult {
    /// The job.
    pub job_id: JobId,
    /// The attempt that ran it.
    #[schema(minimum = 1)]
    pub attempt: i32,
    /// Index in the specification, from 0.
    #[schema(minimum = 0)]
    pub position: i16,
    /// Its name in the specification.
    pub step_id: String,
    /// Who did it.
    pub agent: String,
    /// `succeeded`, `failed`, `cancelled`, `interrupted` or `skipped`.
    pub status: String,
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
    /// Time between the two, in milliseconds.
    #[schema(minimum = 0)]
    pub wall_ms: i64,
    /// Processor time of all its processes, in milliseconds.
    #[schema(minimum = 0)]
    pub cpu_ms: i64,
    /// Most memory the largest of its processes held at once, in bytes.
    #[schema(minimum = 0)]
    pub peak_memory_bytes: i64,
    /// Bytes printed on both streams.
    #[schema(minimum = 0)]
    pub output_bytes: i64,
    /// Bytes of that kept in the log.
    #[schema(minimum = 0)]
    pub logged_bytes: i64,
    /// How often a secret was taken out of what it printed.
    #[schema(minimum = 0)]
    pub redactions: i32,
    /// Length of `patch.diff`, which holds everything that is different from what the workspace began as;
    /// absent when nothing is.
    #[schema(minimum = 0)]
    pub patch_bytes: Option<u64>,
}

impl StepResult {
    /// The result of a step that ended.
    #[must_use]
    pub fn of(job: JobId, attempt: i32, step: &StepRecord, patch_bytes: Option<u64>) -> Self {
        Self {
            job_id: job,
            attempt,
            position: step.position,
            step_id: step.step_id.clone(),
            agent: step.agent.clone(),
            status: step.status().to_owned(),
            code: step.failure.as_ref().map(|failure| failure.code),
            message: step.failure.as_ref().map(|failure| failure.message.clone()),
            exit_code: step.exit_code,
            signal: step.signal,
            started_at: step.started_at,
            finished_at: step.finished_at,
            wall_ms: (step.finished_at - step.started_at).num_milliseconds().max(0),
            cpu_ms: step.measured.cpu_ms,
            peak_memory_bytes: step.measured.peak_memory_bytes,
            output_bytes: step.output_bytes,
            logged_bytes: step.measured.logged_bytes,
            redactions: step.measured.redactions,
            patch_bytes,
        }
    }
}

impl StepSummary {
    /// Of a step that ended just now.
    #[must_use]
    pub fn of_record(attempt: i32, step: &StepRecord) -> Self {
        Self {
            step_id: step.step_id.clone(),
            agent: step.agent.clone(),
            status: step.status().to_owned(),
            code: step.failure.as_ref().map(|failure| failure.code),
            attempt,
            wall_ms: (step.finished_at - step.started_at).num_milliseconds().max(0),
        }
    }
}

/// `result.json`: how a job ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobResult {
    /// The job.
    pub job_id: JobId,
    /// The project's alias.
    pub project_id: String,
    /// What the job was for.
    pub goal: String,
    /// How it ended.
    pub state: JobState,
    /// Why it did not succeed.
    pub code: Option<Code>,
    /// The same as a sentence.
    pub message: Option<String>,
    /// The attempt that ended it.
    #[schema(minimum = 1)]
    pub attempt: i32,
    /// When it ended, by the runner's clock.
    pub finished_at: DateTime<Utc>,
    /// How each of its steps ended the last time it ran, in the order of the specification.
    pub steps: Vec<StepSummary>,
}

/// A step in a job's `result.json`; its own says more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StepSummary {
    /// Its name in the specification.
    pub step_id: String,
    /// Who did it.
    pub agent: String,
    /// `succeeded`, `failed`, `cancelled`, `interrupted` or `skipped`.
    pub status: String,
    /// Why it did not succeed.
    pub code: Option<Code>,
    /// The attempt that ran it.
    #[schema(minimum = 1)]
    pub attempt: i32,
    /// Time from start to end, in milliseconds.
    #[schema(minimum = 0)]
    pub wall_ms: i64,
}
