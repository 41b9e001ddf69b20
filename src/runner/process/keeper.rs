//! A keeper: the parent of one step at a time, the heir of its orphans, and its end.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitCode;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::begin::Image;
use super::cgroup::{Bases, Group};
use super::fork::{self, Buried, Nursery, Policy};
use super::memory::OomKills;
use super::wire::{self, Ended, Order, Report, Stage, Status, Streams};
use super::{begin, tree, wrapped};
use crate::domain::clock;

/// Longest time between two looks at the clock of a lease, which the kernel's timers do not go along with while the host is
/// suspended.
const LOOK: Duration = Duration::from_secs(5);
/// How long the killed may take before what is left is killed again.
const AGAIN: Duration = Duration::from_millis(5);

/// Keeps one step after the other, until the runner has no more for it or is gone.
pub(super) fn keep(runner: UnixStream, ends: &SignalFd, bases: &Bases) -> ExitCode {
    let kept = Keeper {
        runner,
        ends,
        nursery: Nursery::new(),
        oom_kills: OomKills::new(),
        group: Group::join(bases),
    }
    .run();
    match kept {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

struct Keeper<'a> {
    runner: UnixStream,
    ends: &'a SignalFd,
    nursery: Nursery,
    oom_kills: OomKills,
    group: Group,
}

impl Keeper<'_> {
    fn run(&mut self) -> io::Result<()> {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        rustix::thread::set_name(c"orc-keeper")?;
        self.runner
            .write_all(&wire::here(Pid::this().as_raw(), self.group.holds()))?;
        while let Some((mut order, streams)) = wire::receive_order(&self.runner)? {
            let report = match self.group.impose(order.limits, order.nice) {
                Ok(left) => {
                    order.limits = left;
                    self.step(&order, streams)?
                }
                Err(error) => Report::Refused(Stage::Confine, error.raw_os_error().unwrap_or_default()),
            };
            wire::send(&self.runner, &report)?;
        }
        Ok(())
    }

    /// How often the kernel killed for memory: in the group, or on the whole host.
    fn oom_kills(&mut self) -> u64 {
        match self.group.oom_kills() {
            Some(kills) => kills,
            None => self.oom_kills.count(),
        }
    }

    fn step(&mut self, order: &Order, streams: Streams) -> io::Result<Report> {
        let killed_before = self.oom_kills();
        let me = Pid::this();
        let status = match order.wrapper {
            Some(_) => Some(wrapped::Status::new()?),
            None => None,
        };
        let policy = match self.group.holds_weight() {
            true => Policy::Idle,
            false => Policy::Batch,
        };
        let image = match Image::of(order, status.as_ref()) {
            Ok(image) => image,
            Err((stage, errno)) => return Ok(Report::Refused(stage, errno as i32)),
        };
        let spawned = self
            .nursery
            .spawn(|| begin::become_program(order, &streams, &image, policy, me));
        drop(image);
        let program = match spawned {
            Ok(Ok(program)) => program,
            Ok(Err((stage, errno))) => return Ok(Report::Refused(stage, errno as i32)),
            Err(errno) => return Ok(Report::Refused(Stage::Fork, errno as i32)),
        };
        drop(streams);
        let mut step = Step {
            runner: &self.runner,
            ends: self.ends,
            program,
            wrapped: order.wrapper.is_some(),
            until: order.until,
            killing: false,
            ended: Ended {
                // Whoever forks waits until the program is there.
                executed_at: clock::now().timestamp_micros(),
                ..Ended::default()
            },
        };
        step.until_over()?;
        let mut ended = step.ended;
        ended.executed = status.is_none_or(wrapped::Status::executed);
        ended.oom_kills = self.oom_kills().saturating_sub(killed_before);
        ended.laden = self.group.is_laden();
        Ok(Report::Ended(ended))
    }
}

/// A program that runs, and what is below it.
struct Step<'a> {
    runner: &'a UnixStream,
    ends: &'a SignalFd,
    program: Pid,
    /// Whether the program is a wrapper, and what it runs is below it.
    wrapped: bool,
    /// When everything is to be killed in any case.
    until: Option<Duration>,
    /// Whether everything that is left is to be killed.
    killing: bool,
    ended: Ended,
}

impl Step<'_> {
    fn until_over(&mut self) -> io::Result<()> {
        while self.reap()? {
            if self.killing {
                tree::signal_all(Signal::SIGKILL, &[]);
            }
            self.wait()?;
        }
        Ok(())
    }

    /// Buries the dead; answers whether anybody lives. The program's end is everybody's.
    fn reap(&mut self) -> io::Result<bool> {
        while let Ok(Some(_)) = self.ends.read_signal() {}
        loop {
            match fork::bury() {
                Ok(Some(buried)) => self.count(&buried),
                Ok(None) => return Ok(true),
                Err(Errno::ECHILD) => return Ok(false),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn count(&mut self, buried: &Buried) {
        let ended = &mut self.ended;
        ended.cpu_us += u64::try_from(buried.cpu.as_micros()).unwrap_or(u64::MAX);
        ended.peak_memory_kb = ended.peak_memory_kb.max(buried.peak_memory_kb);
        if buried.pid == self.program {
            self.killing = true;
            let (code, signal) = (buried.status.code(), buried.status.signal());
            let status = code.map(Status::Exited).or(signal.map(Status::Signalled));
            ended.status = status.unwrap_or(ended.status);
        }
    }

    /// Waits for the end of a child, for a word of the runner, or for the end of its lease.
    fn wait(&mut self) -> io::Result<()> {
        let left = |until: Duration| until.saturating_sub(clock::since_boot());
        let longest = match self.killing {
            true => Some(AGAIN),
            false => self.until.map(|until| left(until).min(LOOK)),
        };
        let longest = longest.and_then(|longest| Timespec::try_from(longest).ok());
        let mut polled = [
            PollFd::new(self.ends, PollFlags::IN),
            PollFd::new(self.runner, PollFlags::IN),
        ];
        // Once everything is to be killed there is nothing more the runner could ask for.
        let polled = match self.killing {
            true => &mut polled[..1],
            false => &mut polled[..],
        };
        rustix::io::retry_on_intr(|| poll(polled, longest.as_ref()))?;
        if polled.get(1).is_some_and(|runner| !runner.revents().is_empty()) {
            // Whoever was stopped meanwhile has the newest word behind older ones.
            self.obey();
            return Ok(());
        }
        // A runner that is frozen cannot say so, and another is about to run the job.
        if !self.killing && self.until.is_some_and(|until| left(until).is_zero()) {
            self.killing = true;
            self.ended.lease_over = true;
        }
        Ok(())
    }

    fn obey(&mut self) {
        let mut word = [0];
        match self.runner.read(&mut word) {
            // A wrapper that ends takes what it runs along at once, without its grace.
            Ok(1) if word[0] == wire::TERM => {
                let spared = [self.program];
                let spared = &spared[..usize::from(self.wrapped)];
                tree::signal_all(Signal::SIGTERM, spared);
                // Whoever stopped itself would hear it only when it is killed.
                tree::signal_all(Signal::SIGCONT, spared);
            }
            Ok(1) if word[0] == wire::PUT_OFF => match wire::read_until(self.runner) {
                Ok(until) => self.until = Some(until),
                Err(_) => self.killing = true,
            },
            // Told to, or the runner is gone.
            _ => self.killing = true,
        }
    }
}
