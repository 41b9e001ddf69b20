//! A program in the workspace: its sandbox, its environment, its limits, its end as part of a record.

use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::mpsc;

use super::{Place, failure};
use crate::domain::attempt::StepRecord;
use crate::domain::policy::{Policy, lower};
use crate::domain::spec::StepSpec;
use crate::domain::trace::TraceParent;
use crate::runner::Settings;
use crate::runner::held::{self, Brake};
use crate::runner::logs::Log;
use crate::runner::process::{self, Chunk, Command, End, Limits, Outcome};
use crate::runner::room;
use crate::runner::sandbox::{Access, Plan};
use crate::telemetry::trace;

/// How long children have between `TERM` and `KILL`.
const GRACE: Duration = Duration::from_secs(5);
/// Chunks of output on their way to the table; when they are not taken, the child waits.
const ON_THE_WAY: usize = 64;

/// What is run.
#[derive(Debug, Default)]
pub(super) struct Program {
    pub(super) argv: Vec<String>,
    pub(super) stdin: Option<Vec<u8>>,
    /// Variables besides those every step sees; the step's own win over them.
    pub(super) env: Vec<(String, String)>,
    /// What it may do to the workspace, where a sandbox can hold it.
    pub(super) access: Access,
    /// Whether it keeps things of its own in its home, which are not the job's.
    pub(super) has_home: bool,
}

/// Runs it to its end and writes that into `record`. What it prints goes to the log, and to `ear` first.
#[expect(
    clippy::too_many_arguments,
    reason = "a program, where and for whom it runs, and who listens"
)]
pub(super) async fn run(
    settings: &Settings,
    step: &StepSpec,
    place: &Place<'_>,
    mut program: Program,
    record: &mut StepRecord,
    log: &mut Log<'_>,
    brake: &Brake,
    ear: Option<&mut (dyn FnMut(&Chunk) + Send)>,
) {
    let wrapper = match settings.sandbox.plan(
        &place.spec.policy,
        place.job.without_sandbox,
        place.workspace.path(),
        program.access,
    ) {
        Ok(Plan::Wrapped(wrapper)) => {
            if program.has_home {
                // The sandbox's own, in memory: neither the workspace nor the host keeps what is in it.
                program.env.push(("HOME".to_owned(), "/tmp".to_owned()));
            }
            Some(wrapper)
        }
        Ok(Plan::Bare(why)) => {
            if place.ordinal == 0 {
                log.note(place.position, why);
            }
            if program.access == Access::Reads {
                let line = "without a sandbox nothing but the agent itself keeps the workspace as it is";
                log.note(place.position, line);
            }
            None
        }
        Err(refusal) => {
            record.failure = Some(refusal);
            return;
        }
    };
    if let Err(full) = room::check(settings, place.workspace.path()) {
        record.failure = Some(full);
        return;
    }
    let name = program.argv.first().cloned().unwrap_or_default();
    let command = Command {
        wrapper,
        ..command_of(settings, step, place, program)
    };
    let (output, mut chunks) = mpsc::channel(ON_THE_WAY);
    let stop = brake.token().child_token();
    let running = process::run(
        &settings.supervisor,
        command,
        output,
        brake.bound_by(stop.clone()),
    );
    let running = room::watch(settings, place.workspace.path(), &stop, running);
    let ((ended, full), kept) = match ear {
        None => tokio::join!(running, log.keep(place.position, chunks)),
        Some(ear) => {
            let (on, heard) = mpsc::channel(1);
            let listening = async move {
                while let Some(chunk) = chunks.recv().await {
                    ear(&chunk);
                    if on.send(chunk).await.is_err() {
                        return;
                    }
                }
            };
            let (ended, (), kept) = tokio::join!(running, listening, log.keep(place.position, heard));
            (ended, kept)
        }
    };
    record.measured.logged_bytes = whole(kept.bytes);
    record.measured.redactions = kept.redactions.try_into().unwrap_or(i32::MAX);
    metrics::counter!("orchestrator_redactions_total").increment(kept.redactions.into());
    match ended {
        Err(error) => record.failure = Some(failure::not_started(&error)),
        Ok(outcome) => {
            note(record, &outcome);
            if outcome.end == End::LeaseOver {
                // The job goes back, unless it is another's by now.
                brake.pull(held::Reason::Draining);
            }
            record.failure = match full {
                Some(full) if outcome.end == End::Stopped && brake.reason().is_none() => Some(full),
                _ => failure::of(&name, step, of_all(step, place), &outcome, brake.reason()),
            };
            if outcome.oom_kills > 0 {
                let killed = format!(
                    "the kernel killed {} process(es) of this host for want of memory while the step ran",
                    outcome.oom_kills
                );
                log.say(place.position, &killed).await;
            }
        }
    }
}

