//! The user that runs PostgreSQL: this process's own, or an unprivileged one when that is root,
//! because PostgreSQL refuses to run as root.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::{Uid, User};

use super::{Error, during};

/// Users that may run the server for root, in this order: the one that PostgreSQL's packages make,
/// then one that every system has. Not `nobody`: steps of jobs run as that one, and the user of the
/// server may do everything in its tables.
const FOR_ROOT: [&str; 3] = ["postgres", "_postgres", "daemon"];
/// Most of what a program said that goes into an error.
const LAST_LINES: usize = 20;

/// Who runs the server.
#[derive(Clone, Debug)]
pub(super) struct Account {
    /// Set when it is another than this process's user.
    other: Option<User>,
}

impl Account {
    pub(super) fn choose() -> Result<Self, Error> {
        if !Uid::effective().is_root() {
            return Ok(Self { other: None });
        }
        let found = FOR_ROOT
            .iter()
            .find_map(|name| User::from_name(name).ok().flatten());
        let other = found.ok_or_else(|| {
            Error::Missing(format!(
                "PostgreSQL refuses to run as root, and none of the users {} is there to run it; \
                 make one: useradd --system postgres",
                FOR_ROOT.join(", ")
            ))
        })?;
        Ok(Self { other: Some(other) })
    }

    /// A command that runs as this user, in a directory it may be in, without the settings that
    /// PostgreSQL's programs take from the environment: those are about somebody else's server.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("LC_ALL", "C")
            .env("PATH", "/usr/bin:/bin");
        command.current_dir("/").stdin(Stdio::null());
        if let Some(user) = &self.other {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
    }

    /// Refuses a directory that this user cannot enter.
    pub(super) fn must_reach(&self, directory: &Path) -> Result<(), Error> {
        let Some(user) = &self.other else { return Ok(()) };
        let mut enter = self.command(Path::new("/bin/sh"));
        enter
            .args(["-c", "cd -- \"$0\""])
            .arg(directory)
            .stderr(Stdio::null());
        let entered = during(|| "cannot run /bin/sh".to_owned(), enter.status())?;
        match entered.success() {
            true => Ok(()),
            false => Err(Error::Unreachable {
                directory: directory.to_owned(),
                user: user.name.clone(),
            }),
        }
    }

    /// Makes a directory for this user alone, or takes back one that is there.
    pub(super) fn make_directory(&self, directory: &Path) -> Result<(), Error> {
        let make = || {
            fs::create_dir_all(directory)?;
            if let Some(user) = &self.other {
                chown(directory, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
            }
            fs::set_permissions(directory, Permissions::from_mode(0o700))
        };
        during(|| format!("cannot make {}", directory.display()), make())
    }

    /// The number of this user.
    pub(super) fn uid(&self) -> u32 {
        self.other
            .as_ref()
            .map_or_else(Uid::effective, |user| user.uid)
            .as_raw()
    }
}

/// Runs a command to its end with `input`; what it said goes into the error.
pub(super) fn run(program: &'static str, mut command: Command, input: &str) -> Result<(), Error> {
    let mut run = || {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that ends without reading says why by itself.
            let _ = stdin.write_all(input.as_bytes());
        }
        child.wait_with_output()
    };
    let output = during(|| format!("cannot run {program}"), run())?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(Error::Program {
        program,
        said: last_lines(&String::from_utf8_lossy(&said)),
    })
}

/// The end of what a program said, each line set in.
pub(super) fn last_lines(said: &str) -> String {
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let from = lines.len().saturating_sub(LAST_LINES);
    let lines: Vec<String> = lines[from..].iter().map(|line| format!("  {line}")).collect();
    lines.join("\n")
}
