//! git, run where a hostile repository finds nothing to take: in the sandbox, as the steps' user, without a
//! network, with a configuration of ours and no other.

use std::path::Path;
use std::time::Duration;

use tokio::sync::mpsc;

use super::super::process::{self, Bound, Chunk, Command, End, Limits, SpawnError, Stream};
use super::super::{Settings, room, sandbox};
use crate::domain::attempt::Failure;
use crate::domain::job::Code;

/// Longest any of this may take.
const PATIENCE: Duration = Duration::from_secs(30 * 60);
/// Most bytes a script may answer with.
const ANSWER: usize = 256 * 1024 * 1024;
/// Bytes of standard error that are kept to say why something failed.
const COMPLAINT: usize = 2000;

const CLONE: &str = concat!(include_str!("common.sh"), include_str!("clone.sh"));
const COPY: &str = concat!(include_str!("common.sh"), include_str!("copy.sh"));
const LIST: &str = concat!(include_str!("common.sh"), include_str!("list.sh"));
const SNAPSHOT: &str = concat!(include_str!("common.sh"), include_str!("snapshot.sh"));
const TEXT: &str = concat!(include_str!("common.sh"), include_str!("text.sh"));
const APPLY: &str = concat!(include_str!("common.sh"), include_str!("apply.sh"));
const EMPTY: &str = concat!(include_str!("common.sh"), include_str!("empty.sh"));

/// Runs the scripts beside this file for one workspace.
pub(super) struct Tool<'a> {
    settings: &'a Settings,
    home: &'a Path,
    source: Option<&'a Path>,
    bare: bool,
    bound: &'a Bound,
}

impl<'a> Tool<'a> {
    pub(super) fn new(settings: &'a Settings, home: &'a Path, bound: &'a Bound) -> Self {
        Self {
            settings,
            home,
            source: None,
            bare: false,
            bound,
        }
    }

    /// Does without a sandbox, where an administrator has turned it off.
    pub(super) fn bare(self, bare: bool) -> Self {
        Self { bare, ..self }
    }

    /// Lets the scripts read the project's directory.
    pub(super) fn reading(self, source: &'a Path) -> Self {
        Self {
            source: Some(source),
            ..self
        }
    }

    /// Clones the project at `commit`; answers with the commit's id, empty when there is none yet.
    pub(super) async fn clone(&self, commit: &str) -> Result<String, Failure> {
        let source = self.source.unwrap_or(self.home).to_string_lossy().into_owned();
        self.run(CLONE, &[&source, commit], None)
            .await
            .map(|said| line(&said))
    }

    /// Copies the project; answers with the id of the commit of ours that holds it.
    pub(super) async fn copy(&self) -> Result<String, Failure> {
        let source = self.source.unwrap_or(self.home).to_string_lossy().into_owned();
        self.run(COPY, &[&source], None).await.map(|said| line(&said))
    }

    /// Paths that changed since the last snapshot, each ended by NUL.
    pub(super) async fn list(&self) -> Result<Vec<u8>, Failure> {
        self.run(LIST, &[], None).await
    }

    /// Takes these paths, each ended by NUL, as they are now; those in the first `gone` bytes are no more.
    /// Writes what differs from `base` to `patch.diff`.
    pub(super) async fn snapshot(&self, base: &str, gone: usize, paths: Vec<u8>) -> Result<(), Failure> {
        let (most, gone) = (self.blocks(), gone.to_string());
        self.run(SNAPSHOT, &[base, &most, &gone], Some(paths))
            .await
            .map(drop)
    }

    /// Prints what differs from `base` to `output`, with every file as text. Nobody has to hear it to its end.
    pub(super) async fn text(&self, base: &str, output: mpsc::Sender<Chunk>) -> Result<(), Failure> {
        let (between, mut chunks) = mpsc::channel(16);
        let running = self.watched(self.command(TEXT, &[base], None)?, between);
        // What passes it on is gone as soon as nobody hears it: git would wait for ever to be heard.
        let passing = async move {
            let mut complaint = Vec::new();
            while let Some(chunk) = chunks.recv().await {
                match chunk.stream {
                    Stream::Stderr => keep(&mut complaint, &chunk.bytes, COMPLAINT),
                    Stream::Stdout if output.send(chunk).await.is_err() => break,
                    Stream::Stdout => {}
                }
            }
            complaint
        };
        let (ended, complaint) = tokio::join!(running, passing);
        self.judge(ended?, &complaint)
    }

