//! Settings: each is one flag and one environment variable, read once, here.
//!
//! A value that cannot be understood stops the start with the name, the value and what is allowed;
//! it never falls back silently.

#![expect(
    clippy::disallowed_methods,
    reason = "this is the room that reads the environment"
)]

mod agents;
mod api;
mod artifacts;
mod callbacks;
pub mod env_file;
mod metrics;
mod retention;
mod secrets;
mod sensitive;
mod traces;
mod value;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

pub use agents::{Agents, host_variable};
pub use api::Api;
pub use artifacts::Artifacts;
pub use callbacks::Callbacks;
pub use metrics::Metrics;
pub use retention::Retention;
pub use secrets::Secrets;
pub use sensitive::Sensitive;
pub use traces::Traces;
pub use value::{List, Secretly};
use value::{parse_aliases, parse_seconds, parse_tokens, parse_ttl};

use crate::domain::environment::{Alias, DatabaseUrl, EnvironmentToken};
use crate::domain::policy::Network;

/// How the address of the tables is read, which may hold a password.
pub const DATABASE_URL: Secretly<DatabaseUrl> = Secretly(value::parse_database_url);

/// How a number of seconds is read.
pub const SECONDS: fn(&str) -> Result<Duration, String> = parse_seconds;

/// Where the tables are.
#[derive(Args, Clone, Debug)]
#[group(id = "database_settings")]
pub struct Database {
    /// PostgreSQL to work against, as postgresql://USER:PASSWORD@HOST:PORT/DATABASE
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL", value_parser = DATABASE_URL)]
    pub database_url: DatabaseUrl,
    /// Most connections this process opens
    #[arg(long, env = "DATABASE_MAX_CONNECTIONS", value_name = "N", default_value_t = 16,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub database_max_connections: u32,
}

/// How much is logged, and how. Logs go to standard error.
#[derive(Args, Clone, Debug)]
#[group(id = "logging_settings")]
pub struct Logging {
    /// What is logged: error, warn, info, debug, trace, or a filter as orchestrator=debug,sqlx=warn
    #[arg(long, env = "LOG_LEVEL", value_name = "FILTER", default_value = "info", global = true,
          value_parser = value::parse_filter)]
    pub log_level: String,
    /// Log one JSON object a line
    #[arg(long, env = "LOG_JSON", value_name = "BOOL", default_value = "false", num_args = 0..=1,
          default_missing_value = "true", value_parser = clap::builder::BoolishValueParser::new(), global = true)]
    pub log_json: bool,
}

/// Projects and tokens that the environment names.
#[derive(Args, Clone, Debug)]
#[group(id = "environment_settings")]
pub struct Environment {
    /// Aliases of source directories, as name=/absolute/path,other=/path
    #[arg(long, env = "PROJECT_ALIASES", value_name = "LIST", default_value = "", value_parser = parse_aliases)]
    pub project_aliases: List<Alias>,
    /// Tokens that may submit and read, as token-a=project1|project2,token-b=*
    #[arg(long, env = "WEBHOOK_TOKENS", value_name = "LIST", default_value = "", hide_env_values = true,
          value_parser = Secretly(parse_tokens))]
    pub webhook_tokens: List<EnvironmentToken>,
}

