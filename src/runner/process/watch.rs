//! The runner's watch over one program: its streams, its time, and the word to stop.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::capture::Capture;
use super::supervisor::Hired;
use super::wire::{self, Ended, Order, Report, Status};
use super::{Chunk, Command, End, Lease, SpawnError, Supervisor};

/// Time between two looks at whether a keeper that was told to end everything can.
const AGAIN: Duration = Duration::from_millis(500);

/// A program that was started, as seen from here.
pub(super) struct Watch {
    keeper: Hired,
    lease: Option<Lease>,
    _feeding: Option<AbortOnDropHandle<()>>,
}

/// What was seen of a program.
pub(super) struct Seen {
    pub(super) end: End,
    /// When the program, or the sandbox around it, was executed, if anybody says so.
    pub(super) executed_at: Option<DateTime<Utc>>,
    pub(super) output_bytes: u64,
    pub(super) cpu: Duration,
    pub(super) peak_memory_bytes: u64,
    pub(super) oom_kills: u64,
}

/// Has a keeper start the program.
pub(super) async fn start(
    supervisor: &Supervisor,
    command: &Command,
    lease: Option<Lease>,
) -> Result<(Watch, Capture), SpawnError> {
    open(supervisor, command, lease)
        .await
        .map_err(|error| SpawnError::host(command, &error))
}

async fn open(
    supervisor: &Supervisor,
    command: &Command,
    mut lease: Option<Lease>,
) -> io::Result<(Watch, Capture)> {
    let (stdout, its_stdout) = io::pipe()?;
    let (stderr, its_stderr) = io::pipe()?;
    let (its_stdin, stdin) = match &command.stdin {
        Some(_) => Some(io::pipe()?),
        None => None,
    }
    .unzip();
    let mut streams = vec![its_stdout.as_fd(), its_stderr.as_fd()];
    streams.extend(its_stdin.iter().map(|stdin| stdin.as_fd()));
    let until = lease.as_mut().and_then(|lease| *lease.borrow_and_update());
    let keeper = supervisor.hire(&order(command, until), &streams).await?;
    let feeding = match (stdin, &command.stdin) {
        (Some(stdin), Some(bytes)) => {
            let to = pipe::Sender::from_owned_fd(stdin.into())?;
            Some(AbortOnDropHandle::new(tokio::spawn(feed(to, bytes.clone()))))
        }
        _ => None,
    };
    let capture = Capture::new(receiver(stdout.into())?, receiver(stderr.into())?);
    let watch = Watch {
        keeper,
        lease,
        _feeding: feeding,
    };
    Ok((watch, capture))
}

fn order(command: &Command, until: Option<Duration>) -> Order {
    let env: std::collections::BTreeMap<_, _> = command.env.iter().cloned().collect();
    Order {
        argv: command.argv.clone(),
        directory: command.directory.as_os_str().as_bytes().to_vec(),
        env: env.into_iter().collect(),
        limits: command.limits,
        nice: command.nice,
        credentials: command.credentials,
        wrapper: command.wrapper.clone(),
        until,
    }
}

/// Waits for the lease to be renewed; without one for ever.
async fn renewed(lease: &mut Option<Lease>) -> Duration {
    while let Some(renewals) = lease {
        match renewals.changed().await {
            Ok(()) => {
                if let Some(until) = *renewals.borrow_and_update() {
                    return until;
                }
            }
            // Nobody will renew it.
            Err(_) => *lease = None,
        }
    }
    std::future::pending().await
}

fn receiver(fd: OwnedFd) -> io::Result<pipe::Receiver> {
    pipe::Receiver::from_owned_fd(fd)
}

async fn feed(mut to: pipe::Sender, bytes: Vec<u8>) {
    // A program that does not read what it is given closes the pipe; that is its right.
    let _ = to.write_all(&bytes).await;
}

