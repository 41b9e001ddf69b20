//! Agents on a runner's host.

use clap::Args;

use crate::domain::spec::Handoff;

/// What agents may do here, and what they are shown.
#[derive(Args, Clone, Copy, Debug)]
#[group(id = "agent_settings")]
pub struct Agents {
    /// Really run agents; without it every agent but command and simulate is simulated, and says so
    #[arg(long, env = "ENABLE_REAL_CLI", value_name = "BOOL", default_value = "false", num_args = 0..=1,
          default_missing_value = "true", value_parser = clap::builder::BoolishValueParser::new())]
    pub enable_real_cli: bool,
    /// How the work of one step comes to the next, unless a job says so: manual, patch_first or workspace_first
    #[arg(
        long,
        env = "DEFAULT_ARTIFACT_HANDOFF",
        value_name = "MODE",
        default_value = "manual"
    )]
    pub default_artifact_handoff: Handoff,
    /// Most artifacts an agent is shown
    #[arg(
        long,
        env = "MAX_INPUT_ARTIFACTS_FILES",
        value_name = "N",
        default_value_t = 10
    )]
    pub max_input_artifacts_files: usize,
    /// Most characters of one artifact an agent is shown
    #[arg(
        long,
        env = "MAX_INPUT_ARTIFACT_CHARS",
        value_name = "N",
        default_value_t = 12_000
    )]
    pub max_input_artifact_chars: usize,
    /// Most characters of all artifacts together an agent is shown
    #[arg(
        long,
        env = "MAX_INPUT_ARTIFACTS_CHARS",
        value_name = "N",
        default_value_t = 40_000
    )]
    pub max_input_artifacts_chars: usize,
}

/// A variable of this process, for an agent whose definition names it.
#[must_use]
pub fn host_variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
