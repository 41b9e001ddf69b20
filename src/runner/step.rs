//! One step: what is done for it, its output in the log, its end as a record.

mod agent;
mod failure;
mod inputs;
mod program;

use std::path::Path;
use std::time::Duration;

use self::agent::Asking;
use self::program::Program;
use super::Settings;
use super::held::Brake;
use super::logs::Log;
use crate::app::lease::Session;
use crate::domain::attempt::{Failure, Measured, StepRecord};
use crate::domain::clock;
use crate::domain::job::Code;
use crate::domain::spec::{JobSpec, StepSpec};
use crate::store::claim::Claimed;

/// Which step of which job, and where.
pub(super) struct Place<'a> {
    pub(super) job: &'a Claimed,
    pub(super) spec: &'a JobSpec,
    pub(super) position: i16,
    pub(super) ordinal: i16,
    pub(super) workspace: &'a Path,
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
    let mut secrets = settings.sensitive.of_step(&step.env);
    log.begin(secrets.clone());
    let mut record = blank(step, (place.position, place.ordinal));
    record.failure = patches(step);
    match step.agent.as_str() {
        _ if record.failure.is_some() => {}
        "noop" => {}
        "command" => {
            let program = Program {
                argv: step.argv.clone(),
                ..Program::default()
            };
            program::run(settings, step, place, program, &mut record, log, brake, None).await;
        }
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

/// What the step builds on and is not there: no step leaves a patch in this version.
fn patches(step: &StepSpec) -> Option<Failure> {
    let patch = step.apply_patches_from.first()?;
    let sentence = format!(
        "The patch {patch:?} is not there: steps leave no patches in this version. They share one workspace, so \
         drop apply_patches_from, or name what the step is to know in input_artifacts."
    );
    Some(Failure::new(Code::MissingPatch, sentence))
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
        measured: Measured::default(),
    }
}