    /// Brings a patch against `base` into the workspace.
    pub(super) async fn apply(&self, base: &str, patch: Vec<u8>) -> Result<(), Failure> {
        self.run(APPLY, &[base, &self.blocks()], Some(patch))
            .await
            .map(drop)
    }

    /// Deletes what is in a workspace as far as that can be done.
    pub(super) async fn empty(&self) {
        let emptied = async {
            let command = self.command(EMPTY, &[], None)?;
            let (output, _) = mpsc::channel(1);
            // However little room there is: this makes some.
            let ended = process::run(&self.settings.supervisor, command, output, self.bound.clone()).await;
            self.judge(ended.map(|outcome| outcome.end), &[])
        };
        if let Err(failure) = emptied.await {
            tracing::debug!(home = %self.home.display(), error = %failure.message, "a workspace is not empty yet");
        }
    }

    /// The largest patch, in the unit of `ulimit -f`.
    fn blocks(&self) -> String {
        (self.settings.artifact_limit / 512 + 1).to_string()
    }

    async fn run(
        &self,
        script: &str,
        arguments: &[&str],
        stdin: Option<Vec<u8>>,
    ) -> Result<Vec<u8>, Failure> {
        let (output, mut chunks) = mpsc::channel(64);
        let running = self.watched(self.command(script, arguments, stdin)?, output);
        let reading = async {
            let (mut said, mut complaint) = (Vec::new(), Vec::new());
            while let Some(chunk) = chunks.recv().await {
                let (to, most) = match chunk.stream {
                    Stream::Stdout => (&mut said, ANSWER),
                    Stream::Stderr => (&mut complaint, COMPLAINT),
                };
                keep(to, &chunk.bytes, most);
            }
            (said, complaint)
        };
        let (ended, (said, complaint)) = tokio::join!(running, reading);
        self.judge(ended?, &complaint)?;
        match said.len() < ANSWER {
            true => Ok(said),
            false => Err(failed("more changed than can be listed")),
        }
    }

    /// How a script ends that is stopped when the disk has no room any more.
    ///
    /// # Errors
    ///
    /// `output_limit`, when it was stopped for that.
    async fn watched(
        &self,
        command: Command,
        output: mpsc::Sender<Chunk>,
    ) -> Result<Result<End, SpawnError>, Failure> {
        let stop = self.bound.stop.child_token();
        let bound = Bound {
            stop: stop.clone(),
            ..self.bound.clone()
        };
        let running = process::run(&self.settings.supervisor, command, output, bound);
        let (ended, full) = room::watch(self.settings, self.home, &stop, running).await;
        let ended = ended.map(|outcome| outcome.end);
        match (full, &ended) {
            (Some(full), Ok(End::Stopped)) if !self.bound.stop.is_cancelled() => Err(full),
            _ => Ok(ended),
        }
    }

    /// What the end of a script means that complained so.
    fn judge(&self, ended: Result<End, SpawnError>, complaint: &[u8]) -> Result<(), Failure> {
        let complaint = String::from_utf8_lossy(complaint).trim().replace('\n', " ");
        let why = match ended {
            Ok(End::Exited(0)) => return Ok(()),
            Ok(End::Exited(3)) => return Err(Failure::new(Code::PatchApplyFailed, complaint)),
            Ok(End::Exited(4)) => return Err(self.too_large()),
            Ok(End::Exited(127)) => "git is not installed on the runner's host".to_owned(),
            Ok(End::Exited(code)) if complaint.is_empty() => format!("git ended with exit code {code}"),
            Ok(End::Exited(_)) => complaint,
            Ok(End::Signalled(signal)) => format!("git was ended by signal {signal}; {complaint}"),
            Ok(End::OutOfMemory) => {
                "git needs more memory than a step may have; raise STEP_MEMORY_MB".to_owned()
            }
            Ok(End::Unwatched) => "somebody killed the process that keeps git; retry the job".to_owned(),
            Ok(End::Stopped) => "it was stopped".to_owned(),
            Ok(End::LeaseOver) => "the runner's lease passed meanwhile".to_owned(),
            Ok(End::TimedOut | End::IdleTimedOut) => "it took more than half an hour".to_owned(),
            Err(error) => error.to_string(),
        };
        Err(failed(why.trim_end_matches("; ").trim_end_matches('.')))
    }

