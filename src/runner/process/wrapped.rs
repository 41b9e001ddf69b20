//! A program within bubblewrap: how it is told what to do, and how it says whether it came to it.

use std::ffi::CString;
use std::io::{self, PipeReader, PipeWriter, Seek as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;

use nix::errno::Errno;
use rustix::fs::MemfdFlags;
use rustix::io::FdFlags;

use super::fork::Words;
use super::wire::Order;
use super::{Wrapper, fork};

/// Most bytes of what bubblewrap says of itself: two short lines.
const STATUS: usize = 4096;

/// What bubblewrap says of itself, read by the keeper.
pub(super) struct Status {
    says: PipeWriter,
    hears: PipeReader,
}

impl Status {
    pub(super) fn new() -> io::Result<Self> {
        let (hears, says) = io::pipe()?;
        Ok(Self { says, hears })
    }

    /// Whether the program was executed, once it is over: bubblewrap names its exit code only then.
    pub(super) fn executed(self) -> bool {
        drop(self.says);
        let mut said = vec![0; STATUS];
        // Everybody who could write is gone, so that this ends.
        let mut length = 0;
        while let Ok(more) = rustix::io::read(&self.hears, &mut said[length..])
            && more > 0
        {
            length += more;
        }
        String::from_utf8_lossy(&said[..length]).contains("\"exit-code\"")
    }
}

/// bubblewrap, ready to be executed.
///
/// It gets an empty environment of its own, or a step could load a library of its choice into it; the
/// step's goes through a descriptor, where no list of processes shows it.
pub(super) struct Image<'a> {
    program: CString,
    arguments: Words,
    environment: Words,
    status: &'a Status,
    _kept: [std::fs::File; 2],
}

impl<'a> Image<'a> {
    pub(super) fn of(order: &Order, wrapper: &Wrapper, status: &'a Status) -> io::Result<Self> {
        let filter = inherited(&wrapper.seccomp)?;
        let mut options = wrapper.arguments.clone();
        for (name, value) in &order.env {
            options.extend(["--setenv".to_owned(), name.clone(), value.clone()]);
        }
        let (filter_fd, status_fd) = (
            filter.as_raw_fd().to_string(),
            status.says.as_raw_fd().to_string(),
        );
        options.extend([
            "--seccomp".to_owned(),
            filter_fd,
            "--json-status-fd".to_owned(),
            status_fd,
        ]);
        let options: String = options
            .iter()
            .flat_map(|option| [option.as_str(), "\0"])
            .collect();
        let options = inherited(options.as_bytes())?;
        let mut arguments = vec![
            c"bwrap".to_owned(),
            c"--args".to_owned(),
            CString::new(options.as_raw_fd().to_string())?,
            c"--".to_owned(),
        ];
        for word in &order.argv {
            arguments.push(CString::new(word.as_str())?);
        }
        Ok(Self {
            program: CString::new(wrapper.program.as_os_str().as_bytes())?,
            arguments: Words::new(arguments),
            environment: Words::new(Vec::new()),
            status,
            _kept: [filter, options],
        })
    }

    /// Executes it. Returns only when that failed.
    pub(super) fn execute(&self) -> Errno {
        match rustix::io::fcntl_setfd(&self.status.says, FdFlags::empty()) {
            Ok(()) => fork::execute(&self.program, &self.arguments, &self.environment),
            Err(error) => Errno::from_raw(error.raw_os_error()),
        }
    }
}

/// A file in memory that the executed program finds open, at its beginning.
fn inherited(content: &[u8]) -> io::Result<std::fs::File> {
    let file = rustix::fs::memfd_create(c"orchestrator", MemfdFlags::empty())?;
    let mut file = std::fs::File::from(file);
    file.write_all(content)?;
    file.rewind()?;
    Ok(file)
}
