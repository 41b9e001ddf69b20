//! Control groups: what all processes of a step together may use, where this host lets us say so.
//!
//! A keeper joins a group of its own when it begins, and its steps are born into it: to move a process
//! from group to group costs milliseconds, to be born into one nothing. Both versions are known: the
//! separate hierarchies of the first, which only root may write, and the single one of the second,
//! where a service owns the part that was delegated to it (systemd: `Delegate=yes`).

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Limits;

/// Where groups are.
const ROOT: &str = "/sys/fs/cgroup";
/// In the second version a group either has processes or gives controllers to groups below it, so that
/// the service moves into one of its own.
const SERVICE: &str = "orchestrator-service";
/// Bytes of processor weight of a group whose processes yield to nobody.
const WEIGHT_V1: f64 = 1024.0;
const WEIGHT_V2: f64 = 100.0;
/// How often what is in a group that nobody keeps is killed, and how long apart.
const ROUNDS: usize = 100;
const ROUND: Duration = Duration::from_millis(5);
/// Bytes of memory that a keeper and what steps left may use without harm to the next.
const LITTLE: u64 = 4 * 1024 * 1024;

/// The groups below which keepers make theirs.
#[derive(Clone, Debug, Default)]
pub(super) struct Bases {
    memory: Option<PathBuf>,
    pids: Option<PathBuf>,
    cpu: Option<PathBuf>,
    unified: bool,
}

impl Bases {
    /// Finds what may be written here, and ends and deletes what supervisors left that were killed.
    pub(super) fn find() -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let bases = match Path::new(ROOT).join("cgroup.controllers").exists() {
            true => unified(&own).unwrap_or_default(),
            false => Self {
                memory: hierarchy(&own, "memory"),
                pids: hierarchy(&own, "pids"),
                cpu: hierarchy(&own, "cpu"),
                unified: false,
            },
        };
        bases.each().for_each(sweep);
        bases
    }

    fn each(&self) -> impl Iterator<Item = &Path> {
        [&self.memory, &self.pids, &self.cpu]
            .into_iter()
            .filter_map(Option::as_deref)
    }

    /// Deletes the groups of a keeper that has ended; answers whether they are gone. They are not while somebody is in one.
    pub(super) fn forget(&self, keeper: Pid) -> bool {
        let name = name(Pid::this(), keeper);
        let mut gone = true;
        for base in self.each() {
            // In the second version it is one group under three names.
            gone &= match fs::remove_dir(base.join(&name)) {
                Ok(()) => true,
                Err(error) => error.kind() == io::ErrorKind::NotFound,
            };
        }
        gone
    }
}

/// A keeper's own groups.
#[derive(Debug)]
pub(super) struct Group {
    memory: Option<PathBuf>,
    pids: Option<PathBuf>,
    cpu: Option<PathBuf>,
    unified: bool,
    imposed: Option<(Limits, u8)>,
    /// What it uses just now, which is asked after each step.
    usage: Option<File>,
}

impl Group {
    /// Makes groups for this process and joins them. What cannot be had is done without.
    pub(super) fn join(bases: &Bases) -> Self {
        let name = name(Pid::parent(), Pid::this());
        let join = |base: &Option<PathBuf>| {
            let group = base.as_ref()?.join(&name);
            let made = fs::create_dir(&group).or_else(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => Ok(()),
                _ => Err(error),
            });
            made.and_then(|()| fs::write(group.join("cgroup.procs"), "0"))
                .ok()
                .map(|()| group)
        };
        let memory = join(&bases.memory);
        let usage = match bases.unified {
            true => "memory.current",
            false => "memory.usage_in_bytes",
        };
        Self {
            usage: memory
                .as_ref()
                .and_then(|group| File::open(group.join(usage)).ok()),
            memory,
            pids: join(&bases.pids),
            cpu: join(&bases.cpu),
            unified: bases.unified,
            imposed: None,
        }
    }

    /// Whether steps left more than a little in its memory that nobody can take out of it: files in memory count as
    /// whoever's who wrote them, for as long as they are there. The next step would pay for them.
    pub(super) fn is_laden(&self) -> bool {
        let (Some(group), Some(usage)) = (&self.memory, &self.usage) else {
            return false;
        };
        let mut said = [0; 32];
        let used = usage.read_at(&mut said, 0).ok().and_then(|length| {
            let said = std::str::from_utf8(said.get(..length)?).ok()?;
            said.trim().parse::<u64>().ok()
        });
        // What else is counted is read only where it can be much: that takes longer than a short step.
        if used.is_some_and(|used| used <= LITTLE) {
            return false;
        }
        let counts = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
        let files = counts.lines().find_map(|line| line.strip_prefix("shmem "));
        files
            .and_then(|bytes| bytes.parse().ok())
            .is_none_or(|bytes: u64| bytes > LITTLE)
    }

    /// What they hold, for the log: memory, processes, processor.
    pub(super) fn holds(&self) -> [bool; 3] {
        [self.memory.is_some(), self.pids.is_some(), self.cpu.is_some()]
    }

    /// Whether a step has its weight as a group.
    pub(super) fn holds_weight(&self) -> bool {
        self.cpu.is_some()
    }

    /// Sets the limits of the next step, and answers with those that remain to be set for each process.
    pub(super) fn impose(&mut self, limits: Limits, nice: u8) -> io::Result<Limits> {
        if self.imposed != Some((limits, nice)) {
            self.imposed = None;
            self.write(limits, nice)?;
            self.imposed = Some((limits, nice));
        }
        Ok(Limits {
            memory_bytes: limits.memory_bytes.filter(|_| self.memory.is_none()),
            user_processes: limits
                .user_processes
                .filter(|_| self.pids.is_none() || limits.processes.is_none()),
            ..limits
        })
    }

    fn write(&self, limits: Limits, nice: u8) -> io::Result<()> {
        if let Some(group) = &self.memory {
            let (file, none) = match self.unified {
                true => ("memory.max", "max"),
                false => ("memory.limit_in_bytes", "-1"),
            };
            let most = limits
                .memory_bytes
                .map_or_else(|| none.to_owned(), |bytes| bytes.to_string());
            fs::write(group.join(file), most)?;
        }
        if let Some(group) = &self.pids {
            // The keeper is one of them.
            let most = limits
                .processes
                .map_or_else(|| "max".to_owned(), |most| most.saturating_add(1).to_string());
            fs::write(group.join("pids.max"), most)?;
        }
        if let Some(group) = &self.cpu {
            let (file, whole, least) = match self.unified {
                true => ("cpu.weight", WEIGHT_V2, 1.0),
                false => ("cpu.shares", WEIGHT_V1, 2.0),
            };
            // The kernel's own scale: a step of `nice` is a quarter more or less.
            let weight = (whole / 1.25_f64.powi(nice.into())).max(least);
            fs::write(group.join(file), format!("{weight:.0}"))?;
        }
        Ok(())
    }

    /// How often the kernel killed in the group for want of memory; `None` without a group for memory.
    pub(super) fn oom_kills(&self) -> Option<u64> {
        let file = match self.unified {
            true => "memory.events",
            false => "memory.oom_control",
        };
        let counts = fs::read_to_string(self.memory.as_ref()?.join(file)).ok()?;
        let line = counts.lines().find_map(|line| line.strip_prefix("oom_kill "))?;
        line.trim().parse().ok()
    }
}

