//! Why a program could not be started, in words that say what to do.

use std::io;

use super::Command;
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
            (Stage::Confine | Stage::User, _) => (
                Refusal::Host,
                format!("`{program}` could not be confined, so it was not run: {cause}."),
            ),
        };
        Self { refusal, sentence }
    }

    pub(super) fn host(command: &Command, cause: &io::Error) -> Self {
        let program = command.argv.first().map_or("", String::as_str);
        Self {
            refusal: Refusal::Host,
            sentence: format!("No process could be made for `{program}`: {cause}."),
        }
    }
}

fn path_of(command: &Command) -> &str {
    let path = command.env.iter().rfind(|(name, _)| name == "PATH");
    path.map_or("not set", |(_, value)| value)
}
