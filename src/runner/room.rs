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
/// `output_limit`, when there is less than the runner leaves free, or no room for a hundredth of the files it may hold.
pub(super) fn check(settings: &Settings, workspace: &Path) -> Result<(), Failure> {
    let least = settings.least_free;
    if let Some(files) = files(workspace).filter(|files| files.few(1)) {
        return Err(Failure::new(
            Code::OutputLimit,
            format!(
                "The disk of the runner's workspaces has room for {} more files of {}: let the step make fewer, or make room on the host.",
                files.free, files.all
            ),
        ));
    }
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

/// Whether there is so little of it, or of files, that the next step may be refused: less than twice what is to be left.
pub(super) fn is_short(settings: &Settings) -> bool {
    let root = &settings.workspaces_root;
    free(root).is_some_and(|free| free < settings.least_free.saturating_mul(2))
        || files(root).is_some_and(|files| files.few(2))
}

/// Waits for what is `running`, and tells `stop` when there is no room any more; answers with how it ended, and with why
/// it was told to.
pub(super) async fn watch<T>(
    settings: &Settings,
    workspace: &Path,
    stop: &CancellationToken,
    running: impl Future<Output = T>,
) -> (T, Option<Failure>) {
    let mut running = std::pin::pin!(running);
    let full = async {
        loop {
            tokio::time::sleep(LOOK).await;
            if let Err(failure) = check(settings, workspace) {
                return failure;
            }
        }
    };
    tokio::select! {
        ended = &mut running => (ended, None),
        failure = full => {
            stop.cancel();
            (running.await, Some(failure))
        }
    }
}

/// How many files a file system may hold.
struct Files {
    free: u64,
    all: u64,
}

impl Files {
    /// Whether fewer than so many hundredths of them are left. Some file systems have no bound, and say 0.
    fn few(&self, hundredths: u64) -> bool {
        self.all > 0 && self.free < self.all / 100 * hundredths
    }
}

fn files(workspace: &Path) -> Option<Files> {
    let system = rustix::fs::statvfs(workspace).ok()?;
    Some(Files {
        free: system.f_favail,
        all: system.f_files,
    })
}

fn free(workspace: &Path) -> Option<u64> {
    let system = rustix::fs::statvfs(workspace).ok()?;
    Some(system.f_bavail.saturating_mul(system.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_few_when_less_than_a_hundredth_is_left_of_them() {
        let few = |free, all, hundredths| Files { free, all }.few(hundredths);
        assert!(few(99, 10_000, 1) && few(199, 10_000, 2));
        assert!(!few(100, 10_000, 1) && !few(0, 0, 1));
    }
}
