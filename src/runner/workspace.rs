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
mod list;
mod patch;
mod source;

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr};

use super::Settings;
use super::process::{self, Bound, Credentials};
use crate::domain::attempt::Failure;
use crate::domain::id::JobId;
use crate::domain::job::Code;
use git::Tool;
use source::Source;

pub(super) use patch::Patch;

/// What becomes of jobs whose project is no repository.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoRepository {
    /// They work on a copy.
    #[default]
    Copy,
    /// They fail.
    Refuse,
}

/// What a workspace was made from, so that the same can be made again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origin {
    /// How it was taken.
    pub(super) kind: Kind,
    /// The commit it began as; of a copy the commit of ours that holds its files.
    pub(super) base: String,
}

impl Origin {
    /// As it was noted; `None` when this version does not know the kind.
    pub(super) fn read(kind: &str, base: &str) -> Option<Self> {
        Some(Self {
            kind: kind.parse().ok()?,
            base: base.to_owned(),
        })
    }
}

/// How a workspace was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, EnumString, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub(super) enum Kind {
    /// The project's directory was empty.
    Empty,
    /// A copy of a directory.
    Copy,
    /// A clone of a repository.
    Clone,
}

/// The workspace of one job.
#[derive(Clone, Debug)]
pub(super) struct Workspace {
    home: PathBuf,
    work: PathBuf,
    origin: Option<Origin>,
    /// Whether an administrator has turned the sandbox off.
    bare: bool,
}

impl Workspace {
    /// That of a job whose steps need none.
    pub(super) fn none() -> Self {
        Self {
            home: PathBuf::new(),
            work: PathBuf::new(),
            origin: None,
            bare: false,
        }
    }

    /// Where steps run.
    pub(super) fn path(&self) -> &Path {
        &self.work
    }

    /// What it was made from; `None` when the job has none.
    pub(super) fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// The workspace of a job as an earlier attempt left it on this host.
    pub(super) fn found(root: &Path, job: JobId, bare: bool) -> Option<Self> {
        let home = root.join(job.to_string());
        let about = patch::read(&home, "about.json").ok()?;
        let work = home.join("work");
        work.is_dir().then_some(())?;
        Some(Self {
            work,
            home,
            origin: Some(serde_json::from_slice(&about).ok()?),
            bare,
        })
    }

    /// Says that it is whole: from now on it is found.
    ///
    /// # Errors
    ///
    /// `workspace`, when that cannot be written.
    pub(super) fn seal(&self) -> Result<(), Failure> {
        match &self.origin {
            Some(origin) => {
                write_about(&self.home, origin).map_err(|error| cannot_be_made(&self.home, &error))
            }
            None => Ok(()),
        }
    }

    /// Makes the workspace of a job from its project's directory; when it was made before, from the
    /// same commit as then. It is to be sealed when everything is in it.
    ///
    /// # Errors
    ///
    /// `workspace`, with what is wrong with the directory and what to do.
    pub(super) async fn make(
        settings: &Settings,
        job: JobId,
        directory: &Path,
        before: Option<&Origin>,
        bare: bool,
        bound: &Bound,
    ) -> Result<Self, Failure> {
        let source = Source::look(directory, settings.no_repository).await?;
        let home = settings.workspaces_root.join(job.to_string());
        // Whoever was frozen for longer than its lease meets the workspace of the next attempt here.
        if bound.lease.as_ref().is_some_and(process::is_over) {
            let error = io::Error::other("the lease passed before it could be made");
            return Err(cannot_be_made(&home, &error));
        }
        clear(settings, &home, bound).await?;
        let work = home.join("work");
        lay(&home, &work, settings.credentials).map_err(|error| cannot_be_made(&home, &error))?;
        let tool = Tool::new(settings, &home, bound)
            .bare(bare)
            .reading(source.directory());
        let (kind, base) = match &source {
            Source::Empty(_) => (Kind::Empty, String::new()),
            Source::Plain(_) => (Kind::Copy, tool.copy().await?),
            Source::Repository(_) => {
                let commit = before
                    .filter(|before| before.kind == Kind::Clone)
                    .map(|before| before.base.as_str());
                (Kind::Clone, tool.clone(commit.unwrap_or("HEAD")).await?)
            }
        };
        let origin = Origin { kind, base };
        if before.is_some_and(|before| *before != origin) {
            return Err(not_as_before(directory));
        }
        Ok(Self {
            home,
            work,
            origin: Some(origin),
            bare,
        })
    }
}

