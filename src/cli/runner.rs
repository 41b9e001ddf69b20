//! `orchestrator runner`

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use super::database;
use super::objects::objects;
use crate::alive::Alive;
use crate::app::schema;
use crate::config::{NonGitStatus, SandboxKind};
use crate::domain::budget::Limit;
use crate::domain::prompt::InputLimits;
use crate::objects::Objects;
use crate::runner::process::{Credentials, Limits, Supervisor, limits};
use crate::runner::redact::{Secrets, Sensitive};
use crate::runner::sandbox::{self, Sandbox};
use crate::runner::versions::Versions;
use crate::runner::workspace::NoRepository;
use crate::shutdown::Stop;
use crate::{config, runner, store, telemetry};

/// Runs jobs until TERM or INT, then lets running steps finish as long as a drain may take.
#[derive(Args, Debug)]
pub(super) struct Runner {
    #[command(flatten)]
    database: config::Database,
    #[command(flatten)]
    runner: config::Runner,
    #[command(flatten)]
    artifacts: config::Artifacts,
    #[command(flatten)]
    metrics: config::Metrics,
    #[command(flatten)]
    pub(super) traces: config::Traces,
}

impl Runner {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let alive = Alive::start();
        let stop = Stop::on_signals({
            let (alive, drain) = (alive.clone(), self.runner.runner_drain_sec);
            move || alive.stopping(drain)
        })?;
        telemetry::expose(self.metrics.metrics_bind).await?;
        let config::Database {
            database_url,
            database_max_connections,
        } = self.database;
        let pool = store::database::keyed(&database_url, "orchestrator-runner", database_max_connections)?;
        let root = self.runner.workspaces_root.clone();
        let mut settings = settings(&self.runner, root, objects(&self.artifacts)?, false).await?;
        settings.alive = alive.clone();
        alive.status("waiting for the database or its schema; the log says which");
        database::refuse_lent(pool.clone(), stop.clone()).await?;
        settings.objects.prepare().with_context(|| {
            let root = self.artifacts.artifacts_root.display();
            format!("artifacts cannot be kept in {root}; make it, owned by the services' user, or name another with ARTIFACTS_ROOT")
        })?;
        if schema::wait(&pool, &stop.soft).await {
            runner::run(settings, pool, database_url, stop).await;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A runner's settings from the command line's.
///
/// With `lenient`, steps run without a sandbox where bubblewrap is missing and nobody asked for it.
pub(super) async fn settings(
    from: &config::Runner,
    workspaces_root: std::path::PathBuf,
    objects: Objects,
    lenient: bool,
) -> anyhow::Result<runner::Settings> {
    anyhow::ensure!(
        !from.queues.0.is_empty(),
        "RUNNER_QUEUES names no queue; write default, or queues separated by commas"
    );
    let credentials = Credentials::for_steps(&from.step_user)?;
    let supervisor = Supervisor::of_this_program();
    let host = config::Host::read();
    let sandbox = Sandbox::find(
        sandbox(from, lenient),
        host.path.as_deref(),
        &supervisor,
        credentials,
    )
    .await;
    Ok(runner::Settings {
        instance: from.instance.clone(),
        slots: from.slots,
        queues: from.queues.0.clone(),
        labels: from.labels.0.clone(),
        poll: from.runner_poll_interval_sec,
        lease: from.runner_reclaim_after_sec,
        drain: from.runner_drain_sec,
        workspaces_root,
        workspaces_ttl: Some(from.workspaces_ttl_sec).filter(|ttl| !ttl.is_zero()),
        least_free: from.workspaces_min_free_mb * 1_000_000,
        objects,
        artifact_limit: from.max_artifact_mb * 1_000_000,
        no_repository: match from.non_git_workdir_status {
            NonGitStatus::Success => NoRepository::Copy,
            NonGitStatus::Failed => NoRepository::Refuse,
        },
        environment: from.step_environment(),
        output_limit: from.max_subprocess_output_chars,
        credentials,
        supervisor,
        sandbox,
        limits: limits(from, credentials),
        nice: from.step_nice,
        alive: Alive::default(),
        real_cli: from.agents.enable_real_cli,
        allowed_binaries: from.agents.allowed_binaries.0.clone(),
        minimums: from.agents.min_binary_versions.0.iter().cloned().collect(),
        budget: Limit {
            calls: i32::try_from(from.agents.max_daily_api_calls)
                .ok()
                .filter(|most| *most > 0),
            micro_usd: Some(from.agents.max_daily_cost_usd).filter(|most| *most > 0),
        },
        usual_cost: from.agents.usual_call_cost_usd,
        handoff: from.agents.default_artifact_handoff,
        inputs: InputLimits {
            files: from.agents.max_input_artifacts_files,
            file_chars: from.agents.max_input_artifact_chars,
            chars: from.agents.max_input_artifacts_chars,
        },
        versions: Versions::default(),
        sensitive: Sensitive {
            names: from.sensitive.sensitive_env_vars.clone(),
            secrets: Secrets::of(from.sensitive.values().iter().map(String::as_str)),
        },
    })
}

/// What each step may use.
fn limits(from: &config::Runner, credentials: Option<Credentials>) -> Limits {
    let some = |limit: u64| (limit > 0).then_some(limit);
    let uid = credentials.map_or_else(|| rustix::process::getuid().as_raw(), |user| user.uid);
    Limits {
        memory_bytes: some(from.step_memory_mb).map(|megabytes| megabytes * 1_000_000),
        cpu_seconds: some(from.step_cpu_sec),
        file_bytes: some(from.step_file_mb).map(|megabytes| megabytes * 1_000_000),
        processes: some(from.step_pids),
        // The kernel counts a user's processes, not a step's: all slots, and what else that user runs.
        user_processes: some(from.step_pids)
            .map(|pids| limits::processes_of(uid) + pids * u64::from(from.slots)),
    }
}

fn sandbox(from: &config::Runner, lenient: bool) -> sandbox::Settings {
    sandbox::Settings {
        wrapper: (from.sandbox != Some(SandboxKind::Off)).then(|| from.sandbox_wrapper.clone()),
        arguments: from
            .sandbox_wrapper_args
            .split_whitespace()
            .map(str::to_owned)
            .collect(),
        readable: from.sandbox_readable.clone(),
        tmp_bytes: from.sandbox_tmp_mb * 1_000_000,
        network: from.network_policy,
        optional: lenient && from.sandbox.is_none(),
    }
}
