//! What benchmarks share: a private cluster with durable settings, the program beside it, and figures
//! that say what they are measured against.

#[path = "support/client.rs"]
pub(crate) mod client;

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use orchestrator::config::Host;
use orchestrator::domain::environment::DatabaseUrl;
use orchestrator::postgres::{Cluster, Hold, Keep, Programs};
use orchestrator::store::migrate::migrate;
use orchestrator::store::{Pool, database as pools, project};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

/// What was asked for on the command line, after `--`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// One JSON object a line.
    pub(crate) json: bool,
    /// A hundredth of the work: whether it runs at all, not how fast.
    pub(crate) smoke: bool,
    /// Only the groups of figures with one of these names.
    pub(crate) only: Vec<String>,
}

impl Options {
    /// Reads the command line; a word it does not know ends the run with what it takes.
    pub(crate) fn read() -> Self {
        let mut options = Self::default();
        for word in std::env::args().skip(1) {
            match word.as_str() {
                // What cargo itself says.
                "--bench" => {}
                "--json" => options.json = true,
                "--smoke" => options.smoke = true,
                name if !name.starts_with('-') => options.only.push(name.to_owned()),
                other => panic!("{other}: not known; there are --json, --smoke and names of groups"),
            }
        }
        options
    }

    pub(crate) fn wants(&self, group: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == group)
    }

    /// `full`, or a hundredth of it.
    pub(crate) fn size(&self, full: usize) -> usize {
        if self.smoke { full.div_ceil(100) } else { full }
    }
}

/// What a ratio is to reach; a figure that stands for itself, what its value is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// Said for its own sake.
    None,
}

/// Figures as they come.
pub(crate) struct Report {
    json: bool,
    smoke: bool,
}

impl Report {
    pub(crate) fn new(options: &Options, server: &str) -> Self {
        let report = Self {
            json: options.json,
            smoke: options.smoke,
        };
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let system = rustix::system::uname();
        let about = format!(
            "{cores} cores, {} {}, {server}, orchestrator {}",
            system.sysname().to_string_lossy(),
            system.release().to_string_lossy(),
            env!("CARGO_PKG_VERSION"),
        );
        if report.json {
            let line = serde_json::json!({ "name": "machine", "value": about, "unit": null, "limit": null, "ratio": null,
                                           "judged": null, "sign": "", "goal": null, "ok": null });
            println!("{line}");
        } else {
            println!("{about}\n");
            println!(
                "{:<58} {:>12} {:<9} {:>12} {:>7}  goal",
                "figure", "value", "unit", "limit", "ratio"
            );
        }
        report
    }

    /// Says a figure that stands for itself.
    pub(crate) fn say(&self, name: &str, value: f64, unit: &str) {
        self.figure(name, value, unit, None, Goal::None);
    }

    /// Says a figure and its ratio to `limit`, which was measured in the same run.
    pub(crate) fn figure(&self, name: &str, value: f64, unit: &str, limit: Option<f64>, goal: Goal) {
        // Nothing of nothing says nothing, and reaches no goal.
        let ratio = limit.map(|limit| value / limit);
        let judged = ratio.unwrap_or(value);
        let (sign, to_reach, ok) = match goal {
            Goal::AtLeast(least) => (">=", Some(least), Some(judged >= least)),
            Goal::AtMost(most) => ("<=", Some(most), Some(judged <= most)),
            Goal::None => ("", None, None),
        };
        // A hundredth of the work says whether it is done at all.
        let ok = ok.filter(|_| !self.smoke);
        if self.json {
            let judged = to_reach.map(|_| if limit.is_some() { "ratio" } else { "value" });
            let line = serde_json::json!({ "name": name, "value": value, "unit": unit, "limit": limit, "ratio": ratio,
                                           "judged": judged, "sign": sign, "goal": to_reach, "ok": ok });
            println!("{line}");
            return;
        }
        let number = |value: f64| {
            if value >= 100.0 {
                format!("{value:.0}")
            } else {
                format!("{value:.2}")
            }
        };
        let mut line = format!("{name:<58} {:>12} {unit:<9}", number(value));
        let _ = write!(line, " {:>12}", limit.map(number).unwrap_or_default());
        let _ = write!(
            line,
            " {:>7}",
            ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default()
        );
        if let Some(to_reach) = to_reach {
            let said = match ok {
                Some(true) => "ok",
                Some(false) => "MISSED",
                None => "not judged",
            };
            let _ = write!(line, "  {sign} {to_reach} {said}");
        }
        println!("{line}");
    }
}

/// A server with durable settings, deleted with its data at the end.
pub(crate) struct Server {
    cluster: Option<Cluster>,
    programs: Programs,
    hold: Hold,
    directory: PathBuf,
}

