//! One step: a process in the workspace, its output in the log, its end as a record.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::mpsc;

use super::Settings;
use super::held::{Brake, Reason};
use super::logs::Log;
use super::process::{self, Command, End, Limits, Outcome, Refusal, SpawnError};
use super::sandbox::Plan;
use crate::domain::attempt::{Failure, Measured, StepRecord};
use crate::domain::clock;
use crate::domain::id::JobId;
use crate::domain::job::Code;
use crate::domain::policy::{Policy, lower};
use crate::domain::spec::StepSpec;

/// How long children have between `TERM` and `KILL`.
const GRACE: Duration = Duration::from_secs(5);
/// Chunks of output on their way to the table; when they are not taken, the child waits.
const ON_THE_WAY: usize = 64;

/// Which step of which job, and where.
pub(super) struct Place<'a> {
    pub(super) job: JobId,
    pub(super) position: i16,
    pub(super) ordinal: i16,
    pub(super) workspace: &'a Path,
    pub(super) policy: &'a Policy,
}

/// Runs the step to its end, or until the brake is pulled.
pub(super) async fn run(
    settings: &Settings,
    step: &StepSpec,
    place: &Place<'_>,
    log: &mut Log<'_>,
    brake: &Brake,
) -> StepRecord {
    let secrets = settings.sensitive.of_step(&step.env);
    log.begin(secrets.clone());
    let mut record = match step.agent.as_str() {
        "command" => command(settings, step, place, log, brake).await,
        "noop" => blank(step, place, clock::now()),
        _ => simulate(step, place, log).await,
    };
    if let Some(failure) = &mut record.failure {
        failure.message = secrets.redact(&failure.message).0;
        log.say(
            place.position,
            &format!("step {}: {}", step.step_id, failure.message),
        )
        .await;
    }
    let took = (record.finished_at - record.started_at)
        .to_std()
        .unwrap_or_default();
    metrics::histogram!("orchestrator_step_seconds").record(took);
    metrics::counter!("orchestrator_steps_total", "status" => record.status()).increment(1);
    record
}

async fn command(
    settings: &Settings,
    step: &StepSpec,
    place: &Place<'_>,
    log: &mut Log<'_>,
    brake: &Brake,
) -> StepRecord {
    let started_at = clock::now();
    let wrapper = match settings.sandbox.plan(place.policy, place.workspace) {
        Ok(Plan::Wrapped(wrapper)) => Some(wrapper),
        Ok(Plan::Bare(why)) => {
            if place.ordinal == 0 {
                log.say(place.position, why).await;
            }
            None
        }
        Err(refusal) => {
            let failure = Some(refusal);
            return StepRecord {
                failure,
                ..blank(step, place, started_at)
            };
        }
    };
    let (output, chunks) = mpsc::channel(ON_THE_WAY);
    let running = process::run(
        &settings.supervisor,
        Command {
            wrapper,
            ..command_of(settings, step, place)
        },
        output,
        brake.token().clone(),
    );
    let (ended, kept) = tokio::join!(running, log.keep(place.position, chunks));
    let mut record = blank(step, place, started_at);
    record.measured.logged_bytes = whole(kept.bytes);
    record.measured.redactions = kept.redactions.try_into().unwrap_or(i32::MAX);
    metrics::counter!("orchestrator_redactions_total").increment(kept.redactions.into());
    match ended {
        Err(error) => record.failure = Some(not_started(&error)),
        Ok(outcome) => {
            record.started_at = outcome.started_at;
            record.finished_at = outcome.finished_at;
            record.output_bytes = whole(outcome.output_bytes);
            record.measured.cpu_ms = whole(outcome.cpu.as_millis());
            record.measured.peak_memory_bytes = whole(outcome.peak_memory_bytes);
            (record.exit_code, record.signal) = codes(&outcome);
            record.failure = failure(step, &outcome, brake.reason());
            if outcome.oom_kills > 0 {
                let killed = format!(
                    "the kernel killed {} process(es) of this host for want of memory while the step ran",
                    outcome.oom_kills
                );
                log.say(place.position, &killed).await;
            }
        }
    }
    record
}