fn name(supervisor: Pid, keeper: Pid) -> String {
    format!("orchestrator-{supervisor}-{keeper}")
}

/// Our own group in a hierarchy of the first version, if we may make groups below it.
fn hierarchy(own: &str, controller: &str) -> Option<PathBuf> {
    let path = own.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        controllers
            .split(',')
            .any(|name| name == controller)
            .then_some(path)
    })?;
    writable(
        &Path::new(ROOT)
            .join(controller)
            .join(path.trim_start_matches('/')),
    )
}

/// Our own group in the hierarchy of the second version, if it is ours alone.
fn unified(own: &str) -> Option<Bases> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mut base = Path::new(ROOT).join(path);
    match base.ends_with(SERVICE) {
        // A supervisor before us was here already.
        true => drop(base.pop()),
        false => retreat(&writable(&base)?)?,
    }
    let controllers = fs::read_to_string(base.join("cgroup.controllers")).ok()?;
    let given = |controller: &str| {
        let there = controllers.split_whitespace().any(|name| name == controller);
        let switched = fs::write(base.join("cgroup.subtree_control"), format!("+{controller}"));
        (there && switched.is_ok()).then(|| base.clone())
    };
    Some(Bases {
        memory: given("memory"),
        pids: given("pids"),
        cpu: given("cpu"),
        unified: true,
    })
}

/// Moves the runner and ourselves one down, if nobody else is in the group.
fn retreat(base: &Path) -> Option<()> {
    let ours = [Pid::this().to_string(), Pid::parent().to_string()];
    let inhabitants = fs::read_to_string(base.join("cgroup.procs")).ok()?;
    if !inhabitants.lines().all(|pid| ours.iter().any(|our| our == pid)) {
        return None;
    }
    let service = base.join(SERVICE);
    fs::create_dir_all(&service).ok()?;
    ours.iter()
        .try_for_each(|pid| fs::write(service.join("cgroup.procs"), pid))
        .ok()
}

fn writable(base: &Path) -> Option<PathBuf> {
    use rustix::fs::{Access, access};
    access(base, Access::WRITE_OK).ok()?;
    access(base.join("cgroup.procs"), Access::WRITE_OK).ok()?;
    Some(base.to_owned())
}

/// Ends what is in the groups of supervisors that are no more, and deletes them: whoever killed a supervisor and a keeper
/// of it together left nobody who would. Where the keeper is left it goes on with its step.
fn sweep(base: &Path) {
    for group in fs::read_dir(base).into_iter().flatten().flatten() {
        let name = group.file_name();
        let ids = name
            .to_str()
            .and_then(|name| name.strip_prefix("orchestrator-")?.split_once('-'));
        let lives = |pid: &str| Path::new("/proc").join(pid).exists();
        if let Some((supervisor, keeper)) = ids
            && !lives(supervisor)
        {
            if !lives(keeper) {
                empty(&group.path());
            }
            // It fails while somebody is in it.
            let _ = fs::remove_dir(group.path());
        }
    }
}

/// Kills everything in a group that is seen from here, however it forks meanwhile, within a moment.
fn empty(group: &Path) {
    for _ in 0..ROUNDS {
        let inhabitants = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        // What is in another namespace has no number here.
        let seen = inhabitants.lines().filter_map(|pid| pid.parse().ok());
        let seen: Vec<i32> = seen.filter(|pid| *pid > 0).collect();
        if seen.is_empty() {
            return;
        }
        for pid in seen {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        std::thread::sleep(ROUND);
    }
}
