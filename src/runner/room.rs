//! Room on the disk of workspaces: a step that takes the last of it is ended, and what ended jobs left makes room.

use std::path::Path;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Settings;
use crate::domain::attempt::Failure;
use crate::domain::job::Code;

/// Time between two looks: a disk takes longer to be filled.
const LOOK: Duration = Duration::from_millis(250);

/// Checks that there is room.
///
/// # Errors
///
/// `output_limit`, when there is less than the runner leaves free.
pub(super) fn check(settings: &Settings, workspace: &Path) -> Result<(), Failure> {
    let least = settings.least_free;
    match free(workspace) {
        Some(free) if free < least => Err(Failure::new(
            Code::OutputLimit,
            format!(
                "The disk of the runner's workspaces has {} MB free, and {} are the least it is to have: let the step write less, make room on the host, or lower WORKSPACES_MIN_FREE_MB.",
                free / 1_000_000,
                least / 1_000_000
            ),
        )),
        _ => Ok(()),
    }
}

/// Whether there is so little of it that the next step may be refused: less than twice what the runner leaves free.
pub(super) fn is_short(settings: &Settings) -> bool {
    free(&settings.workspaces_root).is_some_and(|free| free < settings.least_free.saturating_mul(2))
}

/// Watches while a step runs, and tells `stop` when there is no room any more; answers with why. Is dropped when the
/// step has ended.
pub(super) async fn watch(settings: &Settings, workspace: &Path, stop: &CancellationToken) -> Failure {
    loop {
        tokio::time::sleep(LOOK).await;
        if let Err(failure) = check(settings, workspace) {
            stop.cancel();
            return failure;
        }
    }
}

fn free(workspace: &Path) -> Option<u64> {
    let system = rustix::fs::statvfs(workspace).ok()?;
    Some(system.f_bavail.saturating_mul(system.f_frsize))
}
