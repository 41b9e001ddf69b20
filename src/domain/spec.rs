//! The job specification callers send, version `1.0`: what it may hold and what is refused.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::policy::Policy;
use super::problem::{self, Violation};

mod check;

use check::{
    argv_of, callback, environment, known_agent, name_shape, needs_once, no_nul, no_nul_str, no_nul_within,
    only_key, only_version, optional_name_shape, prompt_for_agents, step_id_shape, unique_step_ids,
    within_the_calendar,
};

/// Most steps in one job.
pub const MAX_STEPS: usize = 100;
/// Most bytes in one step's `argv` together, well below what Linux accepts.
const MAX_ARGV_BYTES: usize = 128 * 1024;

/// A job to be done.
///
/// Fields this version does not know are refused with their path, so that a misspelt option is
/// never silently ignored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// What the job is for, 1–5000 characters.
    #[garde(length(chars, min = 1, max = 5000), custom(no_nul))]
    #[schema(min_length = 1, max_length = 5000, example = "Build and test")]
    pub goal: String,
    /// Alias of the project the job belongs to.
    #[garde(custom(name_shape))]
    #[schema(example = "demo", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    pub project_id: String,
    /// Specification version; only `1.0` exists.
    #[garde(custom(only_version))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "1.0")]
    pub version: Option<String>,
    /// What to do, in order. Empty: plan, implement and review the goal.
    #[garde(length(max = MAX_STEPS), custom(unique_step_ids), dive)]
    #[serde(default)]
    #[schema(max_items = 100)]
    pub steps: Vec<StepSpec>,
    /// Which queue it waits in.
    #[garde(custom(name_shape))]
    #[serde(default = "default_queue")]
    #[schema(default = "default", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    pub queue: String,
    /// Higher goes first within its queue, −100 to 100.
    #[garde(range(min = -100, max = 100))]
    #[serde(default)]
    #[schema(minimum = -100, maximum = 100, default = 0)]
    pub priority: i16,
    /// Not before this time (RFC 3339).
    #[garde(inner(custom(within_the_calendar)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<DateTime<Utc>>,
    /// How many times a job whose runner vanished is tried, 1–100.
    #[garde(range(min = 1, max = 100))]
    #[serde(default = "default_max_attempts")]
    #[schema(minimum = 1, maximum = 100, default = 3)]
    pub max_attempts: i16,
    /// A key of the caller's: the same key in the same project is answered with the first job.
    /// `job_id` is the older name of the same field.
    #[garde(inner(length(chars, min = 1, max = 255)), inner(custom(no_nul)))]
    #[serde(default, alias = "job_id", skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 255, example = "build-4711")]
    pub idempotency_key: Option<String>,
    /// Jobs that must succeed first: their ids, or their idempotency keys within the project. In a
    /// request with several jobs, also the keys of the others in it. At most 100.
    #[garde(
        length(max = 100),
        custom(needs_once),
        inner(length(chars, min = 1, max = 255), custom(no_nul_str))
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 100)]
    pub needs: Vec<String>,
    /// Runs at most so many jobs of the project under this key at once.
    #[garde(dive)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// At most one job of the project that has not ended holds this key; another is answered with it.
    #[garde(inner(length(chars, min = 1, max = 255), custom(no_nul_str)), custom(only_key(&self.idempotency_key)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 255, example = "nightly-report")]
    pub unique_key: Option<String>,
    /// Label of the runners that may claim it. Absent: any runner of the queue.
    #[garde(custom(optional_name_shape))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "gpu", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    pub runs_on: Option<String>,
    /// Words to find the job by, at most 32 of 1–64 characters.
    #[garde(length(max = 32), inner(length(chars, min = 1, max = 64), custom(no_nul_str)))]
    #[serde(default)]
    #[schema(max_items = 32)]
    pub tags: Vec<String>,
    /// Anything the caller wants to keep with the job.
    #[garde(custom(no_nul_within))]
    #[serde(default)]
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
    /// What its steps may do, within what the host allows.
    #[garde(dive)]
    #[serde(default, skip_serializing_if = "Policy::is_empty")]
    pub policy: Policy,
    /// Where the job's end is told, by a signed POST: http or https, without credentials, at a public
    /// address.
    #[garde(inner(custom(callback)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = "uri", max_length = 2048, example = "https://example.com/jobs/done")]
    pub callback_url: Option<String>,
}