/// A workspace that is gone is made again only from what it was made from.
fn not_as_before(directory: &Path) -> Failure {
    Failure::new(
        Code::Workspace,
        format!(
            "The job's workspace is gone and cannot be made again: {} is not what it was when the job began. Submit the job again.",
            directory.display()
        ),
    )
}

/// Takes away what is left of a workspace that was not finished.
async fn clear(settings: &Settings, home: &Path, bound: &Bound) -> Result<(), Failure> {
    match std::fs::symlink_metadata(home) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        _ => remove(settings, home, bound)
            .await
            .map_err(|error| cannot_be_made(home, &error)),
    }
}

/// Deletes a workspace with everything in it, whatever a step made of it. No link is followed.
pub(super) async fn remove(settings: &Settings, home: &Path, bound: &Bound) -> io::Result<()> {
    let quick = home.to_owned();
    let removed = tokio::task::spawn_blocking(move || removed(quick)).await?;
    match removed {
        // Directories that are closed, or deeper than there may be open files.
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Tool::new(settings, home, bound).empty().await;
            let rest = home.to_owned();
            tokio::task::spawn_blocking(move || self::removed(rest)).await?
        }
        _ => Ok(()),
    }
}

/// Stack for the removal of a tree: the library takes less than 200 bytes of it, and an open file, for each directory in
/// another, and a step may make as many as it likes. Only what is used of it is taken.
const STACK: usize = 512 * 1024 * 1024;

fn removed(tree: PathBuf) -> io::Result<()> {
    let thread = std::thread::Builder::new().stack_size(STACK);
    let thread = thread.spawn(move || std::fs::remove_dir_all(tree))?;
    thread
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the removal panicked")))
}

fn lay(home: &Path, work: &Path, owner: Option<Credentials>) -> io::Result<()> {
    std::fs::create_dir_all(work)?;
    // Only the user the steps run as looks into a job's workspace.
    std::fs::set_permissions(home, std::fs::Permissions::from_mode(0o700))?;
    let Some(Credentials { uid, gid }) = owner else {
        return Ok(());
    };
    // From within, so that nobody else can have put a link there.
    std::os::unix::fs::chown(work, Some(uid), Some(gid))?;
    std::os::unix::fs::chown(home, Some(uid), Some(gid))
}

/// Written through no link, whoever owns the directory by now.
fn write_about(home: &Path, origin: &Origin) -> io::Result<()> {
    let home = rustix::fs::open(
        home,
        OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&home, "about.json.new", flags, Mode::from_raw_mode(0o644))?;
    io::Write::write_all(&mut std::fs::File::from(file), &serde_json::to_vec(origin)?)?;
    Ok(rustix::fs::renameat(
        &home,
        "about.json.new",
        &home,
        "about.json",
    )?)
}

fn cannot_be_made(home: &Path, error: &io::Error) -> Failure {
    let path = home.display();
    Failure::new(
        Code::Workspace,
        format!("{path} could not be made: {error}; check WORKSPACES_ROOT and its owner"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_removed_however_deep_it_is() {
        let scratch = tempfile::tempdir().unwrap();
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let tree = scratch.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        let mut at = rustix::fs::open(&tree, flags, Mode::empty()).unwrap();
        // What overflows the stack of the runtime's threads.
        for _ in 0..18_000 {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
            at = rustix::fs::openat(&at, "d", flags, Mode::empty()).unwrap();
        }
        drop(at);
        match removed(tree.clone()) {
            Ok(()) => assert!(!tree.exists()),
            // As deep as there may be open files: others remove it then.
            Err(error) => assert_eq!(error.raw_os_error(), Some(nix::errno::Errno::EMFILE as i32)),
        }
    }
}
