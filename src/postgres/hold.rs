//! One process at a time has a data directory.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::{Error, LOOK, during};

/// How long the server of a process that was killed may take to end.
const END_WITHIN: Duration = Duration::from_secs(60);

/// A directory that this process has, until this is dropped and the server in it has ended.
///
/// It is a lock on a file, which the server's guardian shares: it falls when both are gone.
#[derive(Debug)]
pub struct Hold {
    directory: PathBuf,
    lock: File,
}

impl Hold {
    /// Takes the directory. When the process that had it was killed, waits for its server to end.
    ///
    /// # Errors
    ///
    /// [`Error::Held`] when another process has it; [`Error::System`] when it cannot be written.
    pub fn take(directory: &Path) -> Result<Self, Error> {
        let file = directory.join("lock");
        let what = || format!("cannot lock {}", file.display());
        let mut options = OpenOptions::new();
        options
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o644);
        let mut lock = during(what, options.open(&file))?;
        let began = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => return during(what, Err(error)),
                Err(TryLockError::WouldBlock) => {
                    let holder = fs::read_to_string(&file).unwrap_or_default().trim().to_owned();
                    if is_alive(&holder) || began.elapsed() > END_WITHIN {
                        return Err(Error::Held {
                            directory: directory.to_owned(),
                            holder,
                        });
                    }
                    std::thread::sleep(LOOK);
                }
            }
        }
        let mut sign = || {
            lock.set_len(0)?;
            writeln!(lock, "{}", std::process::id())
        };
        during(what, sign())?;
        Ok(Self {
            directory: directory.to_owned(),
            lock,
        })
    }

    /// What is held.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The same lock, for a process that shares it.
    pub(super) fn share(&self) -> Result<File, Error> {
        during(|| "cannot share the lock".to_owned(), self.lock.try_clone())
    }
}

/// Whether a process has this id. A file that is just being signed has none: its holder lives.
fn is_alive(pid: &str) -> bool {
    pid.parse()
        .map_or(true, |pid| kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH))
}