/// A key and how many jobs may run under it at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Concurrency {
    /// The caller's name for what must not be used too much at once.
    #[garde(length(chars, min = 1, max = 255), custom(no_nul_str))]
    #[schema(min_length = 1, max_length = 255, example = "deploy-production")]
    pub key: String,
    /// How many may run at once, 1–1000. Each job goes by its own limit.
    #[garde(range(min = 1, max = 1000))]
    #[schema(minimum = 1, maximum = 1000, example = 1)]
    pub limit: i16,
}

/// One thing to run in the job's workspace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub struct StepSpec {
    /// Its name, unique in the job; also the name of its directory among the artifacts.
    #[garde(custom(step_id_shape))]
    #[schema(example = "build", pattern = "^[0-9A-Za-z][0-9A-Za-z_-]{0,63}$")]
    pub step_id: String,
    /// Who does it: `command` runs `argv`, `simulate` says what an agent would be asked to do, `noop`
    /// does nothing (a job that only joins what it needs).
    #[garde(custom(known_agent))]
    #[serde(default = "default_agent")]
    #[schema(default = "command")]
    pub agent: String,
    /// What an agent is asked to do, 1–20000 characters.
    #[garde(inner(length(chars, min = 1, max = 20000), custom(no_nul)), custom(prompt_for_agents(&self.agent)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 20000)]
    pub prompt: Option<String>,
    /// The program and its arguments, run directly and never through a shell.
    #[garde(custom(argv_of(&self.agent)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(example = json!(["make", "test"]))]
    pub argv: Vec<String>,
    /// Environment variables of this step alone.
    #[garde(custom(environment))]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Longest the step may take, 1–86400 s.
    #[garde(range(min = 1, max = 86400))]
    #[serde(default = "default_timeout_sec")]
    #[schema(minimum = 1, maximum = 86400, default = 600)]
    pub timeout_sec: u32,
    /// Longest the step may print nothing, 0–86400 s; 0 is for ever.
    #[garde(range(max = 86400))]
    #[serde(default = "default_idle_timeout_sec")]
    #[schema(maximum = 86400, default = 120)]
    pub idle_timeout_sec: u32,
    /// How often a step that failed is tried again, 0–10.
    #[garde(range(max = 10))]
    #[serde(default = "default_max_retries")]
    #[schema(maximum = 10, default = 1)]
    pub max_retries: u8,
    /// Wait before the first retry, 0–3600 s. It doubles each time, up to an hour, and is drawn a
    /// little shorter or longer; the runner's slot is free meanwhile.
    #[garde(range(max = 3600))]
    #[serde(default = "default_retry_backoff_sec")]
    #[schema(maximum = 3600, default = 2)]
    pub retry_backoff_sec: u32,
}

impl StepSpec {
    /// Whether it reads or writes files.
    #[must_use]
    pub fn uses_workspace(&self) -> bool {
        self.agent == "command"
    }
}

impl JobSpec {
    /// Reads and checks a specification.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, each with its path; at a syntax error just that one.
    pub fn read(json: &[u8]) -> Result<Self, Vec<Violation>> {
        let spec: Self = problem::read_json(json).map_err(|violation| vec![violation])?;
        spec.checked()
    }

    /// Checks a specification that was made in another way.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, each with its path.
    pub fn checked(mut self) -> Result<Self, Vec<Violation>> {
        if self.steps.is_empty() {
            self.steps = default_pipeline(&self.goal);
        }
        match self.validate() {
            Ok(()) => Ok(self),
            Err(report) => Err(problem::violations(&report)),
        }
    }
}

