//! What a program may use, held by the kernel: for the step where there is a control group, for each
//! process where there is none.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

/// Most files a process may have open, unless the runner's own limit is lower.
const OPEN_FILES: u64 = 16 * 1024;

/// What a program may use; `None` is as much as the runner itself. Core dumps are never written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of memory: of all its processes together in a control group, else what each may write to.
    pub memory_bytes: Option<u64>,
    /// Seconds of processor time of one process.
    pub cpu_seconds: Option<u64>,
    /// Bytes of the largest file it may write.
    pub file_bytes: Option<u64>,
    /// Processes and threads it may have, where there is a control group.
    pub processes: Option<u64>,
    /// Elsewhere, processes and threads its user may have, all of that user's together: what the kernel
    /// counts. Binds everybody but root.
    pub user_processes: Option<u64>,
}

impl Limits {
    /// Imposes them on this process and what it becomes.
    pub(super) fn impose(&self) -> nix::Result<()> {
        lower(Resource::RLIMIT_CORE, 0)?;
        lower(Resource::RLIMIT_NOFILE, OPEN_FILES)?;
        let limits = [
            // Not the address space: many runtimes reserve far more of it than they use.
            (Resource::RLIMIT_DATA, self.memory_bytes),
            (Resource::RLIMIT_CPU, self.cpu_seconds),
            (Resource::RLIMIT_FSIZE, self.file_bytes),
            (Resource::RLIMIT_NPROC, self.user_processes),
        ];
        limits
            .into_iter()
            .filter_map(|(resource, limit)| Some((resource, limit?)))
            .try_for_each(|(resource, limit)| lower(resource, limit))
    }
}

/// Lowers a limit to `to`, for good; one that is lower already stays.
fn lower(resource: Resource, to: u64) -> nix::Result<()> {
    let (_, hard) = getrlimit(resource)?;
    let to = to.min(hard);
    setrlimit(resource, to, to)
}

/// Processes and threads of the user `uid` now.
#[must_use]
pub fn processes_of(uid: u32) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return 0;
    };
    processes
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.metadata().is_ok_and(|found| found.uid() == uid))
        .filter_map(|path| std::fs::read_dir(path.join("task")).ok())
        .map(|threads| threads.count() as u64)
        .sum()
}
