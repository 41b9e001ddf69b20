//! The sandbox steps run in: what of the host they see, and that they see nothing else.
//!
//! It is made by bubblewrap, without privileges: a file system of its own, put together from what is
//! named here, and namespaces of its own for processes, IPC, host name and, unless it is allowed, the
//! network. What bubblewrap leaves open `seccomp` closes. A sandbox that cannot be set up is a refusal.

mod seccomp;
mod view;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::process::{self, Command, Credentials, End, Limits, Supervisor, Wrapper};
use crate::domain::attempt::Failure;
use crate::domain::job::Code;
use crate::domain::policy::{Network, Policy};

/// What an administrator says of the sandbox.
#[derive(Clone, Debug)]
pub struct Settings {
    /// bubblewrap, by name or path; `None` when steps are to run without a sandbox.
    pub wrapper: Option<PathBuf>,
    /// Further arguments for it, after ours.
    pub arguments: Vec<String>,
    /// Further paths of the host that steps may read.
    pub readable: Vec<PathBuf>,
    /// Bytes that a step may keep in its `/tmp`.
    pub tmp_bytes: u64,
    /// Whether steps reach the network.
    pub network: Network,
    /// Whether to go on without a sandbox where there is no bubblewrap.
    pub optional: bool,
}

/// The sandbox of this host, as it was found when the runner started.
#[derive(Clone, Debug)]
pub struct Sandbox {
    settings: Settings,
    found: Found,
}

#[derive(Clone, Debug)]
enum Found {
    /// bubblewrap works; whether it can forbid further user namespaces.
    Bubblewrap { program: PathBuf, userns: bool },
    /// The administrator, or `dev`, does without: why.
    Off(&'static str),
    /// It cannot be set up: why.
    Broken(String),
}

/// What scripts see beside the system.
pub(super) struct Room<'a> {
    /// Where they work.
    pub(super) writable: &'a Path,
    /// What else they may read.
    pub(super) readable: Option<&'a Path>,
}

/// How a step is to be confined.
pub(super) enum Plan {
    /// By this.
    Wrapped(Wrapper),
    /// Not at all; what its log has to say about that.
    Bare(&'static str),
}

/// What a step may do to its workspace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Access {
    /// Whatever it likes.
    #[default]
    Writes,
    /// Read it.
    Reads,
}

impl Sandbox {
    /// Finds out what works, by running a program in the sandbox.
    pub async fn find(
        settings: Settings,
        path: Option<&std::ffi::OsStr>,
        supervisor: &Supervisor,
        credentials: Option<Credentials>,
    ) -> Self {
        let found = match &settings.wrapper {
            None => Found::Off("SANDBOX=off: steps run without a sandbox"),
            Some(wrapper) => match (locate(wrapper, path), settings.optional) {
                (None, true) => Found::Off(
                    "bubblewrap is not installed: steps run without a sandbox (install bubblewrap to have one)",
                ),
                (None, false) => Found::Broken(format!("{} is not installed", wrapper.display())),
                (Some(program), _) => try_out(&settings, program, supervisor, credentials).await,
            },
        };
        match &found {
            Found::Bubblewrap { program, .. } => {
                tracing::info!(sandbox = %program.display(), network = %settings.network, "steps run in a sandbox");
            }
            Found::Off(why) => tracing::warn!("{why}"),
            Found::Broken(why) => {
                tracing::error!(error = %why, "no sandbox can be set up: steps are refused; install bubblewrap, or set SANDBOX=off to do without");
            }
        }
        Self { settings, found }
    }

    /// What steps run in.
    ///
    /// # Errors
    ///
    /// Why they run in none.
    pub fn state(&self) -> Result<String, String> {
        match &self.found {
            Found::Bubblewrap { program, .. } => Ok(format!("{} works", program.display())),
            Found::Off(why) => Err((*why).to_owned()),
            Found::Broken(why) => Err(why.clone()),
        }
    }

    /// Whether somebody decided to do without.
    #[must_use]
    pub fn is_off(&self) -> bool {
        matches!(self.found, Found::Off(_))
    }

    /// What trusted scripts run in that handle what is not: no network, and of the host nothing but this.
    /// `None` where there is no sandbox.
    ///
    /// # Errors
    ///
    /// Why it cannot be set up.
    pub(super) fn around(&self, room: &Room<'_>) -> Result<Option<Wrapper>, String> {
        match &self.found {
            Found::Broken(why) => Err(format!("no sandbox can be set up: {why}")),
            Found::Off(_) => Ok(None),
            Found::Bubblewrap { program, userns } => {
                let mut arguments = view::namespaces(Network::Deny, *userns);
                arguments.extend(view::system(&self.settings)?);
                arguments.extend(self.settings.arguments.iter().cloned());
                arguments.extend(view::room(room.writable, room.readable)?);
                Ok(Some(Wrapper {
                    program: program.clone(),
                    arguments,
                    seccomp: seccomp::filter()?,
                }))
            }
        }
    }