/// Plan, implement, review: what a goal without steps means.
fn default_pipeline(goal: &str) -> Vec<StepSpec> {
    let step = |step_id: &str, task: &str| StepSpec {
        step_id: step_id.into(),
        agent: "simulate".into(),
        prompt: Some(format!("{task}: {goal}").chars().take(20000).collect()),
        argv: Vec::new(),
        env: BTreeMap::new(),
        timeout_sec: default_timeout_sec(),
        idle_timeout_sec: default_idle_timeout_sec(),
        max_retries: default_max_retries(),
        retry_backoff_sec: default_retry_backoff_sec(),
    };
    vec![
        step("plan", "Plan"),
        step("implement", "Implement"),
        step("review", "Review"),
    ]
}

/// The agents this version has.
pub const AGENTS: [&str; 3] = ["command", "noop", "simulate"];

fn default_agent() -> String {
    "command".into()
}

fn default_queue() -> String {
    "default".into()
}

fn default_max_attempts() -> i16 {
    3
}

fn default_timeout_sec() -> u32 {
    600
}

fn default_idle_timeout_sec() -> u32 {
    120
}

fn default_max_retries() -> u8 {
    1
}

fn default_retry_backoff_sec() -> u32 {
    2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(json: &str) -> Vec<String> {
        JobSpec::read(json.as_bytes())
            .unwrap_err()
            .into_iter()
            .map(|violation| violation.path)
            .collect()
    }

    #[test]
    fn a_goal_alone_becomes_the_default_pipeline() {
        let spec = JobSpec::read(br#"{"goal": "tidy up", "project_id": "demo"}"#).unwrap();
        let ids: Vec<_> = spec.steps.iter().map(|step| step.step_id.as_str()).collect();
        assert_eq!(ids, ["plan", "implement", "review"]);
        assert_eq!(
            (spec.queue.as_str(), spec.priority, spec.max_attempts),
            ("default", 0, 3)
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_its_path() {
        assert_eq!(
            paths(r#"{"goal": "", "project_id": "a/b"}"#),
            ["goal", "project_id"]
        );
        assert_eq!(
            paths(r#"{"goal": "g", "project_id": "p", "steps": [{"step_id": "s"}]}"#),
            ["steps[0].argv"]
        );
        assert_eq!(
            paths(
                r#"{"goal": "g", "project_id": "p", "steps": [{"step_id": "s", "argv": ["a"], "tmeout_sec": 1}]}"#
            ),
            ["steps[0].tmeout_sec"]
        );
        assert_eq!(
            paths(r#"{"goal": "g", "project_id": "p", "priority": 101, "queue": ".."}"#),
            ["priority", "queue"]
        );
        assert_eq!(
            paths(r#"{"goal": "g", "project_id": "p", "run_at": "tomorrow"}"#),
            ["run_at"]
        );
    }

    #[test]
    fn hostile_json_is_refused_and_never_panics() {
        for text in [
            "",
            "null",
            "[]",
            "1e400",
            "{\"goal\": \"\\ud800\"}",
            "\u{feff}{}",
            "{} {}",
        ] {
            assert!(JobSpec::read(text.as_bytes()).is_err(), "{text}");
        }
        let nested = format!("{{\"metadata\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(JobSpec::read(nested.as_bytes()).is_err());
    }

    #[test]
    fn a_step_cannot_smuggle_a_nul_or_an_equals_sign() {
        let step = |rest: &str| {
            format!(
                r#"{{"goal": "g", "project_id": "p", "steps": [{{"step_id": "s", "argv": ["a"], {rest}}}]}}"#
            )
        };
        assert_eq!(paths(&step(r#""env": {"A=B": "c"}"#)), ["steps[0].env"]);
        assert_eq!(paths(&step(r#""env": {"A": "\u0000"}"#)), ["steps[0].env"]);
        assert_eq!(paths(&step(r#""timeout_sec": 0"#)), ["steps[0].timeout_sec"]);
    }
}
