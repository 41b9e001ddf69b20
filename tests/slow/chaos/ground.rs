//! What is thrown into disorder: a server with durable settings and the services on it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use orchestrator::postgres::{Cluster, Hold, Keep};
use orchestrator::store::{Pool, database as pools, project};

use crate::support::{Program, Scratch, programs, scratch, until};

/// A token of the environment.
pub(super) const TOKEN: &str = "a-token-of-the-environment";

/// How long a runner may be silent, in seconds.
pub(super) const LEASE: u64 = 3;

/// The services, in order: which is which by its index.
const SERVICES: [&str; 6] = [
    "api",
    "runner-1",
    "runner-2",
    "runner-3",
    "scheduler-1",
    "scheduler-2",
];

pub(super) struct Ground {
    pub(super) directory: Scratch,
    pub(super) api: String,
    pub(super) pool: Pool,
    pub(super) services: Vec<Service>,
    pub(super) server: Server,
    /// Written by the steps, a line for each time one of them ran.
    pub(super) effects: PathBuf,
    /// What ended services said.
    pub(super) said: Vec<String>,
    /// Supervisors and keepers of runners that were ended.
    pub(super) kept: Vec<Pid>,
}

/// A process that is always started again.
pub(super) struct Service {
    pub(super) name: &'static str,
    environment: Vec<(String, String)>,
    program: Option<Program>,
}

/// PostgreSQL.
pub(super) struct Server {
    hold: Hold,
    cluster: Option<Cluster>,
    postmaster: PathBuf,
    /// What of it is stopped just now.
    frozen: Vec<Pid>,
}

impl Ground {
    pub(super) async fn begin() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = scratch();
        let hold = Hold::take(&directory).unwrap();
        let cluster = Cluster::start(&programs(), &hold, Keep::Data).unwrap();
        cluster.create_database("orchestrator").unwrap();
        let url = cluster.url("orchestrator");
        let effects = directory.join("effects");
        fs::write(&effects, "").unwrap();
        fs::set_permissions(&effects, fs::Permissions::from_mode(0o666)).unwrap();
        let bind = address();
        let workspaces = directory.join("workspaces").to_str().unwrap().to_owned();
        let environment = [
            ("DATABASE_URL", url.as_str()),
            ("API_BIND", &bind),
            ("WORKSPACES_ROOT", &workspaces),
            ("PROJECT_ALIASES", &format!("demo={}", directory.project())),
            ("WEBHOOK_TOKENS", &format!("{TOKEN}=demo")),
            ("RUNNER_RECLAIM_AFTER_SEC", &LEASE.to_string()),
            ("RUNNER_POLL_INTERVAL_SEC", "0.2"),
            ("RUNNER_DRAIN_SEC", "1"),
            ("RUNNER_SLOTS", "8"),
            ("SCHEDULER_TICK_SEC", "0.2"),
            ("SANDBOX", "off"),
        ];
        assert!(Program::start(&["migrate"], &environment).end().success());
        let pool = pools::pool(&url.parse().unwrap(), "test", 4).unwrap();
        super::judge::watch(&pool).await;
        let mut ground = Self {
            api: format!("http://{bind}"),
            services: SERVICES.map(|name| Service::new(name, &environment)).into(),
            server: Server {
                hold,
                cluster: Some(cluster),
                postmaster: directory.join("postgres/data/postmaster.pid"),
                frozen: Vec::new(),
            },
            pool,
            directory,
            effects,
            said: Vec::new(),
            kept: Vec::new(),
        };
        ground.services.iter_mut().for_each(Service::start);
        let pool = ground.pool.clone();
        until(async || project::by_alias(&pool, "demo").await.unwrap()).await;
        ground
    }

    /// Ends the services as a service manager does, and hears what they have to say.
    pub(super) fn stop(&mut self) {
        for service in &self.services {
            self.kept.extend(service.keepers());
            service.must_run();
            service.signal(Signal::SIGTERM);
        }
        for service in &mut self.services {
            let (status, said) = service.end();
            assert!(status.success(), "{} ended with {status}:\n{said}", service.name);
            self.said.push(said);
        }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        self.services.clear();
        self.server.thaw();
        if let Some(cluster) = self.server.cluster.take() {
            let _ = cluster.stop();
        }
    }
}

impl Service {
    fn new(name: &'static str, environment: &[(&str, &str)]) -> Self {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let mut environment: Vec<_> = environment.iter().map(own).collect();
        environment.push(("RUNNER_INSTANCE".to_owned(), name.to_owned()));
        Self {
            name,
            environment,
            program: None,
        }
    }

