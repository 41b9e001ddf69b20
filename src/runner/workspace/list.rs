//! What git lists as changed, sorted into what is gone, what is to be taken and what cannot be.

use std::ffi::OsStr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, FileType, Mode, OFlags, Stat};

use super::source::beneath;

/// Whether its owner may read a file.
const OWNER_READS: u32 = 0o400;

/// Bytes of the largest file that git compares: <https://github.com/git/git/blob/v2.30.0/xdiff-interface.h#L11>.
const LARGEST: u64 = 1023 * 1024 * 1024;

/// Paths of a workspace, each ended by NUL.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) gone: Vec<u8>,
    pub(super) taken: Vec<u8>,
    /// What cannot be read, as people read names.
    pub(super) left_out: Vec<String>,
    /// What is larger than git compares, with its bytes.
    pub(super) too_large: Option<(String, u64)>,
}

impl Listed {
    /// Sorts what git listed in `work`. Of a repository within it the files are taken, and not its history.
    pub(super) fn sort(work: &Path, listed: &[u8]) -> std::io::Result<Self> {
        let root = rustix::fs::open(work, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let mut sorted = Self::default();
        for path in listed.split(|byte| *byte == 0).filter(|path| !path.is_empty()) {
            match path.strip_suffix(b"/") {
                Some(directory) => sorted.walk(&root, directory),
                None => sorted.one(&root, path),
            }
        }
        Ok(sorted)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.taken.is_empty()
    }

    fn one(&mut self, root: &OwnedFd, path: &[u8]) {
        let to = match look(root.as_fd(), path) {
            Some((FileType::RegularFile, found)) if found.st_mode & OWNER_READS == 0 => {
                self.left_out.push(String::from_utf8_lossy(path).into_owned());
                return;
            }
            Some((FileType::RegularFile, found)) if found.st_size.unsigned_abs() > LARGEST => {
                let name = String::from_utf8_lossy(path).into_owned();
                self.too_large.get_or_insert((name, found.st_size.unsigned_abs()));
                return;
            }
            Some((FileType::RegularFile | FileType::Symlink, _)) => &mut self.taken,
            // A submodule's new commit.
            Some((FileType::Directory, _)) if look(root.as_fd(), &[path, b"/.git"].concat()).is_some() => {
                &mut self.taken
            }
            _ => &mut self.gone,
        };
        to.extend_from_slice(path);
        to.push(0);
    }

    fn walk(&mut self, root: &OwnedFd, directory: &[u8]) {
        let mut directories = vec![PathBuf::from(OsStr::from_bytes(directory))];
        while let Some(directory) = directories.pop() {
            let opened = beneath(root.as_fd(), &directory, OFlags::RDONLY | OFlags::DIRECTORY);
            let Ok(entries) = opened.and_then(|opened| Ok(Dir::read_from(opened)?)) else {
                self.left_out.push(directory.to_string_lossy().into_owned());
                continue;
            };
            for entry in entries.filter_map(Result::ok) {
                let name = entry.file_name().to_bytes();
                if matches!(name, b"." | b".." | b".git") {
                    continue;
                }
                let path = directory.join(OsStr::from_bytes(name));
                match entry.file_type() {
                    FileType::Directory => directories.push(path),
                    FileType::RegularFile | FileType::Symlink => self.one(root, path.as_os_str().as_bytes()),
                    _ => {}
                }
            }
        }
    }
}

/// What a path is, reached through no link.
fn look(root: BorrowedFd<'_>, path: &[u8]) -> Option<(FileType, Stat)> {
    let opened = beneath(root, Path::new(OsStr::from_bytes(path)), OFlags::PATH).ok()?;
    let found = rustix::fs::fstat(opened).ok()?;
    Some((FileType::from_raw_mode(found.st_mode), found))
}
