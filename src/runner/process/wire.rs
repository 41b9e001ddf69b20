//! What a runner and a keeper say to each other over the keeper's own socket.
//!
//! For each step the runner sends an [`Order`] with the descriptors of the step's streams, then words of a
//! byte ([`TERM`], [`KILL`], and [`PUT_OFF`] with an instant). The keeper answers with one [`Report`]. When the runner's end closes,
//! whatever closed it, the keeper ends the step.

use std::io::{self, IoSlice, IoSliceMut, Read as _, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use serde::{Deserialize, Serialize};

use super::{Credentials, Limits, Wrapper};

/// Ask everything below the keeper to end.
pub(super) const TERM: u8 = b'T';
/// End everything below the keeper.
pub(super) const KILL: u8 = b'K';
/// Put off the end of the lease: eight bytes follow, see [`put_off`].
pub(super) const PUT_OFF: u8 = b'P';
/// Most descriptors that come with one message.
const MOST_FDS: usize = 3;
/// Bytes before a message that say its length.
const LENGTH: usize = 4;
/// Most bytes of one message: `argv` and environment at their largest, several times over.
const MOST: u32 = 64 * 1024 * 1024;

/// In a new keeper's first word, that a control group holds something.
pub(super) const BY_GROUP: u8 = b'g';

/// Bytes of a process id in it.
const PID: usize = size_of::<i32>();
/// Bytes of a new keeper's first word.
pub(super) const HERE: usize = PID + 3;

/// A new keeper's first word: that it is there, who it is, and whether a control group holds its steps' memory,
/// processes and processor time.
pub(super) fn here(keeper: i32, holds: [bool; 3]) -> Vec<u8> {
    let holds = holds.map(|holds| if holds { BY_GROUP } else { b'-' });
    [&keeper.to_le_bytes()[..], &holds].concat()
}

/// What it says.
pub(super) fn who(here: [u8; HERE]) -> (i32, [u8; 3]) {
    let [a, b, c, d, holds @ ..] = here;
    (i32::from_le_bytes([a, b, c, d]), holds)
}

/// What is to be run.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) argv: Vec<String>,
    /// Bytes, because a path need not be UTF-8.
    pub(super) directory: Vec<u8>,
    pub(super) env: Vec<(String, String)>,
    pub(super) limits: Limits,
    pub(super) nice: u8,
    pub(super) credentials: Option<Credentials>,
    pub(super) wrapper: Option<Wrapper>,
    /// When everything ends in any case, by [`crate::domain::clock::since_boot`].
    pub(super) until: Option<Duration>,
}

/// The word that puts off the end of the lease.
pub(super) fn put_off(until: Duration) -> Vec<u8> {
    let nanoseconds = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
    [&[PUT_OFF][..], &nanoseconds.to_le_bytes()].concat()
}

/// Until when, as follows [`PUT_OFF`].
pub(super) fn read_until(mut from: &UnixStream) -> io::Result<Duration> {
    let mut nanoseconds = [0; 8];
    from.read_exact(&mut nanoseconds)?;
    Ok(Duration::from_nanos(u64::from_le_bytes(nanoseconds)))
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// It was not started: what failed, and with which error of the operating system.
    Refused(Stage, i32),
    /// It ended, and nothing below it is left.
    Ended(Ended),
}

/// What was being done when the start failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stage {
    /// Making a process.
    Fork,
    /// Giving it its place: session, streams, limits.
    Confine,
    /// Becoming the user it runs as.
    User,
    /// Entering its directory.
    Directory,
    /// Finding and executing the program.
    Program,
    /// Executing the wrapper it is run in.
    Wrapper,
    /// The program is there; what its first line, or its header, names is not.
    Interpreter,
}

/// How a step ended and what it took, all its processes together.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Ended {
    pub(super) status: Status,
    /// When it was executed, by the host's clock, in microseconds of Unix time.
    pub(super) executed_at: i64,
    pub(super) cpu_us: u64,
    pub(super) peak_memory_kb: u64,
    pub(super) oom_kills: u64,
    /// Whether the wrapper, if there was one, came to execute the program.
    pub(super) executed: bool,
    /// Whether the lease passed.
    pub(super) lease_over: bool,
    /// Whether the keeper is to keep no other step, because of what this one left.
    pub(super) laden: bool,
}

/// How the program itself ended.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Status {
    Exited(i32),
    Signalled(i32),
}

impl Status {
    pub(super) fn is_exit(self) -> bool {
        matches!(self, Self::Exited(_))
    }
}

impl Default for Status {
    /// Unless something better is known.
    fn default() -> Self {
        Self::Signalled(nix::libc::SIGKILL)
    }
}

/// What a program prints to and reads from.
#[derive(Debug)]
pub(super) struct Streams {
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    pub(super) stdin: Option<OwnedFd>,
}

/// A message with its length before it.
pub(super) fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; LENGTH];
    serde_json::to_writer(&mut bytes, message)?;
    let length = u32::try_from(bytes.len() - LENGTH)
        .ok()
        .filter(|length| *length <= MOST);
    let length = length.ok_or_else(|| io::Error::from_raw_os_error(nix::libc::E2BIG))?;
    bytes[..LENGTH].copy_from_slice(&length.to_le_bytes());
    Ok(bytes)
}

/// The message in what was received so far, once it is whole.
pub(super) fn whole(received: &[u8]) -> Option<&[u8]> {
    let (announced, message) = received.split_first_chunk()?;
    message.get(..length_of(*announced).ok()?)
}

/// The length a message announces.
fn length_of(announced: [u8; LENGTH]) -> io::Result<usize> {
    match u32::from_le_bytes(announced) {
        length if length <= MOST => Ok(length as usize),
        length => Err(io::Error::other(format!("a message of {length} bytes"))),
    }
}

/// Writes a message.
pub(super) fn send(mut to: impl Write, message: &impl Serialize) -> io::Result<()> {
    to.write_all(&encode(message)?)
}

/// Reads an order and the streams that came with it; `None` when there will be none.
pub(super) fn receive_order(mut from: &UnixStream) -> io::Result<Option<(Order, Streams)>> {
    let mut head = [0; LENGTH];
    let Some((mut fds, received)) = take_fds(from, &mut head)? else {
        return Ok(None);
    };
    from.read_exact(&mut head[received..])?;
    let mut body = vec![0; length_of(head)?];
    from.read_exact(&mut body)?;
    if fds.len() < 2 {
        return Err(io::Error::other("an order without streams"));
    }
    let streams = Streams {
        stdout: fds.remove(0),
        stderr: fds.remove(0),
        stdin: fds.pop(),
    };
    Ok(Some((serde_json::from_slice(&body)?, streams)))
}

/// Sends what it can of `bytes`, at least one, with descriptors; answers how many. Like every write to
/// a socket that does not block, it may have to be tried again.
pub(super) fn give_fds(to: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::other("more descriptors than a step has"));
    }
    let sent = sendmsg(to, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(sent)
}

/// Receives bytes into `buffer` and the descriptors that came with them; `None` at the end.
pub(super) fn take_fds(from: impl AsFd, buffer: &mut [u8]) -> io::Result<Option<(Vec<OwnedFd>, usize)>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        let buffer = &mut [IoSliceMut::new(buffer)];
        recvmsg(&from, buffer, &mut control, RecvFlags::CMSG_CLOEXEC)
    });
    let received = match received {
        Ok(message) if message.bytes > 0 => message.bytes,
        Ok(_) | Err(rustix::io::Errno::CONNRESET) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let fds = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => fds.collect::<Vec<_>>(),
        _ => Vec::new(),
    });
    Ok(Some((fds.collect(), received)))
}
