//! The shell between this process and the server.
//!
//! It reads a pipe whose other end only this process has. When the pipe closes, because the cluster
//! is stopped or because this process is gone, it stops the server, waits for its end and, with it,
//! lets the directory go.

use std::fs::{self, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::account::{Account, last_lines};
use super::{Error, Hold, Keep, LOOK, Programs, during};

/// `$0` is the signal that stops the server, `$1` what to delete afterwards or nothing, the rest the
/// server. Standard input is the pipe, standard output the lock on the directory, which the server
/// must not inherit: its children would hold it on. Signals meant for the terminal's programs are
/// ignored: this process hears them too, and decides.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
exec 3<&0
delete=$1
shift
"$@" 3<&- </dev/null >&2 &
server=$!
( read -r _ <&3; kill -s "$0" "$server" ) &
watcher=$!
exec 3<&-
wait "$server"
ended=$?
kill -s KILL "$watcher" 2>/dev/null
if [ -n "$delete" ]; then rm -rf -- "$delete"; fi
exit "$ended"
"#;
/// A log that has grown beyond this many bytes is put aside at the next start.
const LOG_BYTES: u64 = 8 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Guardian {
    shell: Child,
    log: PathBuf,
    /// Where this start's part of the log begins.
    log_from: u64,
}

impl Guardian {
    pub(super) fn start(
        programs: &Programs,
        account: &Account,
        hold: &Hold,
        home: &Path,
        socket: &Path,
        keep: Keep,
    ) -> Result<Self, Error> {
        let log = home.join("log");
        let what = || format!("cannot write {}", log.display());
        if fs::metadata(&log).is_ok_and(|found| found.len() > LOG_BYTES) {
            during(what, fs::rename(&log, home.join("log.old")))?;
        }
        let mut options = OpenOptions::new();
        let file = during(what, options.append(true).create(true).mode(0o600).open(&log))?;
        let log_from = during(what, file.metadata())?.len();
        let mut shell = account.command(Path::new("/bin/sh"));
        shell.args(["-c", SCRIPT]);
        match keep {
            // INT: roll back, write everything, end. QUIT: end.
            Keep::Data => shell.args(["INT", ""]),
            Keep::Nothing => shell.arg("QUIT").arg(hold.directory()),
        };
        server(&mut shell, programs, home, socket, keep);
        shell
            .stdin(Stdio::piped())
            .stdout(hold.share()?)
            .stderr(file)
            .process_group(0);
        let shell = during(|| "cannot run /bin/sh".to_owned(), shell.spawn())?;
        Ok(Self { shell, log, log_from })
    }

    pub(super) fn has_ended(&mut self) -> Result<bool, Error> {
        let ended = during(|| "cannot wait for PostgreSQL".to_owned(), self.shell.try_wait())?;
        Ok(ended.is_some())
    }

    /// Closes the pipe and waits.
    pub(super) fn stop(&mut self, within: Duration) -> Result<(), Error> {
        drop(self.shell.stdin.take());
        let began = Instant::now();
        while !self.has_ended()? {
            if began.elapsed() > within {
                return Err(self.failure());
            }
            std::thread::sleep(LOOK);
        }
        let ended = during(|| "cannot wait for PostgreSQL".to_owned(), self.shell.wait())?;
        match ended.success() {
            true => Ok(()),
            false => Err(self.failure()),
        }
    }

    /// What the server said since it was started.
    pub(super) fn failure(&self) -> Error {
        let read = || {
            let mut file = fs::File::open(&self.log)?;
            file.seek(SeekFrom::Start(self.log_from))?;
            let mut said = Vec::new();
            file.read_to_end(&mut said)?;
            Ok::<_, std::io::Error>(said)
        };
        let said = read().unwrap_or_default();
        Error::Program {
            program: "postgres",
            said: last_lines(&String::from_utf8_lossy(&said)),
        }
    }
}

/// Adds the server and its settings, which the command line puts above every file.
fn server(shell: &mut Command, programs: &Programs, home: &Path, socket: &Path, keep: Keep) {
    let settings: &[&str] = match keep {
        Keep::Data => &["max_connections=200"],
        Keep::Nothing => &[
            "max_connections=500",
            "fsync=off",
            "synchronous_commit=off",
            "full_page_writes=off",
        ],
    };
    shell
        .arg(programs.path("postgres"))
        .arg("-D")
        .arg(home.join("data"));
    let ours = [
        "listen_addresses=",
        "unix_socket_permissions=0700",
        "logging_collector=off",
        "timezone=UTC",
    ];
    for setting in ours.iter().chain(settings) {
        shell.args(["-c", setting]);
    }
    // A list to PostgreSQL: quoted, so that a comma or a blank in the path is part of it.
    let quoted = socket.to_string_lossy().replace('"', "\"\"");
    shell
        .arg("-c")
        .arg(format!("unix_socket_directories=\"{quoted}\""));
}
