//! A private PostgreSQL cluster: found, initialised, started and stopped by this program, for `dev`,
//! the tests and the benchmarks.
//!
//! Everything lies in one directory. The server listens on a Unix socket only, which only its own
//! user and root may open. It never outlives the process that started it, however that ends: a small
//! shell, the guardian, waits on a pipe from that process and stops the server when the pipe closes.
//!
//! The functions wait for other processes: call them from a thread that may block.

mod account;
mod guardian;
mod hold;
mod programs;
mod socket;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use account::Account;
use guardian::Guardian;
pub use hold::Hold;
pub use programs::Programs;

/// The superuser of every private cluster.
const SUPERUSER: &str = "postgres";
/// How long a server may take to recover and accept connections.
const START_WITHIN: Duration = Duration::from_secs(300);
/// How long a server may take to write what it holds and end.
const STOP_WITHIN: Duration = Duration::from_secs(60);
/// Time between two looks at a server that starts or stops.
const LOOK: Duration = Duration::from_millis(10);

/// Why there is no private cluster.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No directory holds the programs.
    #[error("{0}")]
    Missing(String),
    /// Another process has the directory.
    #[error("{directory} is in use by process {holder}; stop that one, or choose another directory")]
    Held {
        /// The directory.
        directory: PathBuf,
        /// The id of the process that has it.
        holder: String,
    },
    /// The server's user cannot get there.
    #[error(
        "{directory} cannot be reached by the user {user}, who runs PostgreSQL because it refuses to run \
         as root; choose a directory that others may enter, as /var/lib/orchestrator/dev"
    )]
    Unreachable {
        /// The directory.
        directory: PathBuf,
        /// The user's name.
        user: String,
    },
    /// A program ended badly.
    #[error("{program} failed:\n{said}")]
    Program {
        /// Its name.
        program: &'static str,
        /// What it said, at its end.
        said: String,
    },
    /// A file or a process could not be had.
    #[error("{0}: {1}")]
    System(String, #[source] std::io::Error),
}

/// Adds what was tried to an error of the system.
fn during<T>(what: impl FnOnce() -> String, tried: std::io::Result<T>) -> Result<T, Error> {
    tried.map_err(|error| Error::System(what(), error))
}

/// What differs between a cluster that is kept and one that is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Committed is on disk, and the directory stays.
    Data,
    /// Nothing is forced to disk, and the directory is deleted with the server: for tests.
    Nothing,
}

/// A running server. Dropping it stops the server without waiting for that.
#[derive(Debug)]
pub struct Cluster {
    programs: Programs,
    account: Account,
    socket: PathBuf,
    guardian: Guardian,
}

impl Cluster {
    /// Starts the server in the directory that `hold` holds, and initialises it first if it is new.
    /// An initialisation that was cut off is done again; a server that was killed recovers.
    ///
    /// # Errors
    ///
    /// [`Error`], with what PostgreSQL said.
    pub fn start(programs: &Programs, hold: &Hold, keep: Keep) -> Result<Self, Error> {
        let directory = hold.directory();
        let account = Account::choose()?;
        account.must_reach(directory)?;
        if keep == Keep::Nothing {
            // Its user deletes it in the end, and so must own it.
            account.make_directory(directory)?;
        }
        let home = directory.join("postgres");
        account.make_directory(&home)?;
        let data = home.join("data");
        if !data.exists() {
            initialise(programs, &account, &home, &data)?;
        }
        let socket = socket::directory(&account, &home)?;
        let guardian = Guardian::start(programs, &account, hold, &home, &socket, keep)?;
        let cluster = Self {
            programs: programs.clone(),
            account,
            socket,
            guardian,
        };
        cluster.await_start(&data)
    }

    /// Makes a database unless it is there.
    ///
    /// # Errors
    ///
    /// [`Error::Program`] when the server refuses.
    pub fn create_database(&self, name: &str) -> Result<(), Error> {
        let statement = format!(
            "select format('create database %I', name) from (values ('{}')) as wanted (name) \
             where name not in (select datname from pg_database) \\gexec",
            name.replace('\'', "''"),
        );
        let mut psql = self.account.command(&self.programs.path("psql"));
        psql.args([
            "--no-psqlrc",
            "--quiet",
            "--set=ON_ERROR_STOP=1",
            "--username",
            SUPERUSER,
        ])
        .args(["--dbname=postgres", "--host"])
        .arg(&self.socket);
        account::run("psql", psql, &statement)
    }

    /// The URL of a database of this cluster.
    ///
    /// # Panics
    ///
    /// Never: the base is a whole URL.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let mut url = url::Url::parse("postgresql://localhost").expect("a whole URL");
        let _ = url.set_username(SUPERUSER);
        url.set_path(database);
        url.query_pairs_mut()
            .append_pair("host", &self.socket.to_string_lossy());
        // As psql and people write a path; a slash means nothing else in a query.
        url.as_str().replace("%2F", "/")
    }

    /// Stops the server in order: sessions end, what is in memory is written.
    ///
    /// # Errors
    ///
    /// [`Error::Program`] when it ended badly; the next start recovers.
    pub fn stop(mut self) -> Result<(), Error> {
        self.guardian.stop(STOP_WITHIN)
    }

    /// Waits until the server takes connections.
    fn await_start(mut self, data: &Path) -> Result<Self, Error> {
        let started = Instant::now();
        while !self.is_ready(data) {
            if self.guardian.has_ended()? || started.elapsed() > START_WITHIN {
                return Err(self.guardian.failure());
            }
            std::thread::sleep(LOOK);
        }
        Ok(self)
    }

    /// The server says so in its pid file, and its socket answers: after a crash either is there
    /// without the other.
    fn is_ready(&self, data: &Path) -> bool {
        let said = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
        // A copy that follows another server says `standby`, and takes connections to read.
        said.lines()
            .nth(7)
            .is_some_and(|status| matches!(status.trim(), "ready" | "standby"))
            && std::os::unix::net::UnixStream::connect(socket::file(&self.socket)).is_ok()
    }
}

/// Runs `initdb` beside the place and moves the result there, so that what is there is whole.
fn initialise(programs: &Programs, account: &Account, home: &Path, data: &Path) -> Result<(), Error> {
    let unfinished = home.join("data.unfinished");
    if unfinished.exists() {
        during(
            || format!("cannot remove {}", unfinished.display()),
            fs::remove_dir_all(&unfinished),
        )?;
    }
    let mut initdb = account.command(&programs.path("initdb"));
    initdb
        .args([
            "--username",
            SUPERUSER,
            "--auth=trust",
            "--encoding=UTF8",
            "--no-locale",
            "--pgdata",
        ])
        .arg(&unfinished);
    account::run("initdb", initdb, "")?;
    during(
        || format!("cannot make {}", data.display()),
        fs::rename(&unfinished, data),
    )
}
