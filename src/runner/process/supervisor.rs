//! The runner's hold on its supervisor and its keepers: made when first needed, and again when killed.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::time::timeout;

use super::supervise::SUPERVISOR;
use super::tree;
use super::wire::{self, Order, Report, Stage};

/// Most keepers that wait for a step. One costs half a millisecond to make and little to keep.
const IDLE_KEEPERS: usize = 64;

/// How long a supervisor may take to make a keeper. One that makes none for so long is stopped, or worse, and is left for
/// another; its steps go on.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a keeper may take to make room for a word. What it does not hear is followed by a signal.
const WORD: Duration = Duration::from_millis(500);

/// The process that starts steps. Clones share it; it ends after the last, when its steps have.
#[derive(Clone, Debug)]
pub struct Supervisor(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    program: PathBuf,
    running: tokio::sync::Mutex<Option<Running>>,
    idle: Mutex<Vec<Keeper>>,
}

#[derive(Debug)]
struct Running {
    line: UnixStream,
    /// Itself, where the kernel lets processes be held.
    process: Option<Arc<OwnedFd>>,
    /// Kept so that its end is waited for.
    _child: Child,
}

impl Drop for Running {
    /// One that was stopped would not hear that its line is closed, nor end what its keepers leave.
    fn drop(&mut self) {
        tell(self.process.as_deref(), Signal::CONT);
    }
}

/// What control groups hold, see [`wire::here`].
type Holds = [u8; 3];

/// A keeper as it is known here.
#[derive(Debug)]
struct Keeper {
    line: UnixStream,
    pid: i32,
    process: Option<OwnedFd>,
    /// Who made it, and inherits what it leaves.
    supervisor: Option<Arc<OwnedFd>>,
}

impl Keeper {
    fn signal(&self, signal: Signal) {
        tell(self.process.as_ref(), signal);
    }
}

impl Drop for Keeper {
    /// One that was stopped would not hear that its line is closed, and its step would go on; nor would who inherits what
    /// one leaves that was killed.
    fn drop(&mut self) {
        self.signal(Signal::CONT);
        tell(self.supervisor.as_deref(), Signal::CONT);
    }
}

/// A keeper that has a step. When this is dropped before the report, the step is ended.
#[derive(Debug)]
pub(super) struct Hired {
    keeper: Keeper,
    received: Vec<u8>,
    spoken: bool,
    supervisor: Supervisor,
}

impl Supervisor {
    /// A supervisor that is another process of this program, whatever lies at its path by then.
    #[must_use]
    pub fn of_this_program() -> Self {
        Self::of("/proc/self/exe")
    }

    /// A supervisor that is a process of the orchestrator at `program`.
    pub fn of(program: impl Into<PathBuf>) -> Self {
        Self(Arc::new(Inner {
            program: program.into(),
            running: tokio::sync::Mutex::default(),
            idle: Mutex::default(),
        }))
    }

    /// Starts it before it is needed.
    ///
    /// # Errors
    ///
    /// When the program cannot be executed.
    pub async fn start(&self) -> io::Result<()> {
        let (keeper, holds) = self.new_keeper().await?;
        self.rest(keeper);
        let [memory, processes, weight] = holds.map(|held| match held {
            wire::BY_GROUP => "control group",
            _ => "process",
        });
        tracing::info!(memory, processes, weight, "limits of steps are held by");
        Ok(())
    }

    /// Gives a keeper a step and its streams.
    pub(super) async fn hire(&self, order: &Order, streams: &[BorrowedFd<'_>]) -> io::Result<Hired> {
        let message = wire::encode(order)?;
        while let Some(mut keeper) = self.idle_keeper() {
            // One that was killed since is not tried again.
            if send(&mut keeper.line, &message, streams).await.is_ok() {
                return Ok(self.hired(keeper));
            }
        }
        let (mut keeper, _) = self.new_keeper().await?;
        send(&mut keeper.line, &message, streams).await?;
        Ok(self.hired(keeper))
    }

    fn hired(&self, keeper: Keeper) -> Hired {
        Hired {
            keeper,
            received: Vec::new(),
            spoken: false,
            supervisor: self.clone(),
        }
    }

    /// One whose supervisor lives: nobody would inherit what the step of another leaves, and a new supervisor ends what
    /// is left of the one before.
    fn idle_keeper(&self) -> Option<Keeper> {
        let mut idle = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| idle.pop()).find(|keeper| !is_over(keeper.supervisor.as_deref()))
    }

    fn rest(&self, keeper: Keeper) {
        let mut idle = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_KEEPERS {
            idle.push(keeper);
        }
    }

