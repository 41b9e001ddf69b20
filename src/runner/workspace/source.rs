//! A look at a project's directory before anything is made of it: what it is, and whether it leads elsewhere.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use super::NoRepository;
use crate::domain::attempt::Failure;
use crate::domain::job::Code;

/// What a project's directory is.
pub(super) enum Source {
    /// Nothing is in it.
    Empty(PathBuf),
    /// Files, and no repository.
    Plain(PathBuf),
    /// A repository.
    Repository(PathBuf),
}

impl Source {
    /// Looks at `directory` without following a link out of it.
    ///
    /// # Errors
    ///
    /// `workspace`, when it is missing, cannot be read or leads out of itself.
    pub(super) async fn look(directory: &Path, no_repository: NoRepository) -> Result<Self, Failure> {
        let looked = directory.to_owned();
        let look = move || look(&looked, no_repository);
        let looked = tokio::task::spawn_blocking(look).await;
        looked.unwrap_or_else(|error| Err(refused(directory, &error.to_string())))
    }

    pub(super) fn directory(&self) -> &Path {
        let (Self::Empty(directory) | Self::Plain(directory) | Self::Repository(directory)) = self;
        directory
    }
}

fn look(directory: &Path, no_repository: NoRepository) -> Result<Source, Failure> {
    let root =
        rustix::fs::open(directory, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| {
            match errno {
                Errno::NOENT => refused(
                    directory,
                    "is not there; make it on the runner's host, or point the project elsewhere",
                ),
                Errno::NOTDIR => refused(directory, "is no directory; point the project at one"),
                errno => refused(
                    directory,
                    &format!("cannot be read: {errno}; let the steps' user read it"),
                ),
            }
        })?;
    if !kind_of(&root, ".git").is_some_and(|kind| kind != FileType::Directory) {
        return match is_repository(&root) {
            true => stays_within(directory, &root).map(|()| Source::Repository(directory.to_owned())),
            false => plain(directory, &root, no_repository),
        };
    }
    Err(refused(
        directory,
        "holds a .git that is no directory: its history is elsewhere, as a linked worktree's or a submodule's is; point the project at the repository itself",
    ))
}

/// A repository with its files, or a bare one.
fn is_repository(root: &OwnedFd) -> bool {
    let is = |name, kind| kind_of(root, name) == Some(kind);
    is(".git", FileType::Directory)
        || (is("HEAD", FileType::RegularFile)
            && is("objects", FileType::Directory)
            && is("refs", FileType::Directory))
}

/// Refuses repositories that take objects or references from elsewhere.
fn stays_within(directory: &Path, root: &OwnedFd) -> Result<(), Failure> {
    let git = match kind_of(root, ".git") {
        Some(_) => ".git/",
        None => "",
    };
    let borrows = ["objects/info/alternates", "commondir"]
        .into_iter()
        .find(|name| kind_of(root, &format!("{git}{name}")).is_some());
    match borrows {
        None => Ok(()),
        Some(name) => Err(refused(
            directory,
            &format!(
                "is no repository of its own: {git}{name} names another; make it one (`git repack -a -d`, then delete that file)"
            ),
        )),
    }
}

fn plain(directory: &Path, root: &OwnedFd, no_repository: NoRepository) -> Result<Source, Failure> {
    let mut entries =
        Dir::read_from(root).map_err(|errno| refused(directory, &format!("cannot be read: {errno}")))?;
    let is_empty = entries
        .by_ref()
        .filter_map(Result::ok)
        .all(|entry| matches!(entry.file_name().to_bytes(), b"." | b".."));
    if is_empty {
        return Ok(Source::Empty(directory.to_owned()));
    }
    if no_repository == NoRepository::Refuse {
        return Err(refused(
            directory,
            "is no repository, and NON_GIT_WORKDIR_STATUS is failed; run `git init` there and commit, or set it to success",
        ));
    }
    match link_out(root) {
        Ok(None) => Ok(Source::Plain(directory.to_owned())),
        Ok(Some(link)) => Err(refused(
            directory,
            &format!(
                "holds a symbolic link that leads out of it: {}; remove the link, or make it a relative one within",
                link.display()
            ),
        )),
        Err(error) => Err(refused(
            directory,
            &format!("cannot be read: {error}; let the steps' user read it"),
        )),
    }
}

/// The first symbolic link below `root` that leads out of it, also by way of other links.
fn link_out(root: &OwnedFd) -> io::Result<Option<PathBuf>> {
    let mut directories = vec![PathBuf::from(".")];
    while let Some(directory) = directories.pop() {
        let opened = beneath(root.as_fd(), &directory, OFlags::RDONLY | OFlags::DIRECTORY)?;
        for entry in Dir::read_from(&opened)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let path = directory.join(std::ffi::OsStr::from_bytes(name.to_bytes()));
            match entry.file_type() {
                FileType::Directory => directories.push(path),
                FileType::Symlink if leads_out(root.as_fd(), &path) => return Ok(Some(path)),
                FileType::Unknown => {
                    return Err(io::Error::other(
                        "a file system that does not tell links from files",
                    ));
                }
                _ => {}
            }
        }
    }
    Ok(None)
}

fn leads_out(root: BorrowedFd<'_>, link: &Path) -> bool {
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    loop {
        match openat2(root, link, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), within) {
            // Something was renamed meanwhile, so that the kernel is not sure.
            Err(Errno::AGAIN) => {}
            ended => return matches!(ended, Err(Errno::XDEV)),
        }
    }
}

/// Opens what is below `root`, through no link at all.
pub(super) fn beneath(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(openat2(
        root,
        path,
        flags | OFlags::CLOEXEC | OFlags::NOFOLLOW,
        Mode::empty(),
        within,
    )?)
}

/// What `path` below `root` is; `None` when nothing is there that can be reached without a link.
fn kind_of(root: &OwnedFd, path: &str) -> Option<FileType> {
    let opened = beneath(root.as_fd(), Path::new(path), OFlags::PATH);
    match opened {
        Ok(opened) => Some(FileType::from_raw_mode(rustix::fs::fstat(opened).ok()?.st_mode)),
        Err(_) => None,
    }
}

fn refused(directory: &Path, why: &str) -> Failure {
    Failure::new(
        Code::Workspace,
        format!("The project's directory {} {why}.", directory.display()),
    )
}