    /// Whether a step of a job with this policy runs in one, if it runs at all.
    pub(super) fn confines(&self, policy: &Policy, without: bool) -> bool {
        !self.is_off() && (!without || policy.sandbox == Some(true))
    }

    /// What a step of a job with this policy runs in, in `workspace`.
    ///
    /// # Errors
    ///
    /// `policy`, when the job asks for more than the host allows, or the sandbox cannot be set up.
    pub(super) fn plan(
        &self,
        policy: &Policy,
        without: bool,
        workspace: &Path,
        access: Access,
    ) -> Result<Plan, Failure> {
        let refused = |sentence: &str| Failure::new(Code::Policy, sentence);
        if !self.is_off() && !self.confines(policy, without) {
            return match policy.network {
                Some(Network::Deny) => Err(refused(
                    "The job denies its steps the network, which needs a sandbox, and an administrator has turned it off for this project; leave policy.network out, or have the sandbox turned on again.",
                )),
                _ => Ok(Plan::Bare(
                    "an administrator has turned the sandbox off for this project: steps run without one",
                )),
            };
        }
        match (&self.found, policy.sandbox) {
            (Found::Broken(why), _) => Err(Failure::new(
                Code::Policy,
                format!(
                    "No sandbox could be set up on the runner's host, so nothing was run: {why}. Its administrator can install bubblewrap, or turn the sandbox off (SANDBOX=off)."
                ),
            )),
            (Found::Off(_), Some(true)) => Err(refused(
                "The job asks for a sandbox, and the runner's host has none; install bubblewrap there, or leave policy.sandbox out.",
            )),
            (Found::Off(why), _) => {
                if policy.network == Some(Network::Deny) {
                    return Err(refused(
                        "The job denies its steps the network, which needs a sandbox, and the runner's host has none; install bubblewrap there, or leave policy.network out.",
                    ));
                }
                Ok(Plan::Bare(why))
            }
            (Found::Bubblewrap { .. }, Some(false)) => Err(refused(
                "The job asks to run without a sandbox, which this host does not allow; leave policy.sandbox out, or ask its administrator for SANDBOX=off.",
            )),
            (Found::Bubblewrap { program, userns }, _) => {
                let network = policy.network_on(self.settings.network).map_err(refused)?;
                wrapper(&self.settings, program, *userns, network, (workspace, access))
                    .map(Plan::Wrapped)
                    .map_err(|why| refused(&why))
            }
        }
    }
}

fn wrapper(
    settings: &Settings,
    program: &Path,
    userns: bool,
    network: Network,
    (workspace, access): (&Path, Access),
) -> Result<Wrapper, String> {
    let mut arguments = view::namespaces(network, userns);
    arguments.extend(view::system(settings)?);
    arguments.extend(settings.arguments.iter().cloned());
    arguments.extend(view::workspace(workspace, access)?);
    Ok(Wrapper {
        program: program.to_owned(),
        arguments,
        seccomp: seccomp::filter()?,
    })
}

/// Where a program is, by its path or by its name.
fn locate(program: &Path, path: Option<&std::ffi::OsStr>) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return program.is_file().then(|| program.to_owned());
    }
    std::env::split_paths(path?)
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

/// Runs `true` in the sandbox, with and without what older versions cannot do.
async fn try_out(
    settings: &Settings,
    program: PathBuf,
    supervisor: &Supervisor,
    credentials: Option<Credentials>,
) -> Found {
    let mut why = String::new();
    for userns in [false, true] {
        let wrapper = match wrapper(
            settings,
            &program,
            userns,
            settings.network,
            (Path::new("/usr"), Access::Writes),
        ) {
            Ok(wrapper) => wrapper,
            Err(why) => return Found::Broken(why),
        };
        match run_true(wrapper, supervisor, credentials).await {
            Ok(()) => return Found::Bubblewrap { program, userns },
            Err(error) => why = error,
        }
    }
    Found::Broken(why)
}

async fn run_true(
    wrapper: Wrapper,
    supervisor: &Supervisor,
    credentials: Option<Credentials>,
) -> Result<(), String> {
    let command = Command {
        argv: vec!["true".into()],
        directory: "/usr".into(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        stdin: None,
        timeout: Duration::from_secs(20),
        idle_timeout: None,
        grace: Duration::from_secs(1),
        limits: Limits::default(),
        nice: 0,
        credentials,
        wrapper: Some(wrapper),
    };
    let (output, mut chunks) = mpsc::channel(16);
    let discard = async { while chunks.recv().await.is_some() {} };
    let ran = process::run(supervisor, command, output, CancellationToken::new());
    match tokio::join!(ran, discard).0 {
        Ok(outcome) if outcome.end == End::Exited(0) => Ok(()),
        Ok(outcome) => Err(format!("a first program in it ended with {:?}", outcome.end)),
        Err(error) => Err(error.to_string()),
    }
}
