//! Patches of earlier steps that a step builds on.

use super::Place;
use super::patiently::patiently;
use crate::app::lease::{Session, key};
use crate::domain::attempt::Failure;
use crate::domain::job::Code;
use crate::domain::spec::{StepSpec, patch_source};
use crate::runner::Settings;
use crate::runner::held::Brake;
use crate::runner::logs::Log;

/// Brings the patches the step names into the workspace, in order, on top of what is there.
///
/// # Errors
///
/// `missing_patch`, when a step that is named left none; `patch_apply_failed`, when one and the workspace changed the
/// same lines.
pub(super) async fn apply(
    settings: &Settings,
    session: &Session,
    step: &StepSpec,
    place: &Place<'_>,
    log: &mut Log<'_>,
    brake: &Brake,
) -> Result<(), Failure> {
    if step.apply_patches_from.is_empty() {
        return Ok(());
    }
    let job = place.job.fence.job;
    let told = patiently(brake, || session.told(job)).await?;
    let last = told.iter().rfind(|told| told.status == "succeeded");
    let handoff = place.spec.artifact_handoff.unwrap_or(settings.handoff);
    let (_, patches) = handoff.resolve(step, last.map(|told| told.step_id.as_str()));
    for named in &patches {
        let from = patch_source(named).unwrap_or(named);
        let path = format!("steps/{from}/patch.diff");
        let Some(artifact) = patiently(brake, || session.artifact(job, &path)).await? else {
            if told
                .iter()
                .any(|told| told.step_id == from && told.status == "succeeded")
            {
                log.say(
                    place.position,
                    &format!("step {from} changed nothing: there is no patch to apply"),
                )
                .await;
                continue;
            }
            return Err(missing(from));
        };
        let patch = settings
            .objects
            .read(&key(job, &path), artifact.size.unsigned_abs())
            .await;
        let patch = patch
            .map_err(|error| unreadable(&path, &error))?
            .ok_or_else(|| missing(from))?;
        place.workspace.apply(settings, patch, &brake.bound()).await?;
        log.say(place.position, &format!("applied the patch of step {from}"))
            .await;
    }
    Ok(())
}

fn missing(step_id: &str) -> Failure {
    let sentence = format!(
        "Step {step_id:?} left no patch to build on: it has not succeeded before this step, or what it left is past its time. Put it before this one, or leave it out of apply_patches_from."
    );
    Failure::new(Code::MissingPatch, sentence)
}

fn unreadable(path: &str, error: &std::io::Error) -> Failure {
    let sentence = format!(
        "The artifact {path} cannot be read: {error}. See to where artifacts are kept, and retry the job."
    );
    Failure::new(Code::Artifacts, sentence)
}
