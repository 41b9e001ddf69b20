//! What steps changed, as a patch against what the workspace began as.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use tokio::sync::mpsc;

use super::super::Settings;
use super::super::process::{Bound, Chunk};
use super::git::Tool;
use super::list::Listed;
use super::source::beneath;
use super::{Kind, Origin, Workspace};
use crate::domain::attempt::Failure;
use crate::domain::job::Code;

/// Most bytes of a file of ours that is read whole.
const OURS: u64 = 64 * 1024;

/// A patch in a file.
#[derive(Debug)]
pub(in crate::runner) struct Patch {
    home: PathBuf,
    /// Its length in bytes; nothing is different when it is 0.
    pub(in crate::runner) size: u64,
    /// Files that could not be read and so are not in it.
    pub(in crate::runner) left_out: Vec<String>,
}

impl Patch {
    /// Opens it.
    ///
    /// # Errors
    ///
    /// When it is gone, or is no plain file any more.
    pub(in crate::runner) fn open(&self) -> io::Result<File> {
        open(&self.home, "patch.diff")
    }
}

/// What is in a file of ours, reached through no link. A step that can write there may have made it larger than any of ours.
pub(super) fn read(home: &Path, name: &str) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut read = Vec::new();
    open(home, name)?.take(OURS + 1).read_to_end(&mut read)?;
    match read.len() as u64 <= OURS {
        true => Ok(read),
        false => Err(io::Error::other(format!("{name} is larger than we make it"))),
    }
}

fn open(home: &Path, name: &str) -> io::Result<File> {
    let root = rustix::fs::open(home, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let file = beneath(root.as_fd(), Path::new(name), OFlags::RDONLY | OFlags::NONBLOCK)?;
    let mode = rustix::fs::fstat(&file)?.st_mode;
    match FileType::from_raw_mode(mode) {
        FileType::RegularFile => Ok(File::from(file)),
        _ => Err(io::Error::other(format!("{name} is no plain file"))),
    }
}

impl Workspace {
    /// Everything that is different from what the workspace began as: edited, new, deleted, renamed, made
    /// executable, binary, committed or not. `None` when nothing ever was.
    ///
    /// # Errors
    ///
    /// `output_limit`, when it is larger than what is kept of a step, or the disk has no room for it; `workspace`, when git
    /// cannot tell.
    pub(in crate::runner) async fn patch(
        &self,
        settings: &Settings,
        bound: &Bound,
    ) -> Result<Option<Patch>, Failure> {
        let Some(origin) = self.origin() else {
            return Ok(None);
        };
        if origin.kind == Kind::Empty && !self.home.join("base").exists() && is_empty(&self.work) {
            return Ok(None);
        }
        let tool = Tool::new(settings, &self.home, bound).bare(self.bare);
        let left_out = match self.snapshot(&tool, origin).await {
            Ok(left_out) => left_out,
            Err(failure) => {
                // As much of it as there was room for.
                let _ = std::fs::remove_file(self.home.join("patch.new"));
                return Err(failure);
            }
        };
        let size = match open(&self.home, "patch.diff") {
            Ok(file) => file.metadata().map_err(|error| unreadable(&error))?.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(&error)),
        };
        Ok(Some(Patch {
            home: self.home.clone(),
            size,
            left_out,
        }))
    }

    /// Prints the changes that were taken last to `output`, with every file as if it were text, to be searched.
    ///
    /// # Errors
    ///
    /// `workspace`, when git cannot tell.
    pub(in crate::runner) async fn patch_as_text(
        &self,
        settings: &Settings,
        output: mpsc::Sender<Chunk>,
        bound: &Bound,
    ) -> Result<(), Failure> {
        let Some(origin) = self.origin() else {
            return Ok(());
        };
        let tool = Tool::new(settings, &self.home, bound).bare(self.bare);
        tool.text(&origin.base, output).await
    }

    /// Takes the state as it is now; answers with what cannot be taken.
    async fn snapshot(&self, tool: &Tool<'_>, origin: &Origin) -> Result<Vec<String>, Failure> {
        let listed = tool.list().await?;
        let work = self.work.clone();
        let sorted = tokio::task::spawn_blocking(move || Listed::sort(&work, &listed)).await;
        let sorted = sorted
            .map_err(io::Error::other)
            .and_then(|sorted| sorted)
            .map_err(|error| unreadable(&error))?;
        if let Some((name, bytes)) = &sorted.too_large {
            return Err(too_large(name, *bytes));
        }
        // What was taken last may not have been compared, because that failed or somebody was ended meanwhile.
        let due = self.home.join("patch.due").symlink_metadata().is_ok();
        if due || !sorted.is_empty() {
            let gone = sorted.gone.len();
            let paths = [sorted.gone, sorted.taken].concat();
            tool.snapshot(&origin.base, gone, paths).await?;
        }
        Ok(sorted.left_out)
    }

    /// Brings a patch against what the workspace began as into it, on top of what is there.
    ///
    /// # Errors
    ///
    /// `patch_apply_failed`, with the files both changed; nothing is changed then. `workspace`, when it
    /// could not be tried.
    pub(in crate::runner) async fn apply(
        &self,
        settings: &Settings,
        patch: Vec<u8>,
        bound: &Bound,
    ) -> Result<(), Failure> {
        let Some(origin) = self.origin() else {
            return Ok(());
        };
        let tool = Tool::new(settings, &self.home, bound).bare(self.bare);
        self.snapshot(&tool, origin).await?;
        tool.apply(&origin.base, patch).await
    }
}

fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none())
}

fn too_large(name: &str, bytes: u64) -> Failure {
    let shown: String = name.chars().take(200).collect();
    let megabytes = bytes / 1_000_000;
    Failure::new(
        Code::OutputLimit,
        format!(
            "The step left {shown:?} with {megabytes} MB, and git compares no file of more than 1072: let the step make it smaller, or let .gitignore name it."
        ),
    )
}

fn unreadable(error: &io::Error) -> Failure {
    Failure::new(
        Code::Workspace,
        format!("What the step changed could not be read: {error}."),
    )
}
