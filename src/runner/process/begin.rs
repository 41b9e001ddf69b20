//! From a copy of the keeper to the program: everything between `fork` and `execve`.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::{Gid, Pid, Uid, setgid, setgroups, setsid, setuid};
use rustix::fs::Mode;
use rustix::process::Signal;

use super::fork::{Policy, Words};
use super::wire::{Order, Stage, Streams};
use super::wrapped::{self, Status};
use super::{Credentials, fork};

/// How much sooner than others the kernel picks a step when memory runs out, of 1000.
const OOM_SCORE: &str = "500";
/// How long a step that is to yield computes at a time, unless it is interrupted: by whoever wakes up and asks
/// for less, which is everybody who asks for nothing (0.7 to 2.8 ms).
const SLICE: Duration = Duration::from_millis(10);
/// Where programs are looked for when the step has no `PATH`.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// What is executed. It is made before the process that becomes it, which shares the keeper's memory until then and would
/// leave there what it had made.
pub(super) enum Image<'a> {
    Bare {
        /// Where the program may be, in this order.
        files: Vec<(CString, PathBuf)>,
        arguments: Words,
        environment: Words,
    },
    Wrapped(wrapped::Image<'a>),
}

impl<'a> Image<'a> {
    /// Of what is to be run, and of who tells whether that was executed if it is wrapped.
    pub(super) fn of(order: &Order, status: Option<&'a Status>) -> Result<Self, (Stage, Errno)> {
        if let (Some(wrapper), Some(status)) = (&order.wrapper, status) {
            let errno = |error: std::io::Error| error.raw_os_error().map_or(Errno::EINVAL, Errno::from_raw);
            let image = wrapped::Image::of(order, wrapper, status);
            return image
                .map(Self::Wrapped)
                .map_err(|error| (Stage::Wrapper, errno(error)));
        }
        let words =
            |words: &mut dyn Iterator<Item = String>| words.map(CString::new).collect::<Result<Vec<_>, _>>();
        let pairs = &mut order.env.iter().map(|(name, value)| format!("{name}={value}"));
        let (Ok(arguments), Ok(environment)) = (words(&mut order.argv.iter().cloned()), words(pairs)) else {
            return Err((Stage::Program, Errno::EINVAL));
        };
        let program = order.argv.first().map_or("", String::as_str);
        let file = |path: PathBuf| Some((CString::new(path.as_os_str().as_bytes()).ok()?, path));
        Ok(Self::Bare {
            files: candidates(program, &order.env)
                .into_iter()
                .filter_map(file)
                .collect(),
            arguments: Words::new(arguments),
            environment: Words::new(environment),
        })
    }

    /// Executes it, looked for as a shell does, but never through one. Returns only when that failed.
    fn execute(&self) -> (Stage, Errno) {
        let (files, arguments, environment) = match self {
            Self::Wrapped(image) => return (Stage::Wrapper, image.execute()),
            Self::Bare {
                files,
                arguments,
                environment,
            } => (files, arguments, environment),
        };
        let mut failed = Errno::ENOENT;
        for (file, path) in files {
            let errno = fork::execute(file, arguments, environment);
            match errno {
                Errno::ENOENT if path.exists() => return (Stage::Interpreter, errno),
                Errno::ENOENT | Errno::ENOTDIR => {}
                // Another directory may have one that is ours to execute.
                Errno::EACCES => failed = errno,
                _ => return (Stage::Program, errno),
            }
        }
        (Stage::Program, failed)
    }
}

/// Becomes the program. Returns only when that failed: where, and why.
pub(super) fn become_program(
    order: &Order,
    streams: &Streams,
    image: &Image<'_>,
    policy: Policy,
    keeper: Pid,
) -> (Stage, Errno) {
    let steps = confine(order, streams, policy)
        .map_err(|errno| (Stage::Confine, errno))
        .and_then(|()| become_user(order.credentials, keeper).map_err(|errno| (Stage::User, errno)))
        .and_then(|()| enter(order).map_err(|errno| (Stage::Directory, errno)));
    match steps {
        Ok(()) => image.execute(),
        Err(failed) => failed,
    }
}

/// Its own session, its streams, less weight than the service, and its limits.
fn confine(order: &Order, streams: &Streams, policy: Policy) -> nix::Result<()> {
    fork::release_signals()?;
    setsid()?;
    let io = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or_default());
    match &streams.stdin {
        Some(stdin) => rustix::stdio::dup2_stdin(stdin),
        None => rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null").map_err(io)?),
    }
    .and_then(|()| rustix::stdio::dup2_stdout(&streams.stdout))
    .and_then(|()| rustix::stdio::dup2_stderr(&streams.stderr))
    .map_err(errno)?;
    // These and the policy are wishes: a kernel without them has no killer, no session groups or one slice for all.
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    let _ = std::fs::write("/proc/self/autogroup", order.nice.to_string());
    let nice = rustix::process::nice(order.nice.into()).map_err(errno)?;
    if order.nice > 0 {
        let _ = policy.set(nice, SLICE);
    }
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
    order.limits.impose()
}

/// The step's user and no other group, nothing to be gained by a program that is setuid, and the
/// keeper's end as its own.
fn become_user(credentials: Option<Credentials>, keeper: Pid) -> nix::Result<()> {
    if let Some(Credentials { uid, gid }) = credentials {
        setgroups(&[])?;
        setgid(Gid::from_raw(gid))?;
        setuid(Uid::from_raw(uid))?;
    }
    rustix::thread::set_no_new_privs(true).map_err(errno)?;
    // After the change of user, which forgets it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(errno)?;
    match Pid::parent() == keeper {
        true => Ok(()),
        false => Err(Errno::ESRCH),
    }
}

fn enter(order: &Order) -> nix::Result<()> {
    rustix::process::chdir(OsStr::from_bytes(&order.directory)).map_err(errno)
}

pub(super) fn candidates(program: &str, env: &[(String, String)]) -> Vec<PathBuf> {
    if program.contains('/') || program.is_empty() {
        return vec![program.into()];
    }
    // The last wins, as it does for the program.
    let path = env.iter().rfind(|(name, _)| name == "PATH");
    let path = path.map_or(PATH, |(_, value)| value);
    std::env::split_paths(&OsString::from(path))
        .map(|directory| directory.join(Path::new(program)))
        .collect()
}

pub(super) fn errno(error: rustix::io::Errno) -> Errno {
    Errno::from_raw(error.raw_os_error())
}
