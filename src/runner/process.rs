//! Programs: started by a supervisor, read with bounds, and ended with everything they started.
//!
//! ```text
//! runner ──▶ supervisor ──▶ keeper, one a step ──▶ program ──▶ whatever it starts
//!    └────── the step's socket ──┘    and its orphans become the keeper's children
//! ```
//!
//! The keeper ends everything below it when the program has ended, when it is told to, when the
//! runner is gone, however that came, and when the lease passes that a frozen one cannot renew. The runner reads the streams, watches the clock and gives the word.

pub mod limits;
pub mod supervise;

mod begin;
mod capture;
mod cgroup;
mod credentials;
mod error;
mod fork;
mod keeper;
mod memory;
mod supervisor;
mod tree;
mod watch;
mod wire;
mod wrapped;

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch as value};
use tokio_util::sync::CancellationToken;

use crate::domain::clock;

pub use credentials::{Credentials, NoSuchUser};
pub use error::{Refusal, SpawnError};
pub use limits::Limits;
pub use supervisor::Supervisor;

/// A program to be run.
#[derive(Clone, Debug)]
pub struct Command {
    /// The program and its arguments; never a shell.
    pub argv: Vec<String>,
    /// Where it runs.
    pub directory: PathBuf,
    /// Its whole environment; later entries win.
    pub env: Vec<(String, String)>,
    /// What it reads; `None` is nothing.
    pub stdin: Option<Vec<u8>>,
    /// Longest it may run.
    pub timeout: Duration,
    /// Longest it may print nothing.
    pub idle_timeout: Option<Duration>,
    /// Time between `TERM` and `KILL`.
    pub grace: Duration,
    /// What it may use.
    pub limits: Limits,
    /// How much it yields to others, from 0, not at all, to 19.
    pub nice: u8,
    /// Whom it runs as; `None` is whoever runs this process.
    pub credentials: Option<Credentials>,
    /// What it is run in, if it is.
    pub wrapper: Option<Wrapper>,
}

/// What ends a program from outside.
#[derive(Clone, Debug)]
pub struct Bound {
    /// The word to stop.
    pub stop: CancellationToken,
    /// Until when it may run whatever becomes of this process, if that is bounded.
    pub lease: Option<Lease>,
}

impl From<CancellationToken> for Bound {
    fn from(stop: CancellationToken) -> Self {
        Self { stop, lease: None }
    }
}

/// An instant by [`clock::since_boot`], which is put off again and again: when it passes, the keeper ends the program, whether
/// the runner is frozen or gone. `None` is never.
pub type Lease = value::Receiver<Option<Duration>>;

/// Whether it has passed, as far as is known here.
pub(super) fn is_over(lease: &Lease) -> bool {
    lease.borrow().is_some_and(|until| until <= clock::since_boot())
}

/// bubblewrap, and what it is told about one program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Wrapper {
    /// Where it is.
    pub program: PathBuf,
    /// Its options.
    pub arguments: Vec<String>,
    /// A seccomp filter, as the kernel takes it.
    pub seccomp: Vec<u8>,
}

/// Where output came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Bytes a program printed, as they were read.
#[derive(Debug)]
pub struct Chunk {
    /// Where from.
    pub stream: Stream,
    /// When.
    pub at: DateTime<Utc>,
    /// What.
    pub bytes: Bytes,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself, with this code.
    Exited(i32),
    /// By a signal nobody here sent.
    Signalled(i32),
    /// Killed by the kernel, which had no more memory for it.
    OutOfMemory,
    /// It ran too long.
    TimedOut,
    /// It printed nothing for too long.
    IdleTimedOut,
    /// It was told to stop.
    Stopped,
    /// The lease passed under which it was allowed to run.
    LeaseOver,
    /// Its keeper was killed, and everything below it with it.
    Unwatched,
}

/// What came of a program. Times are the runner's, sums are of all the processes the program started.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// When it was executed; when that was asked for, where nobody is left to say.
    pub started_at: DateTime<Utc>,
    /// When it had ended.
    pub finished_at: DateTime<Utc>,
    /// Bytes printed on both streams.
    pub output_bytes: u64,
    /// Processor time of those that were waited for.
    pub cpu: Duration,
    /// Bytes of memory the largest of them held at once.
    pub peak_memory_bytes: u64,
    /// How many processes of this host the kernel killed for want of memory meanwhile.
    pub oom_kills: u64,
}

/// Closes this process's environment and memory to others of its user, which steps may be.
pub fn conceal() {
    // It fails nowhere; were it to, nothing else would be less safe for it.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// Runs the program to its end and sends what it prints to `output`. When `output` is full the
/// program waits, and that does not count as being idle. What bounds it, a timeout or an idle timeout end it.
/// When this returns, or is dropped, nothing the program started is left.
///
/// # Errors
///
/// [`SpawnError`] when it could not be started.
pub async fn run(
    supervisor: &Supervisor,
    command: Command,
    output: mpsc::Sender<Chunk>,
    bound: impl Into<Bound>,
) -> Result<Outcome, SpawnError> {
    let Bound { stop, lease } = bound.into();
    let asked_at = clock::now();
    let (watch, capture) = watch::start(supervisor, &command, lease).await?;
    let seen = watch.until_over(&command, capture, &output, &stop).await?;
    Ok(Outcome {
        end: seen.end,
        started_at: seen.executed_at.unwrap_or(asked_at),
        finished_at: clock::now(),
        output_bytes: seen.output_bytes,
        cpu: seen.cpu,
        peak_memory_bytes: seen.peak_memory_bytes,
        oom_kills: seen.oom_kills,
    })
}
