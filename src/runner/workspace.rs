//! Where a job's steps run: a directory that is the job's own, made from the project's.
//!
//! ```text
//! WORKSPACES_ROOT/<job>/        the steps' user's alone
//!     work/                     what steps see and write
//!     base/                     a repository of ours: what `work` began as, and what it is compared with
//!     about.json                written last: the workspace is whole
//! ```
//!
//! A repository is cloned, any other directory copied, and nothing of it is shared in a way that could be
//! written. The project may be hostile, and so is `work` once a step has run: git looks at the project only
//! through `upload-pack`, at `work` only through `base`, whose configuration is ours, and always in the sandbox, as
//! the steps' user, without a network.

mod git;
mod source;

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::Settings;
use super::process::Credentials;
use crate::domain::attempt::Failure;
use crate::domain::id::JobId;
use crate::domain::job::Code;
use git::Tool;
use source::Source;

/// What becomes of jobs whose project is no repository.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoRepository {
    /// They work on a copy.
    #[default]
    Copy,
    /// They fail.
    Refuse,
}

/// What a workspace was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Origin {
    /// The project's directory.
    directory: PathBuf,
    /// How it was taken.
    kind: Kind,
    /// The commit it began as; of a copy the commit of ours that holds its files.
    base: String,
}

/// How a workspace was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// The project's directory was empty.
    Empty,
    /// A copy of a directory.
    Copy,
    /// A clone of a repository.
    Clone,
}

/// Finds the workspace of a job as an earlier attempt left it on this host, or makes it from the
/// project's directory; answers with where its steps run.
///
/// # Errors
///
/// `workspace`, with what is wrong with the directory and what to do.
pub(super) async fn open(
    settings: &Settings,
    job: JobId,
    directory: &Path,
    stop: &CancellationToken,
) -> Result<PathBuf, Failure> {
    let home = settings.workspaces_root.join(job.to_string());
    let work = home.join("work");
    if work.is_dir() && is_whole(&home) {
        return Ok(work);
    }
    let source = Source::look(directory, settings.no_repository).await?;
    clear(settings, &home, stop).await?;
    lay(&home, &work, settings.credentials).map_err(|error| cannot_be_made(&home, &error))?;
    let tool = Tool::new(settings, &home, stop).reading(source.directory());
    let (kind, base) = match &source {
        Source::Empty(_) => (Kind::Empty, String::new()),
        Source::Plain(_) => (Kind::Copy, tool.copy().await?),
        Source::Repository(_) => (Kind::Clone, tool.clone().await?),
    };
    let origin = Origin {
        directory: directory.to_owned(),
        kind,
        base,
    };
    write_about(&home, &origin).map_err(|error| cannot_be_made(&home, &error))?;
    Ok(work)
}

fn is_whole(home: &Path) -> bool {
    let about = std::fs::read(home.join("about.json"));
    about.is_ok_and(|about| serde_json::from_slice::<Origin>(&about).is_ok())
}

/// Takes away what is left of a workspace that was not finished.
async fn clear(settings: &Settings, home: &Path, stop: &CancellationToken) -> Result<(), Failure> {
    match std::fs::symlink_metadata(home) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        _ => remove(settings, home, stop)
            .await
            .map_err(|error| cannot_be_made(home, &error)),
    }
}

/// Deletes a workspace with everything in it, whatever a step made of it. No link is followed.
async fn remove(settings: &Settings, home: &Path, stop: &CancellationToken) -> io::Result<()> {
    let quick = home.to_owned();
    let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(quick)).await?;
    match removed {
        // Directories that are closed, or deeper than there may be open files.
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Tool::new(settings, home, stop).empty().await;
            let rest = home.to_owned();
            tokio::task::spawn_blocking(move || std::fs::remove_dir_all(rest)).await?
        }
        _ => Ok(()),
    }
}

fn lay(home: &Path, work: &Path, owner: Option<Credentials>) -> io::Result<()> {
    std::fs::create_dir_all(work)?;
    // Only the user the steps run as looks into a job's workspace.
    std::fs::set_permissions(home, std::fs::Permissions::from_mode(0o700))?;
    let Some(Credentials { uid, gid }) = owner else {
        return Ok(());
    };
    std::os::unix::fs::chown(home, Some(uid), Some(gid))?;
    std::os::unix::fs::chown(work, Some(uid), Some(gid))
}

fn write_about(home: &Path, origin: &Origin) -> io::Result<()> {
    let (half, whole) = (home.join("about.json.new"), home.join("about.json"));
    std::fs::write(&half, serde_json::to_vec(origin)?)?;
    std::fs::rename(half, whole)
}

fn cannot_be_made(home: &Path, error: &io::Error) -> Failure {
    let path = home.display();
    Failure::new(
        Code::Workspace,
        format!("{path} could not be made: {error}; check WORKSPACES_ROOT and its owner"),
    )
}