fn command_of(settings: &Settings, step: &StepSpec, place: &Place<'_>) -> Command {
    let mut env = settings.environment.clone();
    let workspace = place.workspace.to_string_lossy().into_owned();
    env.push(("HOME".into(), workspace.clone()));
    env.push(("ORCHESTRATOR_JOB_ID".into(), place.job.to_string()));
    env.push(("ORCHESTRATOR_STEP_ID".into(), step.step_id.clone()));
    env.push(("ORCHESTRATOR_WORKSPACE".into(), workspace));
    // The step's own come last, so that they win.
    env.extend(step.env.iter().map(|(name, value)| (name.clone(), value.clone())));
    let idle = Duration::from_secs(step.idle_timeout_sec.into());
    Command {
        argv: step.argv.clone(),
        directory: place.workspace.to_owned(),
        env,
        stdin: None,
        timeout: Duration::from_secs(step.timeout_sec.into()),
        idle_timeout: (!idle.is_zero()).then_some(idle),
        // A runner that loses its lease tells its steps a sixth of it before, and is to see them end.
        grace: GRACE.min(settings.lease / 8),
        limits: limits(settings, place.policy),
        nice: settings.nice,
        credentials: settings.credentials,
        wrapper: None,
    }
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

/// A count as the tables hold it.
fn whole(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

fn codes(outcome: &Outcome) -> (Option<i32>, Option<i32>) {
    match outcome.end {
        End::Exited(code) => (Some(code), None),
        End::Signalled(signal) => (None, Some(signal)),
        End::OutOfMemory => (None, Some(Signal::KILL.as_raw())),
        _ => (None, None),
    }
}

/// Why nothing was run.
fn not_started(error: &SpawnError) -> Failure {
    let code = match error.refusal {
        Refusal::Directory => Code::Workspace,
        Refusal::Sandbox => Code::Policy,
        _ => Code::Spawn,
    };
    Failure::new(code, error.to_string())
}

/// Why the step did not do what it should, as a sentence that says what to do.
fn failure(step: &StepSpec, outcome: &Outcome, stopped: Option<Reason>) -> Option<Failure> {
    let program = step.argv.first().map_or("", String::as_str);
    let (code, sentence) = match outcome.end {
        End::Exited(0) => return None,
        End::Exited(code) => (
            Code::ExitNonzero,
            format!("`{program}` exited with code {code}; the log of the step says why."),
        ),
        End::Signalled(signal) => (
            Code::Signalled,
            format!("`{program}` was ended by signal {signal}, which this runner did not send."),
        ),
        End::OutOfMemory => (
            Code::OutOfMemory,
            format!(
                "`{program}` was killed because the memory it may use was full; it held {} MB. Let it use less, or raise its limit.",
                outcome.peak_memory_bytes / 1_000_000
            ),
        ),
        End::Unwatched => (
            Code::Signalled,
            format!("`{program}` was ended because the process that watched over it was killed."),
        ),
        End::TimedOut => (
            Code::Timeout,
            format!(
                "`{program}` ran longer than {} s; raise timeout_sec or make it faster.",
                step.timeout_sec
            ),
        ),
        End::IdleTimedOut => (
            Code::IdleTimeout,
            format!(
                "`{program}` printed nothing for {} s; let it say what it does, or raise idle_timeout_sec (0 is off).",
                step.idle_timeout_sec
            ),
        ),
        End::Stopped => match stopped {
            Some(Reason::Cancelled) => (Code::Cancelled, "Stopped on request.".to_owned()),
            _ => (
                Code::Interrupted,
                "Stopped because its runner stops; it is run again elsewhere.".to_owned(),
            ),
        },
    };
    Some(Failure::new(code, sentence))
}

/// Says what an agent would have been asked to do, and that it was not.
async fn simulate(step: &StepSpec, place: &Place<'_>, log: &mut Log<'_>) -> StepRecord {
    let started_at = clock::now();
    let prompt = step.prompt.as_deref().unwrap_or_default();
    log.say(place.position, &format!("simulated, nothing was run: {prompt}"))
        .await;
    StepRecord {
        finished_at: clock::now(),
        ..blank(step, place, started_at)
    }
}

fn blank(step: &StepSpec, place: &Place<'_>, started_at: chrono::DateTime<chrono::Utc>) -> StepRecord {
    StepRecord {
        ordinal: place.ordinal,
        position: place.position,
        step_id: step.step_id.clone(),
        agent: step.agent.clone(),
        failure: None,
        exit_code: None,
        signal: None,
        started_at,
        finished_at: clock::now(),
        output_bytes: 0,
        measured: Measured::default(),
    }
}