impl Server {
    pub(crate) fn start() -> Self {
        let host = Host::read();
        let programs = Programs::find(host.pg_bin.as_deref(), host.path.as_deref())
            .unwrap_or_else(|error| panic!("{error}"));
        let directory = tempfile::Builder::new()
            .prefix("orc-bench-")
            .tempdir()
            .unwrap()
            .keep();
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755)).unwrap();
        let hold = Hold::take(&directory).unwrap();
        let cluster = Cluster::start(&programs, &hold, Keep::Data).unwrap();
        Self {
            cluster: Some(cluster),
            programs,
            hold,
            directory,
        }
    }

    /// The same server with other settings, which it is started again for.
    pub(crate) async fn with(mut self, settings: &str) -> Self {
        let cluster = self.cluster.take().unwrap();
        let url = cluster.url("postgres").parse().unwrap();
        let pool = pools::pool(&url, "bench", 1).unwrap();
        for setting in settings
            .split(';')
            .map(str::trim)
            .filter(|setting| !setting.is_empty())
        {
            tell(&pool, &format!("alter system set {setting}")).await;
        }
        pool.close().await;
        cluster.stop().unwrap();
        self.cluster = Some(Cluster::start(&self.programs, &self.hold, Keep::Data).unwrap());
        self
    }

    /// A new database with the schema and a project named `bench`.
    pub(crate) async fn database(&self, name: &str) -> Database {
        let cluster = self.cluster.as_ref().unwrap();
        cluster.create_database(name).unwrap();
        let url: DatabaseUrl = cluster.url(name).parse().unwrap();
        migrate(&url).await.unwrap();
        let database = Database {
            url,
            directory: self.directory.clone(),
        };
        let pool = database.pool(1);
        let project = database.project();
        std::fs::create_dir_all(&project).unwrap();
        project::put(&pool, "bench", project.to_str().unwrap(), "administrator")
            .await
            .unwrap();
        pool.close().await;
        database
    }

    pub(crate) async fn version(&self) -> String {
        let url = self.cluster.as_ref().unwrap().url("postgres").parse().unwrap();
        let pool = pools::pool(&url, "bench", 1).unwrap();
        format!(
            "PostgreSQL {}",
            ask(&pool, "current_setting('server_version')").await
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(cluster) = self.cluster.take() {
            let _ = cluster.stop();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// One database of the server.
#[derive(Clone)]
pub(crate) struct Database {
    pub(crate) url: DatabaseUrl,
    pub(crate) directory: PathBuf,
}

impl Database {
    /// The directory of the project named `bench`.
    pub(crate) fn project(&self) -> PathBuf {
        self.directory.join("project")
    }

    pub(crate) fn pool(&self, connections: u32) -> Pool {
        pools::pool(&self.url, "bench", connections).unwrap()
    }

    /// Does what `statements` say, however long it takes: not on a pool, which waits as long as services do.
    pub(crate) async fn at_length(&self, statements: &str) {
        let mut connection = PgConnection::connect(self.url.expose()).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
    }

    /// Starts a service on it, with nothing in its environment but what is given.
    pub(crate) fn service(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Service {
        Service::start(&self.url, &self.directory, arguments, environment)
    }
}

/// A service as a process of its own, killed with this.
pub(crate) struct Service {
    child: Child,
    /// What it says goes to a file: whoever read it line by line would take of the processor what is measured.
    said: BufReader<File>,
}

impl Service {
    fn start(url: &DatabaseUrl, directory: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orchestrator"));
        let (said, path) = tempfile::NamedTempFile::new_in(directory)
            .unwrap()
            .keep()
            .unwrap();
        command
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("DATABASE_URL", url.expose())
            .env("WORKSPACES_ROOT", directory.join("workspaces"))
            .env("ARTIFACTS_ROOT", directory.join("artifacts"))
            .env("SANDBOX", "off")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::from(said));
        let child = command.spawn().unwrap();
        let said = BufReader::new(File::open(path).unwrap());
        Self { child, said }
    }

    /// The process's id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that holds `text`.
    pub(crate) fn hear(&mut self, text: &str) -> String {
        let mut line = String::new();
        loop {
            self.said.read_line(&mut line).unwrap();
            match line.ends_with('\n') {
                true if line.contains(text) => return line.trim_end().to_owned(),
                true => line.clear(),
                // The rest is still to come.
                false => {
                    let ended = self.child.try_wait().unwrap();
                    assert!(ended.is_none(), "never said {text:?}, and ended");
                    std::thread::sleep(std::time::Duration::from_millis(2));
                }
            }
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One value that SQL answers with, as text.
pub(crate) async fn ask(pool: &Pool, question: &str) -> String {
    let question = format!("select ({question})::text");
    let answer: Option<String> = sqlx::query_scalar(AssertSqlSafe(question))
        .fetch_one(pool)
        .await
        .unwrap();
    answer.unwrap_or_default()
}

/// Does what `statements` say.
pub(crate) async fn tell(pool: &Pool, statements: &str) {
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))
        .execute(pool)
        .await
        .unwrap();
}

/// The value that a share of all is not above.
pub(crate) fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share).round() as usize]
}

/// The value in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
