//! A private PostgreSQL cluster for this test run, a database of it for each test, and the program
//! itself as a process.

// Named, because the slow tests include this file from elsewhere.
#[path = "support/program.rs"]
mod program;
#[path = "support/wire.rs"]
mod wire;

use std::path::PathBuf;
use std::sync::LazyLock;

use orchestrator::config::Host;
use orchestrator::domain::environment::DatabaseUrl;
use orchestrator::postgres::{Cluster, Hold, Keep, Programs};
use orchestrator::store::migrate::migrate;
use orchestrator::store::{Pool, database as pools};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use uuid::Uuid;

pub(crate) use program::Program;
pub(crate) use wire::{Cut, Wire};

/// The database that each test's is a copy of.
const TEMPLATE: &str = "template_migrated";

/// The server of this run. It is never dropped: its guardian ends it, and deletes it, when this
/// process ends.
static SERVER: LazyLock<Cluster> = LazyLock::new(|| {
    let programs = programs();
    // Named for the socket's sake: a longer one would move the socket out of it.
    let directory = scratch();
    // The guardian deletes it.
    let directory = std::mem::ManuallyDrop::new(directory);
    let hold = Hold::take(&directory).unwrap();
    let cluster = Cluster::start(&programs, &hold, Keep::Nothing).unwrap();
    cluster.create_database(TEMPLATE).unwrap();
    let url: DatabaseUrl = cluster.url(TEMPLATE).parse().unwrap();
    apart(async move { migrate(&url).await.unwrap() });
    cluster
});

/// PostgreSQL's programs on this machine.
pub(crate) fn programs() -> Programs {
    let host = Host::read();
    Programs::find(host.pg_bin.as_deref(), host.path.as_deref()).unwrap_or_else(|error| panic!("{error}"))
}

/// A directory that is deleted with this.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// The directory of a project in it, empty.
    pub(crate) fn project(&self) -> String {
        let project = self.0.join("project");
        std::fs::create_dir(&project).unwrap();
        project.to_str().unwrap().to_owned()
    }
}

impl std::ops::Deref for Scratch {
    type Target = PathBuf;

    fn deref(&self) -> &PathBuf {
        &self.0
    }
}

impl AsRef<std::path::Path> for Scratch {
    fn as_ref(&self) -> &std::path::Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A new directory that PostgreSQL's user and the users of steps may enter, also when this runs as root.
pub(crate) fn scratch() -> Scratch {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::Builder::new().prefix("orc-").tempdir().unwrap().keep();
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755)).unwrap();
    Scratch(directory)
}

/// A migrated database that is dropped with this.
pub(crate) struct Database {
    pub(crate) url: DatabaseUrl,
    name: String,
}

/// Makes a database for one test.
pub(crate) async fn database() -> Database {
    let server = tokio::task::spawn_blocking(|| &*SERVER).await.unwrap();
    let name = format!("test_{}", Uuid::now_v7().simple());
    administrate(format!(
        "create database {name} template {TEMPLATE} strategy file_copy"
    ))
    .await;
    let url = server.url(&name).parse().unwrap();
    Database { url, name }
}

/// An empty database, without the schema.
pub(crate) async fn empty_database() -> Database {
    let server = tokio::task::spawn_blocking(|| &*SERVER).await.unwrap();
    let name = format!("test_{}", Uuid::now_v7().simple());
    administrate(format!("create database {name}")).await;
    let url = server.url(&name).parse().unwrap();
    Database { url, name }
}

impl Database {
    pub(crate) fn pool(&self) -> Pool {
        pools::pool(&self.url, "test", 8).unwrap()
    }

    /// The same database for a new login that is a member of `role`, or of none. Logins are the cluster's and end
    /// with it.
    pub(crate) async fn login(&self, role: Option<&str>) -> DatabaseUrl {
        let name = format!("login_{}", Uuid::now_v7().simple());
        let member = role.map(|role| format!("in role {role}")).unwrap_or_default();
        administrate(format!("create role {name} login {member}")).await;
        let mut url = url::Url::parse(self.url.expose()).unwrap();
        url.set_username(&name).unwrap();
        url.as_str().parse().unwrap()
    }
}

/// The user a URL logs in as.
pub(crate) fn user_of(url: &DatabaseUrl) -> String {
    url::Url::parse(url.expose()).unwrap().username().to_owned()
}

impl Drop for Database {
    fn drop(&mut self) {
        let statement = format!("drop database {} with (force)", self.name);
        apart(administrate(statement));
    }
}

/// One value that SQL answers with, as text.
pub(crate) async fn ask(pool: &Pool, question: &str) -> String {
    let question = format!("select ({question})::text");
    let answer: Option<String> = sqlx::query_scalar(AssertSqlSafe(question))
        .fetch_one(pool)
        .await
        .unwrap();
    answer.unwrap_or_else(|| "null".to_owned())
}

/// Does what `statement` says.
pub(crate) async fn tell(pool: &Pool, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
        .execute(pool)
        .await
        .unwrap();
}

/// Waits until `look` finds something. What must happen and does not, within a minute, is a failure.
pub(crate) async fn until<T>(look: impl AsyncFnMut() -> Option<T>) -> T {
    within(60, look).await
}

/// The same for what takes longer: so many seconds at most.
pub(crate) async fn within<T>(seconds: u64, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let began = std::time::Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(
            began.elapsed().as_secs() < seconds,
            "what is waited for does not happen"
        );
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

async fn administrate(statement: String) {
    let mut connection = PgConnection::connect(&SERVER.url("postgres")).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(&mut connection)
        .await
        .unwrap();
}

/// Waits for something asynchronous where there is a runtime already, which cannot be waited in.
fn apart<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(work)
    };
    std::thread::spawn(run).join().unwrap()
}