impl Watch {
    /// Passes output on until nothing of the program is left.
    pub(super) async fn until_over(
        mut self,
        command: &Command,
        mut capture: Capture,
        output: &mpsc::Sender<Chunk>,
        stop: &CancellationToken,
    ) -> Result<Seen, SpawnError> {
        let mut times = Times::new(command);
        let mut ended_by_us = None;
        let mut room = None;
        loop {
            if room.is_none() {
                room = output.try_reserve().ok();
            }
            let (wake, why) = times.next(room.is_some());
            // The clock and the word to stop come first: there may always be more to read.
            tokio::select! {
                biased;
                () = stop.cancelled(), if ended_by_us.is_none() => {
                    ended_by_us = Some(End::Stopped);
                    self.say(wire::TERM, &mut times).await;
                }
                () = tokio::time::sleep_until(wake) => match ended_by_us {
                    Some(_) if times.told => {
                        self.keeper.end_if_stopped();
                        times.said(wire::KILL);
                    }
                    Some(_) => self.say(wire::KILL, &mut times).await,
                    None => {
                        ended_by_us = Some(why);
                        self.say(wire::TERM, &mut times).await;
                    }
                },
                () = self.keeper.reported() => break,
                until = renewed(&mut self.lease) => self.keeper.put_off(until),
                permit = output.reserve(), if room.is_none() && !output.is_closed() => {
                    room = permit.ok();
                    times.heard();
                }
                () = capture.pass(&mut room), if room.is_some() || output.is_closed() => times.heard(),
            }
        }
        drop(room);
        let report = self.keeper.report();
        let (output_bytes, said) = capture.drain(output).await;
        match report {
            Some(Report::Refused(stage, errno)) => Err(SpawnError::refused(command, stage, errno)),
            Some(Report::Ended(ended))
                if !ended.executed && ended_by_us.is_none() && ended.status.is_exit() =>
            {
                Err(SpawnError::wrapped(command, &said))
            }
            Some(Report::Ended(ended)) => Ok(seen(command, ended_by_us, &ended, output_bytes)),
            None => Ok(unwatched(ended_by_us, output_bytes)),
        }
    }

    async fn say(&mut self, word: u8, times: &mut Times) {
        times.said(word);
        self.keeper.say(word).await;
    }
}

/// When something is to be done next.
struct Times {
    deadline: Instant,
    idle: Option<Duration>,
    heard: Instant,
    grace: Duration,
    /// When TERM becomes KILL, once TERM was said; then when the keeper is looked after.
    kill: Option<Instant>,
    /// Whether KILL was said.
    told: bool,
}

impl Times {
    fn new(command: &Command) -> Self {
        let now = Instant::now();
        Self {
            deadline: now + command.timeout,
            idle: command.idle_timeout,
            heard: now,
            grace: command.grace,
            kill: None,
            told: false,
        }
    }

    /// The program printed something, or may do so again.
    fn heard(&mut self) {
        self.heard = Instant::now();
    }

    fn said(&mut self, word: u8) {
        self.told |= word == wire::KILL;
        self.kill = Some(Instant::now() + if self.told { AGAIN } else { self.grace });
    }

    /// The next instant, and what has happened then. A program that could not print because nobody
    /// took it (`reading` is false) is not idle.
    fn next(&self, reading: bool) -> (Instant, End) {
        if let Some(kill) = self.kill {
            return (kill, End::Stopped);
        }
        match self.idle.filter(|_| reading).map(|idle| self.heard + idle) {
            Some(idle) if idle < self.deadline => (idle, End::IdleTimedOut),
            _ => (self.deadline, End::TimedOut),
        }
    }
}

fn seen(command: &Command, ended_by_us: Option<End>, ended: &Ended, output_bytes: u64) -> Seen {
    let status = match ended.status {
        // What bubblewrap makes of a signal, as a shell does.
        Status::Exited(code @ 129..=192) if command.wrapper.is_some() => Status::Signalled(code - 128),
        status => status,
    };
    let by_itself = match status {
        Status::Exited(code) => End::Exited(code),
        Status::Signalled(nix::libc::SIGKILL) if ended.oom_kills > 0 => End::OutOfMemory,
        Status::Signalled(signal) => End::Signalled(signal),
    };
    let by_itself = if ended.lease_over {
        End::LeaseOver
    } else {
        by_itself
    };
    Seen {
        end: ended_by_us.unwrap_or(by_itself),
        executed_at: DateTime::from_timestamp_micros(ended.executed_at),
        output_bytes,
        cpu: Duration::from_micros(ended.cpu_us),
        peak_memory_bytes: ended.peak_memory_kb * 1024,
        oom_kills: ended.oom_kills,
    }
}

fn unwatched(ended_by_us: Option<End>, output_bytes: u64) -> Seen {
    Seen {
        end: ended_by_us.unwrap_or(End::Unwatched),
        executed_at: None,
        output_bytes,
        cpu: Duration::ZERO,
        peak_memory_bytes: 0,
        oom_kills: 0,
    }
}