/// A count as the tables hold it.
fn whole(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

fn note(record: &mut StepRecord, outcome: &Outcome) {
    record.started_at = outcome.started_at;
    record.finished_at = outcome.finished_at;
    record.output_bytes = whole(outcome.output_bytes);
    record.measured.cpu_ms = whole(outcome.cpu.as_millis());
    record.measured.peak_memory_bytes = whole(outcome.peak_memory_bytes);
    (record.exit_code, record.signal) = match outcome.end {
        End::Exited(code) => (Some(code), None),
        End::Signalled(signal) => (None, Some(signal)),
        End::OutOfMemory => (None, Some(Signal::KILL.as_raw())),
        _ => (None, None),
    };
}

fn command_of(settings: &Settings, step: &StepSpec, place: &Place<'_>, program: Program) -> Command {
    let mut env = settings.environment.clone();
    let workspace = place.workspace.path().to_string_lossy().into_owned();
    env.push(("HOME".into(), workspace.clone()));
    env.push(("ORCHESTRATOR_JOB_ID".into(), place.job.fence.job.to_string()));
    env.push(("ORCHESTRATOR_STEP_ID".into(), step.step_id.clone()));
    env.push(("ORCHESTRATOR_ATTEMPT".into(), place.job.fence.attempt.to_string()));
    env.push(("ORCHESTRATOR_WORKSPACE".into(), workspace));
    if let Some(trace) = trace::here(place.job.trace) {
        env.push((TraceParent::VARIABLE.into(), trace.to_string()));
    }
    env.extend(program.env);
    // The step's own come last, so that they win.
    env.extend(step.env.iter().map(|(name, value)| (name.clone(), value.clone())));
    let idle = Duration::from_secs(step.idle_timeout_sec.into());
    let timeout = Duration::from_secs(step.timeout_sec.into());
    Command {
        argv: program.argv,
        directory: place.workspace.path().to_owned(),
        env,
        stdin: program.stdin,
        timeout: place.left.map_or(timeout, |left| left.min(timeout)),
        idle_timeout: (!idle.is_zero()).then_some(idle),
        // A runner that loses its lease tells its steps a sixth of it before, and is to see them end.
        grace: GRACE.min(settings.lease / 8),
        limits: limits(settings, &place.spec.policy),
        nice: settings.nice,
        credentials: settings.credentials,
        wrapper: None,
    }
}

/// The seconds that the job's steps may take together, when less is left of them than the step's own time.
fn of_all(step: &StepSpec, place: &Place<'_>) -> Option<u32> {
    let own = Duration::from_secs(step.timeout_sec.into());
    place.left.filter(|left| *left < own)?;
    place.spec.timeout_sec
}

/// The host's limits, or the job's where they are lower.
fn limits(settings: &Settings, policy: &Policy) -> Limits {
    let (host, job) = (settings.limits, policy.limits);
    let bytes = |megabytes: u64| megabytes.saturating_mul(1_000_000);
    Limits {
        memory_bytes: lower(host.memory_bytes, job.memory_mb.map(bytes)),
        cpu_seconds: lower(host.cpu_seconds, job.cpu_sec),
        processes: lower(host.processes, job.pids),
        ..host
    }
}