    fn too_large(&self) -> Failure {
        let most = self.settings.artifact_limit / 1_000_000;
        Failure::new(
            Code::OutputLimit,
            format!(
                "The step's patch has more than {most} MB, which are the most that is kept: change less, let .gitignore name what is built, or raise MAX_ARTIFACT_MB."
            ),
        )
    }

    fn command(&self, script: &str, arguments: &[&str], stdin: Option<Vec<u8>>) -> Result<Command, Failure> {
        let mut argv: Vec<String> = ["sh", "-c", script, "workspace"].map(str::to_owned).into();
        argv.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let room = sandbox::Room {
            writable: self.home,
            readable: self.source,
        };
        let wrapper = match self.bare {
            true => None,
            false => self
                .settings
                .sandbox
                .around(&room)
                .map_err(|why| no_sandbox(&why))?,
        };
        Ok(Command {
            argv,
            directory: self.home.to_owned(),
            env: environment(self.home),
            stdin,
            timeout: PATIENCE,
            idle_timeout: None,
            grace: Duration::from_secs(1),
            // What lists a large file is larger.
            limits: Limits {
                file_bytes: None,
                ..self.settings.limits
            },
            nice: self.settings.nice,
            credentials: self.settings.credentials,
            wrapper,
        })
    }
}

/// Nothing of the host's or the project's configuration counts, no protocol but files, nobody is asked.
fn environment(home: &Path) -> Vec<(String, String)> {
    let home = home.to_string_lossy();
    let config = format!("{home}/gitconfig");
    [
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("HOME", "/nonexistent"),
        ("XDG_CONFIG_HOME", "/nonexistent"),
        ("LC_ALL", "C"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_ATTR_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", &config),
        ("GIT_ALLOW_PROTOCOL", "file"),
        ("GIT_NO_LAZY_FETCH", "1"),
        ("GIT_NO_REPLACE_OBJECTS", "1"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_ASKPASS", "/bin/false"),
        ("GIT_SSH_COMMAND", "/bin/false"),
        ("GIT_EDITOR", "/bin/false"),
        ("GIT_PAGER", "cat"),
        ("GIT_AUTHOR_NAME", "orchestrator"),
        ("GIT_AUTHOR_EMAIL", "orchestrator@localhost"),
        ("GIT_AUTHOR_DATE", "2000-01-01T00:00:00Z"),
        ("GIT_COMMITTER_NAME", "orchestrator"),
        ("GIT_COMMITTER_EMAIL", "orchestrator@localhost"),
        ("GIT_COMMITTER_DATE", "2000-01-01T00:00:00Z"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// Keeps what there is room for.
fn keep(kept: &mut Vec<u8>, bytes: &[u8], most: usize) {
    let room = most.saturating_sub(kept.len());
    kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

fn line(said: &[u8]) -> String {
    String::from_utf8_lossy(said).trim().to_owned()
}

fn no_sandbox(why: &str) -> Failure {
    Failure::new(
        Code::Policy,
        format!(
            "The job's workspace is made in a sandbox, which could not be set up: {why}. The host's administrator can install bubblewrap, or turn the sandbox off (SANDBOX=off, or for the project)."
        ),
    )
}

fn failed(why: &str) -> Failure {
    Failure::new(
        Code::Workspace,
        format!("The job's workspace could not be worked on: {why}."),
    )
}
