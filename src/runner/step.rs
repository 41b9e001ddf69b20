//! One step: what is done for it, its output in the log, its end as a record.

mod agent;
mod allowed;
mod failure;
mod inputs;
mod patches;
mod patiently;
mod program;
mod report;

use std::time::Duration;

use self::agent::Asking;
pub(super) use self::failure::out_of_time;
use self::program::Program;
use super::Settings;
use super::artifacts::Keeping;
use super::held::Brake;
use super::logs::Log;
use super::redact::Secrets;
use super::workspace::Workspace;
use crate::app::lease::{Content, Session};
use crate::domain::attempt::{Failure, Measured, StepRecord};
use crate::domain::clock;
use crate::domain::spec::{JobSpec, StepSpec};
use crate::store::claim::Claimed;

/// Which step of which job, and where.
pub(super) struct Place<'a> {
    pub(super) job: &'a Claimed,
    pub(super) spec: &'a JobSpec,
    pub(super) position: i16,
    pub(super) ordinal: i16,
    pub(super) workspace: &'a Workspace,
    /// Time the job has left.
    pub(super) left: Option<Duration>,
}

/// Runs the step to its end, or until the brake is pulled.
pub(super) async fn run(
    settings: &Settings,
    session: &Session,
    step: &StepSpec,
    place: &Place<'_>,
    log: &mut Log<'_>,
    brake: &Brake,
) -> StepRecord {
    // Also what agents of steps before it were given.
    let mut secrets = settings.sensitive.of_job(place.spec).with(log.secrets());
    log.begin(secrets.clone());
    let mut record = blank(step, (place.position, place.ordinal));
    let from = log.place();
    record.failure = patches::apply(settings, session, step, place, log, brake)
        .await
        .err();
    match step.agent.as_str() {
        _ if record.failure.is_some() => {}
        "noop" => {}
        "command" => match command(settings, step, place).await {
            Ok(program) => {
                program::run(settings, step, place, program, &mut record, log, brake, None).await;
            }
            Err(failure) => record.failure = Some(failure),
        },
        _ => {
            let asking = Asking {
                settings,
                session,
                step,
                place,
                brake,
            };
            asking.ask(&mut record, log, &mut secrets).await;
        }
    }
    let keeping = Keeping {
        settings,
        session,
        brake,
    };
    let patch = keeping.take(place, &mut record, &secrets, log).await;
    say_failure(step, place, &mut record, &secrets, log).await;
    if step.agent != "noop" {
        let report = report::of(step, place, session, &record, &secrets, log).await;
        let failed = record.failure.is_some();
        let printed = log.text(from).map_or(Content::Log(Some(from)), Content::Text);
        keeping
            .step(step, place, &mut record, patch, report, printed)
            .await;
        if !failed {
            say_failure(step, place, &mut record, &secrets, log).await;
        }
    }
    let took = (record.finished_at - record.started_at)
        .to_std()
        .unwrap_or_default();
    metrics::histogram!("orchestrator_step_seconds").record(took);
    metrics::counter!("orchestrator_steps_total", "status" => record.status()).increment(1);
    record
}

/// The program of a step that is a command, if it is one that may be run.
async fn command(settings: &Settings, step: &StepSpec, place: &Place<'_>) -> Result<Program, Failure> {
    let mut argv = step.argv.clone();
    let program = argv.first().cloned().unwrap_or_default();
    if let (Some(file), Some(first)) = (
        allowed::program(settings, step, place, &program)?,
        argv.first_mut(),
    ) {
        *first = file.to_string_lossy().into_owned();
    }
    let binaries = allowed::binaries(settings, place, &program, &[])?;
    settings
        .versions
        .all_fit(settings, &step.agent, &binaries)
        .await?;
    Ok(Program {
        argv,
        ..Program::default()
    })
}

async fn say_failure(
    step: &StepSpec,
    place: &Place<'_>,
    record: &mut StepRecord,
    secrets: &Secrets,
    log: &mut Log<'_>,
) {
    if let Some(failure) = &mut record.failure {
        failure.message = secrets.redact(&failure.message).0;
        let line = format!("step {}: {}", step.step_id, failure.message);
        log.say(place.position, &line).await;
    }
}

/// The record of a step that is passed over.
pub(super) fn skipped(step: &StepSpec, place: (i16, i16)) -> StepRecord {
    StepRecord {
        skipped: true,
        ..blank(step, place)
    }
}

fn blank(step: &StepSpec, (position, ordinal): (i16, i16)) -> StepRecord {
    let now = clock::now();
    StepRecord {
        ordinal,
        position,
        step_id: step.step_id.clone(),
        agent: step.agent.clone(),
        skipped: false,
        failure: None,
        needs_human: false,
        usage: None,
        verdict: None,
        exit_code: None,
        signal: None,
        started_at: now,
        finished_at: now,
        output_bytes: 0,
        patched: false,
        measured: Measured::default(),
    }
}
