//! Where a job's steps run: one directory, the job's own.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::process::Credentials;
use crate::domain::attempt::Failure;
use crate::domain::id::JobId;
use crate::domain::job::Code;

/// Makes `ROOT/<job>/work`, or finds it when another attempt made it.
///
/// # Errors
///
/// `workspace`, with the path and the cause.
pub(super) fn prepare(root: &Path, job: JobId, owner: Option<Credentials>) -> Result<PathBuf, Failure> {
    let home = root.join(job.to_string());
    let work = home.join("work");
    let made = std::fs::create_dir_all(&work)
        // Only the user the steps run as looks into a job's workspace.
        .and_then(|()| std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o700)))
        .and_then(|()| {
            owner.map_or(Ok(()), |owner| {
                give(&home, owner).and_then(|()| give(&work, owner))
            })
        });
    made.map(|()| work).map_err(|error| {
        let path = home.display();
        Failure::new(
            Code::Workspace,
            format!("{path} could not be made: {error}; check WORKSPACES_ROOT and its owner"),
        )
    })
}

fn give(path: &Path, owner: Credentials) -> std::io::Result<()> {
    std::os::unix::fs::chown(path, Some(owner.uid), Some(owner.gid))
}
