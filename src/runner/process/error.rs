//! Why a program could not be started, in words that say what to do.

use std::io;

use super::Command;
use super::begin::candidates;
use super::wire::Stage;

/// The program could not be started.
#[derive(Debug, thiserror::Error)]
#[error("{sentence}")]
pub struct SpawnError {
    /// What refused.
    pub refusal: Refusal,
    sentence: String,
}

/// What refused to start a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such program; a shell would say 127.
    Missing,
    /// It is there and may not be executed, or is no program; a shell would say 126.
    NotExecutable,
    /// What its first line, or its header, names is not there.
    Interpreter,
    /// Its arguments and environment are larger than the kernel takes.
    TooLarge,
    /// Its directory cannot be entered.
    Directory,
    /// What it was to be run in could not be set up.
    Sandbox,
    /// The host: no process could be made, or not confined.
    Host,
}

impl SpawnError {
    pub(super) fn refused(command: &Command, stage: Stage, errno: i32) -> Self {
        let program = command.argv.first().map_or("", String::as_str);
        let directory = command.directory.display();
        let cause = io::Error::from_raw_os_error(errno);
        let (refusal, sentence) = match (stage, errno) {
            (Stage::Program, nix::libc::ENOENT) => (
                Refusal::Missing,
                format!(
                    "`{program}` was not found; install it on the runner's host, or give its whole path (PATH is {}).",
                    path_of(command)
                ),
            ),
            (Stage::Program, nix::libc::EACCES) => (
                Refusal::NotExecutable,
                format!("`{program}` may not be executed by the step's user; check its mode and owner."),
            ),
            (Stage::Program, nix::libc::ENOEXEC) => (
                Refusal::NotExecutable,
                format!("`{program}` is no program; a script begins with a line as #!/bin/sh."),
            ),
            (Stage::Interpreter, _) => (
                Refusal::Interpreter,
                format!(
                    "`{program}` is there, but the interpreter it names is not; look at its first line, or at what `file` says of it."
                ),
            ),
            (Stage::Program, nix::libc::E2BIG) => (
                Refusal::TooLarge,
                format!(
                    "`{program}` was given more arguments and environment than the kernel takes; pass the data in a file."
                ),
            ),
            (Stage::Program, _) => (
                Refusal::NotExecutable,
                format!("`{program}` could not be executed: {cause}."),
            ),
            (Stage::Directory, _) => (
                Refusal::Directory,
                format!("`{program}` could not be started in {directory}: {cause}."),
            ),
            (Stage::Fork, _) => (
                Refusal::Host,
                format!(
                    "No process could be made for `{program}`: {cause}; raise the host's limit of processes."
                ),
            ),
            (Stage::Wrapper, _) => (
                Refusal::Sandbox,
                format!("`{program}` was not run, because its sandbox could not be started: {cause}."),
            ),
            (Stage::Confine | Stage::User, _) => (
                Refusal::Host,
                format!("`{program}` could not be confined, so it was not run: {cause}."),
            ),
        };
        Self { refusal, sentence }
    }

    /// Tells from what bubblewrap said on standard error why it did not execute the program.
    pub(super) fn wrapped(command: &Command, said: &str) -> Self {
        let program = command.argv.first().map_or("", String::as_str);
        let said = said.trim();
        let Some((_, why)) = said.rsplit_once("bwrap: execvp ") else {
            return Self {
                refusal: Refusal::Sandbox,
                sentence: format!(
                    "`{program}` was not run, because its sandbox could not be set up: {said}."
                ),
            };
        };
        let errnos = [nix::libc::EACCES, nix::libc::ENOEXEC, nix::libc::E2BIG];
        let errno = errnos
            .into_iter()
            .find(|errno| why.ends_with(nix::errno::Errno::from_raw(*errno).desc()));
        match errno {
            Some(errno) => Self::refused(command, Stage::Program, errno),
            None if is_there(command) => Self::refused(command, Stage::Interpreter, nix::libc::ENOENT),
            None => Self {
                refusal: Refusal::Missing,
                sentence: format!(
                    "`{program}` was not found in the sandbox; install it below /usr or /opt on the runner's host, or have its directory added to SANDBOX_READABLE (PATH is {}).",
                    path_of(command)
                ),
            },
        }
    }

    pub(super) fn host(command: &Command, cause: &io::Error) -> Self {
        let program = command.argv.first().map_or("", String::as_str);
        Self {
            refusal: Refusal::Host,
            sentence: format!("No process could be made for `{program}`: {cause}."),
        }
    }
}

/// Whether the sandbox shows the program: it is in the workspace, or is the system's.
fn is_there(command: &Command) -> bool {
    candidates(command.argv.first().map_or("", String::as_str), &command.env)
        .into_iter()
        .map(|candidate| command.directory.join(candidate))
        .any(|path| (path.starts_with(&command.directory) || path.starts_with("/usr")) && path.exists())
}

fn path_of(command: &Command) -> &str {
    let path = command.env.iter().rfind(|(name, _)| name == "PATH");
    path.map_or("not set", |(_, value)| value)
}
