//! The job specification callers send, version `1.0`: what it may hold and what is refused.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike as _, Utc};
use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::name::{is_environment_name, is_name, is_step_id};
use super::problem::{self, Violation};

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
    /// Who does it: `command` or `simulate`.
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
    };
    vec![
        step("plan", "Plan"),
        step("implement", "Implement"),
        step("review", "Review"),
    ]
}

/// The agents this version has.
pub const AGENTS: [&str; 2] = ["command", "simulate"];

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

fn refuse<T>(reason: impl Into<String>) -> Result<T, garde::Error> {
    Err(garde::Error::new(reason.into()))
}

fn name_shape(name: &str, (): &()) -> garde::Result {
    if is_name(name) {
        return Ok(());
    }
    refuse("must be 1–128 letters, digits, `.`, `_` or `-`, and begin with a letter or digit")
}

fn step_id_shape(name: &str, (): &()) -> garde::Result {
    if is_step_id(name) {
        return Ok(());
    }
    refuse("must be 1–64 letters, digits, `_` or `-`, and begin with a letter or digit")
}

fn only_version(version: &Option<String>, (): &()) -> garde::Result {
    match version.as_deref() {
        None | Some("1.0") => Ok(()),
        Some(other) => refuse(format!("is {other:?}; this server knows version \"1.0\"")),
    }
}

fn known_agent(agent: &str, (): &()) -> garde::Result {
    if AGENTS.contains(&agent) {
        return Ok(());
    }
    refuse(format!(
        "unknown agent {agent:?}; there are: {}",
        AGENTS.join(", ")
    ))
}

fn no_nul(text: &str, (): &()) -> garde::Result {
    no_nul_in(text)
}

fn no_nul_str(text: &str, (): &()) -> garde::Result {
    no_nul_in(text)
}

fn no_nul_in(text: &str) -> garde::Result {
    if text.contains('\0') {
        refuse("must not hold a NUL character")
    } else {
        Ok(())
    }
}

/// PostgreSQL's JSON holds no NUL, in whatever depth.
fn no_nul_within(map: &Map<String, Value>, (): &()) -> garde::Result {
    map.iter()
        .try_for_each(|(key, value)| no_nul_in(key).and_then(|()| no_nul_in_value(value)))
}

fn no_nul_in_value(value: &Value) -> garde::Result {
    match value {
        Value::String(text) => no_nul_in(text),
        Value::Array(items) => items.iter().try_for_each(no_nul_in_value),
        Value::Object(map) => no_nul_within(map, &()),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

/// PostgreSQL's calendar begins later than chrono's, and nobody waits until the year 10000.
fn within_the_calendar(at: &DateTime<Utc>, (): &()) -> garde::Result {
    match at.year() {
        1970..=9999 => Ok(()),
        year => refuse(format!("is in the year {year}; allowed are 1970 to 9999")),
    }
}

fn unique_step_ids(steps: &[StepSpec], (): &()) -> garde::Result {
    let mut seen = std::collections::BTreeSet::new();
    match steps.iter().find(|step| !seen.insert(&step.step_id)) {
        Some(again) => refuse(format!(
            "step_id {:?} is used twice; give each step its own",
            again.step_id
        )),
        None => Ok(()),
    }
}

fn prompt_for_agents(agent: &str) -> impl FnOnce(&Option<String>, &()) -> garde::Result {
    move |prompt, ()| match (agent, prompt) {
        ("command", Some(_)) => refuse("is for agents; a `command` step takes `argv`"),
        ("command", None) | (_, Some(_)) => Ok(()),
        (_, None) => refuse(format!("is required: it is what agent {agent:?} is asked to do")),
    }
}

fn argv_of(agent: &str) -> impl FnOnce(&Vec<String>, &()) -> garde::Result {
    move |argv, ()| {
        if agent != "command" {
            return if argv.is_empty() {
                Ok(())
            } else {
                refuse("is for `command` steps; an agent takes a `prompt`")
            };
        }
        match argv.first().map(String::as_str) {
            None => return refuse("is required: the program and its arguments, as [\"make\", \"test\"]"),
            Some("") => return refuse("must begin with the name of a program"),
            Some(_) => {}
        }
        if argv.iter().map(|argument| argument.len() + 1).sum::<usize>() > MAX_ARGV_BYTES {
            return refuse(format!(
                "is longer than {MAX_ARGV_BYTES} bytes together; write the data to a file"
            ));
        }
        argv.iter().try_for_each(|argument| no_nul_in(argument))
    }
}

fn environment(env: &BTreeMap<String, String>, (): &()) -> garde::Result {
    if env.len() > 256 {
        return refuse("has more than 256 variables");
    }
    for (name, value) in env {
        if !is_environment_name(name) {
            return refuse(format!(
                "{name:?} cannot name a variable: letters, digits and `_` can"
            ));
        }
        if value.len() > 32 * 1024 {
            return refuse(format!("{name} is longer than 32768 bytes"));
        }
        no_nul_in(value)?;
    }
    Ok(())
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
