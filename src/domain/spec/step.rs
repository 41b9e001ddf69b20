//! One step of a job: what runs, with what, and what its failure leads to.

use std::collections::BTreeMap;

use garde::Validate;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, VariantNames};
use utoipa::ToSchema;

use super::check::{
    agent_shape, argv_of, environment, no_nul, optional_role_shape, prompt_for_agents, step_id_shape,
    tools_shape,
};
use super::links::artifact_paths;

/// Most artifacts, patches or tools one step names.
const MAX_NAMED: usize = 100;

/// One thing to run in the job's workspace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub struct StepSpec {
    /// Its name, unique in the job; also the name of its directory among the artifacts.
    #[garde(custom(step_id_shape))]
    #[schema(example = "build", pattern = "^[0-9A-Za-z][0-9A-Za-z_-]{0,63}$")]
    pub step_id: String,
    /// Who does it: `command` runs `argv`, `noop` does nothing (a job that only joins what it needs),
    /// `simulate` says what an agent would be asked to do, and every other agent is a row of `/api/v1/agents`.
    #[garde(custom(agent_shape))]
    #[serde(default = "default_agent")]
    #[schema(default = "command")]
    pub agent: String,
    /// What the agent is in this step, as `planner`, `implementer` or `reviewer`; an agent may have
    /// other arguments and tools for a role.
    #[garde(custom(optional_role_shape))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "reviewer", pattern = "^[0-9A-Za-z][0-9A-Za-z_-]{0,63}$")]
    pub role: Option<String>,
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
    /// Artifacts of the job that an agent is shown with its prompt, as `steps/plan/report.md`.
    #[garde(length(max = MAX_NAMED), custom(artifact_paths))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 100, example = json!(["steps/plan/report.md"]))]
    pub input_artifacts: Vec<String>,
    /// Patches of other steps that are applied to the workspace first, as `steps/implement/patch.diff`
    /// or just `implement`: on top of what is there. One that is not there is `missing_patch`, one that does not fit
    /// `patch_apply_failed`.
    #[garde(length(max = MAX_NAMED), custom(artifact_paths))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 100, example = json!(["steps/implement/patch.diff"]))]
    pub apply_patches_from: Vec<String>,
    /// The only tools the agent may use, of those its role has. Empty: all of them.
    #[garde(length(max = MAX_NAMED), custom(tools_shape))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 100, example = json!(["Read", "Grep"]))]
    pub allowed_tools: Vec<String>,
    /// What follows when it has failed and is not tried again: `stop` ends the job, after later steps with
    /// `if` `failure` or `always`; `continue` goes on as if it had succeeded; `ask_human` waits for somebody to
    /// approve or reject; `goto:<step_id>` goes on there, at most ten times.
    #[garde(skip)]
    #[serde(default, skip_serializing_if = "OnFailure::is_default")]
    #[schema(value_type = String, default = "stop", pattern = "^(stop|continue|ask_human|goto:[0-9A-Za-z][0-9A-Za-z_-]{0,63})$")]
    pub on_failure: OnFailure,
    /// When it runs: after `success` of everything before, after a `failure`, or `always`.
    #[garde(skip)]
    #[serde(rename = "if", default, skip_serializing_if = "Condition::is_default")]
    #[schema(default = "success")]
    pub when: Condition,
}

impl StepSpec {
    /// A step of `agent` with everything else as it is when nobody says anything.
    #[must_use]
    pub fn of(step_id: &str, agent: &str) -> Self {
        Self {
            step_id: step_id.to_owned(),
            agent: agent.to_owned(),
            role: None,
            prompt: None,
            argv: Vec::new(),
            env: BTreeMap::new(),
            timeout_sec: default_timeout_sec(),
            idle_timeout_sec: default_idle_timeout_sec(),
            max_retries: default_max_retries(),
            retry_backoff_sec: default_retry_backoff_sec(),
            input_artifacts: Vec::new(),
            apply_patches_from: Vec::new(),
            allowed_tools: Vec::new(),
            on_failure: OnFailure::Stop,
            when: Condition::Success,
        }
    }

    /// Whether it is an agent's, and not one this program does itself.
    #[must_use]
    pub fn is_agents(&self) -> bool {
        !BUILT_IN.contains(&self.agent.as_str())
    }
}

/// Agents that are not programs of their own.
pub const BUILT_IN: [&str; 3] = ["command", "noop", "simulate"];

/// What the failure of a step leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum OnFailure {
    /// The job fails, once the steps that run all the same have run.
    #[default]
    Stop,
    /// The job goes on as if the step had succeeded.
    Continue,
    /// Somebody is asked.
    AskHuman,
    /// The job goes on at the step of this name.
    Goto(String),
}

impl OnFailure {
    fn is_default(&self) -> bool {
        *self == Self::Stop
    }
}

impl TryFrom<String> for OnFailure {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match (text.as_str(), text.strip_prefix("goto:")) {
            ("stop", _) => Ok(Self::Stop),
            ("continue", _) => Ok(Self::Continue),
            ("ask_human", _) => Ok(Self::AskHuman),
            (_, Some(step_id)) if crate::domain::name::is_step_id(step_id) => {
                Ok(Self::Goto(step_id.to_owned()))
            }
            _ => Err(format!(
                "{text:?} is none of stop, continue, ask_human, goto:<step_id>"
            )),
        }
    }
}

impl From<OnFailure> for String {
    fn from(on_failure: OnFailure) -> Self {
        match on_failure {
            OnFailure::Stop => "stop".to_owned(),
            OnFailure::Continue => "continue".to_owned(),
            OnFailure::AskHuman => "ask_human".to_owned(),
            OnFailure::Goto(step_id) => format!("goto:{step_id}"),
        }
    }
}

/// After what a step runs.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    ToSchema,
    Display,
    EnumString,
    VariantNames,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Condition {
    /// Nothing before it has failed the job.
    #[default]
    Success,
    /// A step before it has.
    Failure,
    /// Whatever came before.
    Always,
}

impl Condition {
    fn is_default(&self) -> bool {
        *self == Self::Success
    }

    /// Whether a step with this condition runs.
    #[must_use]
    pub fn holds(self, failed: bool) -> bool {
        match self {
            Self::Success => !failed,
            Self::Failure => failed,
            Self::Always => true,
        }
    }
}

fn default_agent() -> String {
    "command".into()
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