    /// The supervisor of a runner and its keepers, the supervisor first.
    pub(super) fn keepers(&self) -> Vec<Pid> {
        let processes: Vec<(Pid, Pid)> = fs::read_dir("/proc")
            .unwrap()
            .filter_map(|process| process.ok()?.file_name().to_str()?.parse().ok())
            .map(Pid::from_raw)
            .filter(|process| keeps(*process))
            .filter_map(|process| Some((process, parent(process)?)))
            .collect();
        let below = |above: Pid| {
            processes
                .iter()
                .filter(move |(_, parent)| *parent == above)
                .map(|(process, _)| *process)
        };
        let supervisors: Vec<Pid> = below(self.process()).collect();
        let keepers = supervisors.iter().flat_map(|supervisor| below(*supervisor));
        supervisors.iter().copied().chain(keepers).collect()
    }

    /// Starts it, and does not wait for what it says.
    pub(super) fn start(&mut self) {
        let environment: Vec<_> = self
            .environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let subcommand = self.name.split('-').next().unwrap();
        self.program = Some(Program::start(&[subcommand], &environment));
    }

    pub(super) fn is_runner(&self) -> bool {
        self.name.starts_with("runner")
    }

    pub(super) fn process(&self) -> Pid {
        Pid::from_raw(self.program.as_ref().unwrap().pid())
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill(self.process(), signal).unwrap();
    }

    /// Says that it has not ended by itself: nothing that is done to others is a reason to.
    pub(super) fn must_run(&self) {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process())).unwrap();
        let (_, state) = stat.rsplit_once(") ").unwrap();
        assert!(!state.starts_with('Z'), "{} ended by itself", self.name);
    }

    /// Waits for its end; answers with how it ended, and everything it said.
    pub(super) fn end(&mut self) -> (ExitStatus, String) {
        let mut program = self.program.take().unwrap();
        let status = program.end();
        (status, program.said())
    }
}

impl Server {
    /// The server's own processes, its first one first. Empty while it is away.
    pub(super) fn processes(&self) -> Vec<Pid> {
        let said = fs::read_to_string(&self.postmaster).unwrap_or_default();
        let Some(postmaster) = said.lines().next().and_then(|pid| pid.parse().ok()) else {
            return Vec::new();
        };
        let children = fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children"));
        let children = children.unwrap_or_default();
        let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        std::iter::once(postmaster)
            .chain(children)
            .map(Pid::from_raw)
            .collect()
    }

    /// As a power cut leaves it: nothing is written, nobody is told.
    pub(super) fn kill(&mut self) {
        let postmaster = self.processes()[0];
        kill(postmaster, Signal::SIGKILL).unwrap();
        let _ = self.cluster.take().unwrap().stop();
    }

    /// In order: transactions are rolled back, sessions end. On a busy disk that may take longer than anybody waits.
    pub(super) fn stop(&mut self) {
        let _ = self.cluster.take().unwrap().stop();
    }

    pub(super) fn start(&mut self) {
        let began = Instant::now();
        loop {
            match Cluster::start(&programs(), &self.hold, Keep::Data) {
                Ok(cluster) => return self.cluster = Some(cluster),
                // Sessions of the killed server notice when they next look up.
                Err(error) => assert!(began.elapsed() < Duration::from_secs(60), "{error}"),
            }
        }
    }

    /// All of it stands still, as on a machine that swaps.
    pub(super) fn freeze(&mut self) {
        self.frozen = self.processes();
        for process in &self.frozen {
            let _ = kill(*process, Signal::SIGSTOP);
        }
    }

    pub(super) fn thaw(&mut self) {
        for process in self.frozen.drain(..) {
            let _ = kill(process, Signal::SIGCONT);
        }
    }
}

/// A port that nobody has and that the system gives to nobody who connects, also while the API is away.
fn address() -> String {
    let mut ports = (20_000..30_000).map(|_| rand::random_range(20_000..30_000_u16));
    let free = ports.find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok());
    format!("127.0.0.1:{}", free.unwrap())
}

/// Whether a process is a supervisor or a keeper of steps, and lives.
pub(super) fn keeps(process: Pid) -> bool {
    let arguments = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&arguments).contains("step-supervisor")
}

fn parent(process: Pid) -> Option<Pid> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    Some(Pid::from_raw(parent.trim().parse().ok()?))
}
