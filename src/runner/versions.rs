//! Which programs of agents are on this host, and whether they are new enough.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Settings;
use super::process::{self, Command, Credentials, End, Limits, Supervisor};
use crate::domain::agent::{Binary, Definition, Version};
use crate::domain::attempt::Failure;
use crate::domain::job::Code;

/// Longest a program may take to say its version.
const PATIENCE: Duration = Duration::from_secs(20);
/// Most bytes of what it says that are looked at.
const MOST: usize = 64 * 1024;

/// One program of an agent on this host.
#[derive(Clone, Debug)]
pub struct Found {
    /// The agent.
    pub agent: String,
    /// The program's name.
    pub binary: String,
    /// Where it is.
    pub path: Option<PathBuf>,
    /// Its version, when it says one that will do.
    pub version: Option<Version>,
    /// Why it will not do, as a sentence.
    pub problem: Option<String>,
}

/// Who asks programs for their versions.
#[derive(Clone, Debug)]
pub struct Asker {
    /// Who starts them.
    pub supervisor: Supervisor,
    /// Whom they run as.
    pub credentials: Option<Credentials>,
    /// Where programs are looked for.
    pub path: String,
}

/// Says of each program each agent needs whether it is here and will do.
pub async fn survey(asker: &Asker, agents: &[(String, Definition)]) -> Vec<Found> {
    let mut all = Vec::new();
    for (agent, definition) in agents {
        for binary in &definition.binaries {
            all.push(look(asker, agent, binary).await);
        }
    }
    all
}

async fn look(asker: &Asker, agent: &str, binary: &Binary) -> Found {
    let path = locate(&binary.name, &asker.path);
    let judged = match &path {
        None => Err(format!(
            "`{}` was not found; install it, or say where it is in PATH",
            binary.name
        )),
        Some(path) => version(asker, path, binary).await,
    };
    let (version, problem) = match judged {
        Ok(version) => (Some(version), None),
        Err(problem) => (None, Some(problem)),
    };
    Found {
        agent: agent.to_owned(),
        binary: binary.name.clone(),
        path,
        version,
        problem,
    }
}

/// Where a program is that everybody may run.
pub(super) fn locate(name: &str, path: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let runs = |candidate: &PathBuf| {
        candidate
            .metadata()
            .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(path)
        .map(|directory| directory.join(name))
        .find(runs)
}

async fn version(asker: &Asker, path: &Path, binary: &Binary) -> Result<Version, String> {
    let said = said(asker, path, binary).await?;
    binary
        .judge(&said)
        .map_err(|unfit| format!("`{}` {unfit}", path.display()))
}

/// What a program says when it is asked for its version.
async fn said(asker: &Asker, path: &Path, binary: &Binary) -> Result<String, String> {
    let mut argv = vec![path.display().to_string()];
    argv.extend(binary.version_argv.iter().cloned());
    let command = Command {
        argv,
        directory: "/".into(),
        env: vec![
            ("PATH".into(), asker.path.clone()),
            ("HOME".into(), "/tmp".into()),
        ],
        stdin: None,
        timeout: PATIENCE,
        idle_timeout: None,
        grace: Duration::from_secs(1),
        limits: Limits::default(),
        nice: 0,
        credentials: asker.credentials,
        wrapper: None,
    };
    let (output, mut chunks) = mpsc::channel(16);
    let running = process::run(&asker.supervisor, command, output, CancellationToken::new());
    let hearing = async {
        let mut said = Vec::new();
        while let Some(chunk) = chunks.recv().await {
            let room = MOST.saturating_sub(said.len());
            said.extend_from_slice(&chunk.bytes[..chunk.bytes.len().min(room)]);
        }
        String::from_utf8_lossy(&said).into_owned()
    };
    let (ended, said) = tokio::join!(running, hearing);
    let called = format!("`{} {}`", path.display(), binary.version_argv.join(" "));
    match ended.map(|outcome| outcome.end) {
        Ok(End::Exited(0)) => Ok(said),
        Ok(End::Exited(code)) => Err(format!("{called} exited with code {code}")),
        Ok(End::TimedOut) => Err(format!("{called} took longer than {} s", PATIENCE.as_secs())),
        Ok(_) => Err(format!("{called} was killed")),
        Err(error) => Err(error.to_string()),
    }
}

/// Where a program is, and which file that was when it was asked.
type File = (PathBuf, Option<SystemTime>, Vec<String>);

/// What programs of this host said of themselves. One that is replaced is asked again.
#[derive(Clone, Debug, Default)]
pub struct Versions(Arc<Mutex<HashMap<File, String>>>);

impl Versions {
    /// Checks that an agent's programs are here and new enough.
    ///
    /// # Errors
    ///
    /// `spawn` when one is missing or does not run, `policy` when one is too old.
    pub(super) async fn all_fit(
        &self,
        settings: &Settings,
        agent: &str,
        binaries: &[Binary],
    ) -> Result<(), Failure> {
        let asker = Asker {
            supervisor: settings.supervisor.clone(),
            credentials: settings.credentials,
            path: settings.path().to_owned(),
        };
        for binary in binaries {
            self.fits(&asker, agent, binary).await?;
        }
        Ok(())
    }

    async fn fits(&self, asker: &Asker, agent: &str, binary: &Binary) -> Result<(), Failure> {
        let Some(path) = locate(&binary.name, &asker.path) else {
            let sentence = format!(
                "`{}`, which agent {agent:?} needs, was not found; install it on the runner's host, or say where it is in PATH.",
                binary.name
            );
            return Err(Failure::new(Code::Spawn, sentence));
        };
        // Which version it is matters to nobody.
        if binary.minimum.is_none() {
            return Ok(());
        }
        let changed = path.metadata().and_then(|file| file.modified()).ok();
        let file = (path.clone(), changed, binary.version_argv.clone());
        let known = self.lock().get(&file).cloned();
        let said = match known {
            Some(said) => said,
            None => {
                let said = said(asker, &path, binary).await.map_err(|why| {
                    Failure::new(Code::Spawn, format!("Agent {agent:?} cannot be run: {why}."))
                })?;
                self.lock().insert(file, said.clone());
                said
            }
        };
        match binary.judge(&said) {
            Ok(_) => Ok(()),
            Err(unfit) => {
                let sentence = format!(
                    "`{}`, which agent {agent:?} needs, {unfit}; install a newer one on the runner's host.",
                    path.display()
                );
                Err(Failure::new(Code::Policy, sentence))
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<File, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
