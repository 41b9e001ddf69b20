//! Agents on a runner's host.

use clap::Args;

use super::value::{List, parse_programs, parse_usd, parse_versions};
use crate::domain::agent::Version;
use crate::domain::spec::Handoff;

/// What agents may do here, and what they are shown.
#[derive(Args, Clone, Debug)]
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
    /// The only programs steps of this host may be, by name or path; empty is all
    #[arg(long, env = "ALLOWED_BINARIES", value_name = "LIST", default_value = "", hide_default_value = true, value_parser = parse_programs)]
    pub allowed_binaries: List<String>,
    /// Oldest versions of programs that steps may be, as git=2.39,claude=2.0
    #[arg(long, env = "MIN_BINARY_VERSIONS", value_name = "LIST", default_value = "", hide_default_value = true, value_parser = parse_versions)]
    pub min_binary_versions: List<(String, Version)>,
    /// Most calls of agents a day (UTC) on this host; 0 is no limit
    #[arg(long, env = "MAX_DAILY_API_CALLS", value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1_000_000_000))]
    pub max_daily_api_calls: u32,
    /// Most that calls of agents may cost a day (UTC) on this host, in US dollars; 0 is no limit
    #[arg(long, env = "MAX_DAILY_COST_USD", value_name = "USD", default_value = "0", value_parser = parse_usd)]
    pub max_daily_cost_usd: i64,
    /// What a call of an agent is taken to cost until it has said so, in US dollars
    #[arg(long, env = "USUAL_CALL_COST_USD", value_name = "USD", default_value = "1", value_parser = parse_usd)]
    pub usual_call_cost_usd: i64,
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
