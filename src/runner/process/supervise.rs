//! The process between a runner and its steps: `orchestrator step-supervisor`.
//!
//! A runner has many threads and much memory, so that a process it makes itself costs a lot, can be
//! given almost nothing before it becomes its program, and outlives a runner that is killed. So it
//! starts this one first, which has one thread and next to no memory, and which forks a keeper for
//! each socket the runner hands it: as many as steps run at once. When the runner is gone, so are its
//! ends of the sockets: the keepers end their steps, each for itself, and the supervisor follows the last.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::process::ExitCode;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::cgroup::Bases;
use super::{fork, keeper, tree, wire};

/// The word on the command line that makes the program a supervisor. No one types it: it is told what
/// to do over a socket it finds as its standard input.
pub const SUPERVISOR: &str = "step-supervisor";

/// Keeps steps until the runner is gone.
///
/// In the keepers and in the programs' first moments it returns too: each is a copy of this process.
#[must_use]
pub fn supervise() -> ExitCode {
    match prepare().and_then(|(runner, ends)| Supervisor::new(runner, ends).run()) {
        Ok(code) => code,
        Err(error) => {
            anstream::eprintln!("orchestrator: {SUPERVISOR} is started by a runner, not by hand: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Lets go of everything inherited but the socket, and takes its place as the parent of what loses its own.
fn prepare() -> io::Result<(OwnedFd, SignalFd)> {
    let runner = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    rustix::net::sockopt::socket_type(&runner)?;
    rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    for number in open_fds()?
        .into_iter()
        .filter(|number| *number > 2 && *number != runner.as_raw_fd())
    {
        // The list itself is one of them, and closed already.
        let _ = nix::unistd::close(number);
    }
    // It leads a process group if whoever started us made it one, and is out of the terminal's reach anyway.
    let _ = nix::unistd::setsid();
    fork::forget_ignored_signals();
    // Stopped, it would not hear that the runner is gone; a runner that is killed with -9 cannot wake it.
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::CONT))?;
    // The runner hears these and decides; CHLD is read from a descriptor.
    let mut blocked = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGCHLD] {
        blocked.add(signal);
    }
    blocked.thread_set_mask()?;
    let mut ends = SigSet::empty();
    ends.add(Signal::SIGCHLD);
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let ends = SignalFd::with_flags(&ends, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    Ok((runner, ends))
}

fn open_fds() -> io::Result<Vec<RawFd>> {
    let number = |entry: io::Result<std::fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
    Ok(std::fs::read_dir("/proc/self/fd")?.filter_map(number).collect())
}

/// Time between two looks at keepers that are to end.
const AGAIN: Duration = Duration::from_millis(500);

struct Supervisor {
    /// `None` once the runner is gone.
    runner: Option<OwnedFd>,
    ends: SignalFd,
    keepers: HashSet<Pid>,
    /// Keepers that have ended and whose groups are not empty yet: one that was killed leaves its step there.
    ended: HashSet<Pid>,
    bases: Bases,
}

impl Supervisor {
    fn new(runner: OwnedFd, ends: SignalFd) -> Self {
        Self {
            runner: Some(runner),
            ends,
            keepers: HashSet::new(),
            ended: HashSet::new(),
            bases: Bases::find(),
        }
    }

    fn run(mut self) -> io::Result<ExitCode> {
        while let Some((asked, ended)) = self.wait()? {
            if self.runner.is_none() {
                self.end_stopped();
            }
            if ended {
                self.reap();
            }
            if asked && let Some(code) = self.fork_keeper()? {
                return Ok(code);
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Waits for a word of the runner or for the end of a child; `None` when neither can come any more.
    fn wait(&self) -> io::Result<Option<(bool, bool)>> {
        if self.runner.is_none() && self.keepers.is_empty() {
            return Ok(None);
        }
        let mut polled = vec![PollFd::new(&self.ends, PollFlags::IN)];
        polled.extend(
            self.runner
                .iter()
                .map(|runner| PollFd::new(runner, PollFlags::IN)),
        );
        // Without a runner nobody else looks after keepers.
        let again = Timespec::try_from(AGAIN).ok().filter(|_| self.runner.is_none());
        rustix::io::retry_on_intr(|| poll(&mut polled, again.as_ref()))?;
        let ready = |at: usize| polled.get(at).is_some_and(|fd| !fd.revents().is_empty());
        Ok(Some((ready(1), ready(0))))
    }

    /// Takes a socket from the runner and forks the keeper that answers on it; what it returns is the
    /// keeper's code.
    fn fork_keeper(&mut self) -> io::Result<Option<ExitCode>> {
        let Some(runner) = &self.runner else {
            return Ok(None);
        };
        let Some((fds, _)) = wire::take_fds(runner, &mut [0])? else {
            self.runner = None;
            // Who was stopped would not hear of it.
            for keeper in &self.keepers {
                let _ = kill(*keeper, Signal::SIGCONT);
            }
            return Ok(None);
        };
        for socket in fds {
            match fork::fork() {
                Ok(ForkResult::Parent { child }) => {
                    self.ended.remove(&child);
                    self.keepers.insert(child);
                }
                Ok(ForkResult::Child) => {
                    self.runner = None;
                    return Ok(Some(keeper::keep(socket.into(), &self.ends, &self.bases)));
                }
                // The runner hears it when the socket closes.
                Err(_) => {}
            }
        }
        Ok(None)
    }

    /// Kills keepers that were stopped again after the runner was gone; what they kept comes to us.
    fn end_stopped(&self) {
        for keeper in self
            .keepers
            .iter()
            .filter(|keeper| tree::is_stopped(keeper.as_raw()))
        {
            let _ = kill(*keeper, Signal::SIGKILL);
        }
    }

    fn reap(&mut self) {
        while let Ok(Some(_)) = self.ends.read_signal() {}
        let mut badly = false;
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => break,
                Ok(status) => {
                    let keeper = status.pid().filter(|pid| self.keepers.remove(pid));
                    self.ended.extend(keeper);
                    badly |= !matches!(status, WaitStatus::Exited(_, 0)) || keeper.is_none();
                }
                Err(_) => {}
            }
        }
        let bases = &self.bases;
        self.ended.retain(|keeper| !bases.forget(*keeper));
        if badly {
            self.sweep();
        }
    }

    /// A keeper that was killed leaves us what it kept. Ending that may leave us more, which is heard
    /// as the end of a child again.
    fn sweep(&self) {
        for child in tree::children(Pid::this()) {
            if !self.keepers.contains(&child) {
                let _ = kill(child, Signal::SIGKILL);
            }
        }
    }
}
