//! The job specification callers send, version `1.0`: what it may hold and what is refused.

use chrono::{DateTime, Utc};
use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::policy::Policy;
use super::problem::{self, Violation};

pub(super) mod check;
mod context;
mod links;
mod pipeline;
mod step;

pub(super) use check::within_the_calendar;
use check::{
    callback, name_shape, needs_once, no_nul, no_nul_str, no_nul_within, only_key, only_version,
    optional_name_shape,
};

pub use context::{ContextEntry, ContextStrategy, Handoff, SLIDING, SUMMARY};
pub use links::{artifact_source, patch_source};
pub use step::{BUILT_IN, Condition, OnFailure, StepSpec};

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
    #[schema(example = "1.0", pattern = r"^1\.0$")]
    pub version: Option<String>,
    /// What to do, in order. Empty: plan, implement and review the goal.
    #[garde(length(max = MAX_STEPS), dive)]
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
    #[schema(max_items = 100, example = json!([]))]
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
    #[schema(max_items = 32, example = json!(["nightly"]))]
    pub tags: Vec<String>,
    /// Anything the caller wants to keep with the job.
    #[garde(custom(no_nul_within))]
    #[serde(default)]
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
    /// What was said before, for its agents; what each step reports is added to it. At most 1000 entries.
    #[garde(length(max = 1000), dive)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 1000)]
    pub context_window: Vec<ContextEntry>,
    /// How much of that an agent is told: all (`full`), the beginning of each entry (`summarize`), or
    /// the last twelve entries (`sliding`).
    #[garde(skip)]
    #[serde(default, skip_serializing_if = "ContextStrategy::is_default")]
    #[schema(default = "sliding")]
    pub context_strategy: ContextStrategy,
    /// How the work of one step comes to the next: what it names (`manual`), the last patch
    /// (`patch_first`), or the workspace alone (`workspace_first`). Absent: as the runner's host has it.
    #[garde(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_handoff: Option<Handoff>,
    /// Longest its steps may take together, over all attempts, 1–2592000 s; waits between them do not count.
    #[garde(inner(range(min = 1, max = 2_592_000)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 2_592_000, example = 3600)]
    pub timeout_sec: Option<u32>,
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
    /// How many may run at once, 1–1000. Each job goes by its own limit; one that must wait holds back those behind it.
    #[garde(range(min = 1, max = 1000))]
    #[schema(minimum = 1, maximum = 1000, example = 1)]
    pub limit: i16,
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
            self.steps = pipeline::default_pipeline(&self.goal);
        }
        let mut found = match self.validate() {
            Ok(()) => Vec::new(),
            Err(report) => problem::violations(&report),
        };
        found.extend(links::violations(&self.steps));
        match found.is_empty() {
            true => Ok(self),
            false => Err(found),
        }
    }
}

fn default_queue() -> String {
    "default".into()
}

fn default_max_attempts() -> i16 {
    3
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
        assert_eq!(paths(&step(r#""env": {"A": "\u0000"}"#)), ["steps[0].env.A"]);
        assert_eq!(paths(&step(r#""timeout_sec": 0"#)), ["steps[0].timeout_sec"]);
    }

    #[test]
    fn what_a_step_says_of_others_is_checked_with_its_path() {
        let step = |rest: &str| {
            format!(
                r#"{{"goal": "g", "project_id": "p", "steps": [{{"step_id": "s", "argv": ["a"], {rest}}}]}}"#
            )
        };
        for (rest, path) in [
            (r#""on_failure": "goto:nowhere""#, "steps[0].on_failure"),
            (r#""on_failure": "goto:s""#, "steps[0].on_failure"),
            (r#""on_failure": "explode""#, "steps[0].on_failure"),
            (r#""if": "maybe""#, "steps[0].if"),
            (r#""input_artifacts": ["../x"]"#, "steps[0].input_artifacts"),
            (
                r#""input_artifacts": ["steps/x/report.md"]"#,
                "steps[0].input_artifacts[0]",
            ),
            (r#""apply_patches_from": ["x"]"#, "steps[0].apply_patches_from[0]"),
            (r#""allowed_tools": ["-rf"]"#, "steps[0].allowed_tools"),
            (r#""role": "--role""#, "steps[0].role"),
        ] {
            assert_eq!(paths(&step(rest)), [path], "{rest}");
        }
        let twice = r#"{"goal": "g", "project_id": "p", "steps": [{"step_id": "s", "argv": ["a"]}, {"step_id": "s", "argv": ["a"]}]}"#;
        assert_eq!(paths(twice), ["steps[1].step_id"]);
    }

    #[test]
    fn what_nobody_said_is_not_written_down_so_a_repeat_stays_a_repeat() {
        let spec = br#"{"goal":"g","project_id":"p","steps":[{"step_id":"s","argv":["a"]}]}"#;
        let written = serde_json::to_string(&JobSpec::read(spec).unwrap()).unwrap();
        assert_eq!(
            written,
            r#"{"goal":"g","project_id":"p","steps":[{"step_id":"s","agent":"command","argv":["a"],"timeout_sec":600,"idle_timeout_sec":120,"max_retries":1,"retry_backoff_sec":2}],"queue":"default","priority":0,"max_attempts":3,"tags":[],"metadata":{}}"#
        );
    }
}
