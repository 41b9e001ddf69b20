//! Children: started in a process group of their own, read with bounds, and ended as a group.

#![expect(clippy::disallowed_methods, reason = "this is the room that owns children")]

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::domain::clock;

/// Most bytes of one chunk.
const CHUNK: usize = 64 * 1024;

/// A program to be run.
#[derive(Debug)]
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
    /// Whom it runs as; `None` is whoever runs this process.
    pub credentials: Option<Credentials>,
}

/// What a program may use.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {}

/// A user to run as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl Credentials {
    /// The user `name`, when this process runs as root; `None` when it does not, and steps run as
    /// whoever runs it.
    ///
    /// # Errors
    ///
    /// When the user does not exist, or is root.
    pub fn for_steps(name: &str) -> Result<Option<Self>, NoSuchUser> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        match nix::unistd::User::from_name(name) {
            Ok(Some(user)) if !user.uid.is_root() => Ok(Some(Self {
                uid: user.uid.as_raw(),
                gid: user.gid.as_raw(),
            })),
            _ => Err(NoSuchUser(name.to_owned())),
        }
    }
}

/// Steps cannot run as this user.
#[derive(Debug, thiserror::Error)]
#[error("STEP_USER: {0:?} is no ordinary user of this host; steps never run as root: name one that exists")]
pub struct NoSuchUser(String);

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
    /// It ran too long.
    TimedOut,
    /// It printed nothing for too long.
    IdleTimedOut,
    /// It was told to stop.
    Stopped,
}

/// What came of a program.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// When it was started.
    pub started_at: DateTime<Utc>,
    /// When it had ended.
    pub finished_at: DateTime<Utc>,
    /// Bytes printed on both streams.
    pub output_bytes: u64,
}

/// The program could not be started.
#[derive(Debug, thiserror::Error)]
#[error("`{program}` could not be started in {directory}: {cause}")]
pub struct SpawnError {
    program: String,
    directory: String,
    cause: std::io::Error,
}

/// Runs the program to its end and sends what it prints to `output`. When `output` is full the
/// program waits. `stop`, a timeout or an idle timeout end its whole group.
///
/// # Errors
///
/// [`SpawnError`] when it could not be started.
pub async fn run(
    command: Command,
    output: mpsc::Sender<Chunk>,
    stop: CancellationToken,
) -> Result<Outcome, SpawnError> {
    let program = command.argv.first().cloned().unwrap_or_default();
    let mut spawn = tokio::process::Command::new(&program);
    spawn
        .args(command.argv.iter().skip(1))
        .current_dir(&command.directory)
        .env_clear()
        .envs(command.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    if let Some(Credentials { uid, gid }) = command.credentials {
        spawn.uid(uid).gid(gid);
    }
    let started_at = clock::now();
    let mut child = spawn.spawn().map_err(|cause| SpawnError {
        program,
        directory: command.directory.display().to_string(),
        cause,
    })?;
    let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
    let deadline = Instant::now() + command.timeout;
    let mut printed = Instant::now();
    let mut output_bytes = 0;
    let mut ended_by_us = None;
    let mut kill_at = None;
    let status = loop {
        let idle = command
            .idle_timeout
            .map_or(deadline, |idle| (printed + idle).min(deadline));
        let wake = kill_at.unwrap_or(idle);
        tokio::select! {
            chunk = next(&mut out, Stream::Stdout), if out.is_some() => output_bytes += pass(chunk, &mut out, &output, &mut printed).await,
            chunk = next(&mut err, Stream::Stderr), if err.is_some() => output_bytes += pass(chunk, &mut err, &output, &mut printed).await,
            status = child.wait(), if out.is_none() && err.is_none() => break status,
            () = stop.cancelled(), if ended_by_us.is_none() => {
                ended_by_us = Some(End::Stopped);
                kill_at = Some(terminate(group, command.grace));
            }
            () = tokio::time::sleep_until(wake) => match kill_at {
                Some(_) => {
                    signal(group, Signal::KILL);
                    kill_at = Some(Instant::now() + command.grace);
                }
                None => {
                    ended_by_us = Some(if Instant::now() >= deadline { End::TimedOut } else { End::IdleTimedOut });
                    kill_at = Some(terminate(group, command.grace));
                }
            },
        }
    };
    signal(group, Signal::KILL);
    let end = ended_by_us.unwrap_or_else(|| end_of(status.ok()));
    Ok(Outcome {
        end,
        started_at,
        finished_at: clock::now(),
        output_bytes,
    })
}

async fn next(from: &mut Option<impl AsyncRead + Unpin>, stream: Stream) -> Option<Chunk> {
    let mut bytes = BytesMut::with_capacity(CHUNK);
    let read = from.as_mut()?.read_buf(&mut bytes).await.ok()?;
    (read > 0).then(|| Chunk {
        stream,
        at: clock::now(),
        bytes: bytes.freeze(),
    })
}

async fn pass<R>(
    chunk: Option<Chunk>,
    from: &mut Option<R>,
    to: &mpsc::Sender<Chunk>,
    printed: &mut Instant,
) -> u64 {
    let Some(chunk) = chunk else {
        *from = None;
        return 0;
    };
    *printed = Instant::now();
    let length = chunk.bytes.len() as u64;
    // Nobody reads any more when the attempt is over; the program ends with it.
    let _ = to.send(chunk).await;
    length
}

fn terminate(group: Option<Pid>, grace: Duration) -> Instant {
    signal(group, Signal::TERM);
    Instant::now() + grace
}

fn signal(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group {
        // It fails when the group is gone, which is what was wanted.
        let _ = kill_process_group(group, signal);
    }
}

fn end_of(status: Option<std::process::ExitStatus>) -> End {
    use std::os::unix::process::ExitStatusExt as _;
    match status {
        Some(status) => status
            .signal()
            .map_or_else(|| End::Exited(status.code().unwrap_or(-1)), End::Signalled),
        None => End::Exited(-1),
    }
}