/// A runner process.
#[derive(Args, Clone, Debug)]
#[group(id = "runner_settings")]
pub struct Runner {
    /// Name of this runner, unique on its host; shown with every attempt it makes
    #[arg(
        long = "instance",
        env = "RUNNER_INSTANCE",
        value_name = "NAME",
        default_value = "1"
    )]
    pub instance: String,
    /// Jobs run at once
    #[arg(long = "slots", env = "RUNNER_SLOTS", value_name = "N", default_value_t = 2,
          value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub slots: u16,
    /// Queues served, in turn
    #[arg(
        long = "queues",
        env = "RUNNER_QUEUES",
        value_name = "LIST",
        default_value = "default",
        value_parser = value::parse_names
    )]
    pub queues: List<String>,
    /// What this host has; jobs with `runs_on` are claimed by runners with that label only
    #[arg(long = "labels", env = "RUNNER_LABELS", value_name = "LIST", default_value = "", value_parser = value::parse_names)]
    pub labels: List<String>,
    /// Longest wait between two looks for work when no hint comes, in seconds
    #[arg(long, env = "RUNNER_POLL_INTERVAL_SEC", value_name = "SEC", default_value = "1", value_parser = parse_seconds)]
    pub runner_poll_interval_sec: Duration,
    /// How long a runner may be silent before others take its jobs, in seconds
    #[arg(long, env = "RUNNER_RECLAIM_AFTER_SEC", value_name = "SEC", default_value = "30", value_parser = parse_seconds)]
    pub runner_reclaim_after_sec: Duration,
    /// How long running steps may go on after TERM before they are handed back, in seconds
    #[arg(long, env = "RUNNER_DRAIN_SEC", value_name = "SEC", default_value = "30", value_parser = parse_seconds)]
    pub runner_drain_sec: Duration,
    /// Where jobs get their workspaces
    #[arg(
        long,
        env = "WORKSPACES_ROOT",
        value_name = "DIR",
        default_value = "/var/lib/orchestrator/workspaces"
    )]
    pub workspaces_root: PathBuf,
    /// How long workspaces are kept after their jobs ended, in seconds; 0 is for ever
    #[arg(long, env = "WORKSPACES_TTL_SEC", value_name = "SEC", default_value = "259200", value_parser = parse_ttl)]
    pub workspaces_ttl_sec: Duration,
    /// Least the disk of workspaces is to have free, in megabytes: a step that takes more is ended
    #[arg(
        long,
        env = "WORKSPACES_MIN_FREE_MB",
        value_name = "MB",
        default_value_t = 200
    )]
    pub workspaces_min_free_mb: u64,
    /// Largest artifact that is kept, in megabytes
    #[arg(long, env = "MAX_ARTIFACT_MB", value_name = "MB", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub max_artifact_mb: u64,
    /// What becomes of jobs whose project's directory is no repository: success, they work on a copy of it; failed,
    /// they fail
    #[arg(
        long,
        env = "NON_GIT_WORKDIR_STATUS",
        value_name = "STATUS",
        value_enum,
        default_value = "success"
    )]
    pub non_git_workdir_status: NonGitStatus,
    /// User that steps run as when this process runs as root
    #[arg(long, env = "STEP_USER", value_name = "USER", default_value = "nobody")]
    pub step_user: String,
    /// How much less weight than the services steps have on the processor: 0 none, 19 most
    #[arg(long, env = "STEP_NICE", value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u8).range(0..=19))]
    pub step_nice: u8,
    /// Most memory a process of a step may write to, in megabytes; 0 is no limit
    #[arg(long, env = "STEP_MEMORY_MB", value_name = "MB", default_value_t = 4096)]
    pub step_memory_mb: u64,
    /// Most processes and threads a step may have; 0 is no limit
    #[arg(long, env = "STEP_PIDS", value_name = "N", default_value_t = 512)]
    pub step_pids: u64,
    /// Most processor time of a process of a step, in seconds; 0 is no limit
    #[arg(long, env = "STEP_CPU_SEC", value_name = "SEC", default_value_t = 0)]
    pub step_cpu_sec: u64,
    /// Largest file a step may write, in megabytes; 0 is no limit
    #[arg(long, env = "STEP_FILE_MB", value_name = "MB", default_value_t = 4096)]
    pub step_file_mb: u64,
    /// What steps run in [default: bwrap; dev: bwrap if it is installed]
    #[arg(long, env = "SANDBOX", value_name = "KIND", value_enum)]
    pub sandbox: Option<SandboxKind>,
    /// bubblewrap, by name or path
    #[arg(
        long,
        env = "SANDBOX_WRAPPER",
        value_name = "PROGRAM",
        default_value = "bwrap"
    )]
    pub sandbox_wrapper: PathBuf,
    /// Further arguments for bubblewrap, after those this program gives it, separated by spaces
    #[arg(
        long,
        env = "SANDBOX_WRAPPER_ARGS",
        value_name = "ARGS",
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    pub sandbox_wrapper_args: String,
    /// Further files and directories of this host that steps in a sandbox may read
    #[arg(long, env = "SANDBOX_READABLE", value_name = "LIST", value_delimiter = ',')]
    pub sandbox_readable: Vec<PathBuf>,
    /// Most a step in a sandbox may keep in its /tmp, /run and /dev/shm each, which are memory, in megabytes
    #[arg(long, env = "SANDBOX_TMP_MB", value_name = "MB", default_value_t = 512, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub sandbox_tmp_mb: u64,
    /// Whether steps in a sandbox reach the network: deny or allow
    #[arg(long, env = "NETWORK_POLICY", value_name = "POLICY", default_value = "deny")]
    pub network_policy: Network,
    /// Variables of the runner's environment that steps may see
    #[arg(
        long,
        env = "ENV_ALLOWLIST",
        value_name = "LIST",
        default_value = "PATH,LANG,LC_ALL,TZ",
        value_delimiter = ','
    )]
    pub env_allowlist: Vec<String>,
    /// What agents may do.
    #[command(flatten)]
    pub agents: Agents,
    /// What must not be seen.
    #[command(flatten)]
    pub sensitive: Sensitive,
    /// Most bytes of output kept of one step; head and tail are kept, the cut is said
    #[arg(long, env = "MAX_SUBPROCESS_OUTPUT_CHARS", value_name = "BYTES", default_value_t = 1024 * 1024,
          value_parser = clap::value_parser!(u64).range(1024..=1024 * 1024 * 1024))]
    pub max_subprocess_output_chars: u64,
}