    /// Has the supervisor make a keeper, and makes the supervisor when there is none.
    async fn new_keeper(&self) -> io::Result<(Keeper, Holds)> {
        let mut running = self.0.running.lock().await;
        if let Some(running) = &mut *running
            && let Ok(Ok(keeper)) = timeout(PATIENCE, ask_for_keeper(running)).await
        {
            return Ok(keeper);
        }
        // Never started, or killed or stopped since.
        ask_for_keeper(running.insert(self.spawn()?)).await
    }

    #[expect(clippy::disallowed_methods, reason = "this is the room that owns children")]
    fn spawn(&self) -> io::Result<Running> {
        let (line, its) = UnixStream::pair()?;
        let its = its.into_std()?;
        its.set_nonblocking(false)?;
        let child = tokio::process::Command::new(&self.0.program)
            .arg(SUPERVISOR)
            // What configures the runner, passwords among it, is no business of the supervisor.
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(its)))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()?;
        let process = child.id().and_then(|id| held(id.try_into().ok()?));
        Ok(Running {
            line,
            process: process.map(Arc::new),
            _child: child,
        })
    }
}

impl Hired {
    /// Waits for the keeper's report, or for its end without one. The wait may be given up and taken
    /// up again.
    pub(super) async fn reported(&mut self) {
        loop {
            match self.keeper.line.try_read_buf(&mut self.received) {
                Ok(0) => return,
                Ok(_) if wire::whole(&self.received).is_some() => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // An error is found when it is read.
                    let _ = self.keeper.line.readable().await;
                }
                Err(_) => return,
            }
        }
    }

    /// The report, after the wait for it; the keeper is free then. `None` when the keeper is gone.
    pub(super) fn report(self) -> Option<Report> {
        let report = serde_json::from_slice(wire::whole(&self.received)?).ok()?;
        let is_good = match &report {
            Report::Ended(ended) => !ended.laden,
            // It may have to do with the keeper's own group.
            Report::Refused(stage, _) => *stage != Stage::Confine,
        };
        // A word may have crossed the report, and would be taken for the next order.
        if is_good && !self.spoken {
            self.supervisor.rest(self.keeper);
        }
        Some(report)
    }

    /// Says a word to the keeper. When it is gone there is nobody left to say it to.
    pub(super) async fn say(&mut self, word: u8) {
        self.spoken = true;
        // Somebody may have stopped it, or its step, which may be of the same user: it would not hear the word, nor make room
        // for it where it has left many unread.
        self.keeper.signal(Signal::CONT);
        let _ = timeout(WORD, self.keeper.line.write_all(&[word])).await;
        self.keeper.signal(Signal::CONT);
    }

    /// Puts off the end of the lease, after which the keeper ends the step by itself.
    /// Whoever has not read so many words that there is no room for another reads no more.
    pub(super) fn put_off(&mut self, until: Duration) {
        self.spoken = true;
        let _ = self.keeper.line.try_write(&wire::put_off(until));
    }

    /// Kills a keeper that was stopped again after it was told to end its step, so that the step ends with it.
    pub(super) fn end_if_stopped(&self) {
        if tree::is_stopped(self.keeper.pid) {
            self.keeper.signal(Signal::KILL);
        }
    }
}

/// A keeper that has said that it is there. Without that word a step might be handed to a supervisor
/// that is killed before it hears of it, and nobody would know whether it was begun.
async fn ask_for_keeper(supervisor: &mut Running) -> io::Result<(Keeper, Holds)> {
    let (mut ours, its) = UnixStream::pair()?;
    let its = its.into_std()?;
    its.set_nonblocking(false)?;
    send(&mut supervisor.line, &[0], &[its.as_fd()]).await?;
    drop(its);
    let mut here = [0; wire::HERE];
    ours.read_exact(&mut here).await?;
    let (pid, holds) = wire::who(here);
    let keeper = Keeper {
        line: ours,
        pid,
        process: held(pid),
        supervisor: supervisor.process.clone(),
    };
    Ok((keeper, holds))
}

/// A handle of a process, which stays its own when its number is another's; `None` where the kernel has none.
fn held(pid: i32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()
}

/// Whether a process has ended; not known, and taken for no, where the kernel has no handle of it.
fn is_over(process: Option<&OwnedFd>) -> bool {
    process.is_some_and(|process| {
        let mut polled = [PollFd::new(process, PollFlags::IN)];
        let at_once = Timespec::default();
        rustix::io::retry_on_intr(|| poll(&mut polled, Some(&at_once))).is_ok_and(|ready| ready > 0)
    })
}

/// Sends a signal to a process. It fails when the process is gone, which is as good.
fn tell(process: Option<&OwnedFd>, signal: Signal) {
    if let Some(process) = process {
        let _ = pidfd_send_signal(process, signal);
    }
}

/// Sends all of `message`, with the descriptors.
async fn send(line: &mut UnixStream, message: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let sent = line
        .async_io(Interest::WRITABLE, || wire::give_fds(line.as_fd(), message, fds))
        .await?;
    line.write_all(&message[sent..]).await
}
