//! Runners: claim jobs, really run them, settle what came of it.
//!
//! A runner is a chain of sessions. A session holds a lease it renews; when it cannot, it ends its
//! children before the lease does, and a new session begins. Data takes one way: `session` claims,
//! `attempt` runs the steps of one job, `step` runs one process, `settler` ends attempts in batches.

pub mod process;
pub mod redact;
pub mod sandbox;

mod artifacts;
mod attempt;
mod heartbeat;
mod held;
mod hints;
mod lanes;
mod logs;
mod room;
mod session;
mod settler;
mod slots;
mod step;
mod sweep;
pub mod versions;
pub mod workspace;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::alive::Alive;
use crate::app::backoff::Backoff;
use crate::app::hint::Hints;
use crate::app::lease::Session;
use crate::domain::agent::Version;
use crate::domain::budget::Limit;
use crate::domain::environment::DatabaseUrl;
use crate::domain::id::RunnerId;
use crate::domain::prompt::InputLimits;
use crate::domain::spec::{Handoff, StepSpec};
use crate::objects::Objects;
use crate::shutdown::Stop;
use crate::store::Pool;
use crate::store::runner::NewSession;

/// How a runner works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the operator calls it.
    pub instance: String,
    /// Jobs run at once.
    pub slots: u16,
    /// Queues served, in turn.
    pub queues: Vec<String>,
    /// What its host has, for jobs that run on it only.
    pub labels: Vec<String>,
    /// Longest wait between two looks for work.
    pub poll: Duration,
    /// How long it may be silent before others take its jobs.
    pub lease: Duration,
    /// How long running steps may go on after a soft stop.
    pub drain: Duration,
    /// Where jobs get their workspaces.
    pub workspaces_root: PathBuf,
    /// How long they are kept after their jobs ended; `None` is for ever.
    pub workspaces_ttl: Option<Duration>,
    /// Fewest bytes that their disk is to have free.
    pub least_free: u64,
    /// Where what they leave behind is kept.
    pub objects: Objects,
    /// Most bytes of one artifact.
    pub artifact_limit: u64,
    /// What becomes of jobs whose project is no repository.
    pub no_repository: workspace::NoRepository,
    /// Variables every step sees.
    pub environment: Vec<(String, String)>,
    /// Most bytes of output kept of one step.
    pub output_limit: u64,
    /// Whom steps run as; `None` is whoever runs this process.
    pub credentials: Option<process::Credentials>,
    /// Who starts them.
    pub supervisor: process::Supervisor,
    /// What each may use.
    pub limits: process::Limits,
    /// What they run in.
    pub sandbox: sandbox::Sandbox,
    /// What must not be seen.
    pub sensitive: redact::Sensitive,
    /// Whether agents are really run; if not, they are simulated.
    pub real_cli: bool,
    /// The only programs steps may be; empty is all.
    pub allowed_binaries: Vec<String>,
    /// Oldest versions of programs.
    pub minimums: BTreeMap<String, Version>,
    /// What agents may cost here in a day.
    pub budget: Limit,
    /// What a call is taken to cost until it has said so, in millionths of a US dollar.
    pub usual_cost: i64,
    /// How the work of one step comes to the next, unless the job says so.
    pub handoff: Handoff,
    /// How much of artifacts an agent is shown.
    pub inputs: InputLimits,
    /// What the programs of agents said of their versions.
    pub versions: versions::Versions,
    /// How much steps yield to the services, from 0, not at all, to 19.
    pub nice: u8,
    /// Whom to tell that it is ready and lives.
    pub alive: Alive,
}

impl Settings {
    /// Whether the step reads or writes files.
    fn uses_workspace(&self, step: &StepSpec) -> bool {
        step.agent == "command" || (self.real_cli && step.is_agents())
    }

    /// Where programs of steps are looked for.
    #[must_use]
    pub fn path(&self) -> &str {
        let path = self.environment.iter().rfind(|(name, _)| name == "PATH");
        path.map_or("", |(_, path)| path)
    }
}

/// How long a session lasts for the next to begin soon.
const LASTING: Duration = Duration::from_secs(60);

/// What this host calls itself.
pub(crate) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Runs jobs until `stop` or until an operator drains it, through broken connections and lost leases.
pub async fn run(settings: Settings, pool: Pool, url: DatabaseUrl, stop: Stop) {
    let hints = Hints::start(pool.clone());
    process::conceal();
    if let Err(error) = settings.supervisor.start().await {
        tracing::error!(error = %error, "no step can be started; trying again with each");
    }
    let sweeping = tokio::spawn(sweep::run(settings.clone(), pool.clone(), stop.soft.clone()));
    let mut pause = Backoff::default();
    while !stop.soft.is_cancelled() {
        match open(&settings, &pool, &hints).await {
            Ok(session) => {
                settings.alive.ready(&format!("session {}", session.id));
                let opened = Instant::now();
                if session::run(&settings, session, &url, &stop).await == session::End::Stopped {
                    break;
                }
                // One that is over soon again and again is not to run the whole queue meanwhile.
                if opened.elapsed() > LASTING {
                    pause = Backoff::default();
                }
                settings
                    .alive
                    .status("no session: the last one has lost its lease");
                pause.wait(&stop.soft).await;
            }
            Err(error) => {
                settings.alive.status(&format!("no session: {error}"));
                tracing::warn!(error = %error, "no session could be opened; trying again");
                pause.wait(&stop.soft).await;
            }
        }
    }
    // Whoever drains a runner ends it without a signal.
    sweeping.abort();
}

async fn open(settings: &Settings, pool: &Pool, hints: &Hints) -> crate::store::Result<Session> {
    let host = host();
    let new = NewSession {
        id: RunnerId::generate(),
        instance: &settings.instance,
        host: &host,
        pid: std::process::id().cast_signed(),
        slots: i32::from(settings.slots),
        queues: &settings.queues,
        labels: &settings.labels,
        lease: settings.lease,
    };
    let session = Session::open(pool.clone(), hints.clone(), &new).await?;
    tracing::info!(runner.id = %session.id, runner.instance = %settings.instance, slots = settings.slots,
                   queues = ?settings.queues, "runner session open");
    Ok(session)
}