/// What becomes of jobs whose project is no repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NonGitStatus {
    /// They work on a copy.
    Success,
    /// They fail.
    Failed,
}

/// What steps run in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SandboxKind {
    /// bubblewrap; without it steps are refused.
    Bwrap,
    /// Nothing: steps see what their user sees.
    Off,
}

/// A scheduler process.
#[derive(Args, Clone, Copy, Debug)]
#[group(id = "scheduler_settings")]
pub struct Scheduler {
    /// Time between two looks at what is due, in seconds
    #[arg(long, env = "SCHEDULER_TICK_SEC", value_name = "SEC", default_value = "1", value_parser = parse_seconds)]
    pub scheduler_tick_sec: Duration,
}

/// What the host says of itself and of who runs us.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// Where programs are looked for.
    pub path: Option<OsString>,
    /// Where PostgreSQL's programs are, if the operator said.
    pub pg_bin: Option<PathBuf>,
    /// The user's home.
    pub home: Option<PathBuf>,
    /// Where the user keeps programs' data, if not below their home.
    pub data_home: Option<PathBuf>,
    /// Whether the user is root.
    pub is_root: bool,
}

impl Host {
    /// Reads the environment.
    #[must_use]
    pub fn read() -> Self {
        let path = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        Self {
            path: std::env::var_os("PATH"),
            pg_bin: path("PG_BIN"),
            home: path("HOME"),
            data_home: path("XDG_DATA_HOME"),
            is_root: nix::unistd::Uid::effective().is_root(),
        }
    }
}

/// The names of all variables there are.
#[must_use]
pub fn variables() -> Vec<String> {
    let names = std::env::vars_os().map(|(name, _)| name);
    names.filter_map(|name| name.into_string().ok()).collect()
}

impl Runner {
    /// The variables steps may see, with their values now.
    #[must_use]
    pub fn step_environment(&self) -> Vec<(String, String)> {
        let named = |name: &String| std::env::var(name).ok().map(|value| (name.clone(), value));
        self.env_allowlist.iter().filter_map(named).collect()
    }
}
