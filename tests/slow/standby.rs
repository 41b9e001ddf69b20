//! What `doctor` and services make of servers that a test's own databases cannot be: a standby, and one whose connections
//! and prepared transactions are at their bound.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use orchestrator::domain::environment::DatabaseUrl;
use orchestrator::postgres::{Cluster, Hold, Keep};
use orchestrator::store::database as pools;
use orchestrator::store::migrate::{Fit, fit, migrate};
use sqlx::{Connection as _, PgConnection};

use crate::support::{Program, Scratch, ask, programs, scratch, tell, until};

/// A server of this test alone.
struct Server {
    cluster: Option<Cluster>,
    directory: Scratch,
}

impl Server {
    fn start(directory: Scratch) -> Self {
        let hold = Hold::take(&directory).unwrap();
        let cluster = Some(Cluster::start(&programs(), &hold, Keep::Data).unwrap());
        Self { cluster, directory }
    }

    fn url(&self, database: &str) -> DatabaseUrl {
        self.cluster.as_ref().unwrap().url(database).parse().unwrap()
    }

    /// Where its data are, and its socket.
    fn home(&self) -> PathBuf {
        self.directory.join("postgres")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its directory is deleted after this.
        if let Some(cluster) = self.cluster.take() {
            let _ = cluster.stop();
        }
    }
}

/// Copies a running server, as an administrator does, into a place where it starts as its standby.
fn copy(primary: &Server, to: &Path) {
    let home = to.join("postgres");
    let owner = std::fs::metadata(primary.home()).unwrap();
    std::fs::create_dir_all(&home).unwrap();
    for directory in [to, &home] {
        std::os::unix::fs::chown(directory, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    let (_, socket) = primary
        .url("postgres")
        .expose()
        .split_once("host=")
        .map(|(start, host)| (start.to_owned(), host.to_owned()))
        .unwrap();
    let mut basebackup = Command::new(programs().path("pg_basebackup"));
    basebackup
        .args([
            "--username=postgres",
            "--checkpoint=fast",
            "--write-recovery-conf",
            "--host",
        ])
        .args([socket.as_str(), "--pgdata"])
        .arg(home.join("data"))
        .current_dir("/");
    if nix::unistd::Uid::effective().is_root() {
        basebackup.uid(owner.uid()).gid(owner.gid());
    }
    let output = basebackup.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// What doctor says of a database, and its exit code.
fn doctor(url: &DatabaseUrl) -> (String, Option<i32>) {
    let workspaces = scratch();
    let output = Command::new(env!("CARGO_BIN_EXE_orchestrator"))
        .arg("doctor")
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("DATABASE_URL", url.expose())
        .env("SANDBOX", "off")
        .env("WORKSPACES_ROOT", workspaces.as_os_str())
        .output()
        .unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_refused_by_doctor_and_waited_for_by_services_until_it_is_the_primary() {
    let primary = Server::start(scratch());
    primary.cluster.as_ref().unwrap().create_database("jobs").unwrap();
    migrate(&primary.url("jobs")).await.unwrap();
    let directory = scratch();
    copy(&primary, &directory);
    let standby = Server::start(directory);
    let url = standby.url("jobs");
    let pool = pools::pool(&url, "test", 2).unwrap();
    assert_eq!(ask(&pool, "pg_is_in_recovery()").await, "true");
    assert_eq!(fit(&pool).await.unwrap(), Fit::Standby);
    let (said, code) = doctor(&url);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("a standby") && said.contains("→ point DATABASE_URL at the primary"),
        "{said}"
    );
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Commands that people give say so at once, and services wait.
    let refused = Command::new(env!("CARGO_BIN_EXE_orchestrator"))
        .args(["runners", "--database-url", url.expose()])
        .env_clear()
        .output()
        .unwrap();
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && why.contains("takes no writes"),
        "{why}"
    );
    let workspaces = scratch();
    let environment = [
        ("DATABASE_URL", url.expose()),
        ("SANDBOX", "off"),
        ("WORKSPACES_ROOT", workspaces.to_str().unwrap()),
    ];
    let mut api = Program::start(&["api", "--bind", "127.0.0.1:0"], &environment);
    let mut runner = Program::start(&["runner"], &environment);
    runner.hear("waiting: the server is a standby");
    let line = api.hear("listening");
    let address = line
        .split_whitespace()
        .find_map(|word| word.split_once("127.0.0.1:").map(|(_, port)| port));
    let port: String = address
        .unwrap()
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    let ready = async || {
        let answer = reqwest::get(format!("http://127.0.0.1:{port}/health/ready"))
            .await
            .unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, body) = ready().await;
    assert!(status == 503 && body.contains("a standby"), "{status} {body}");
    // The primary dies, and this one takes its place: nobody has to be told.
    drop(primary);
    tell(&pool, "select pg_promote()").await;
    until(async || (ready().await.0 == 200).then_some(())).await;
    until(async || (ask(&pool, "select count(*) from runner").await == "1").then_some(())).await;
    let (said, _) = doctor(&url);
    assert!(!said.contains("standby"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_says_that_the_servers_connections_are_taken_and_that_a_prepared_transaction_was_forgotten() {
    let mut server = Server::start(scratch());
    server.cluster.as_ref().unwrap().create_database("jobs").unwrap();
    migrate(&server.url("jobs")).await.unwrap();
    let pool = pools::pool(&server.url("jobs"), "test", 1).unwrap();
    tell(&pool, "create role services login in role orchestrator_app").await;
    // Of 200 connections ordinary roles get 30.
    tell(&pool, "alter system set superuser_reserved_connections = 170").await;
    tell(&pool, "alter system set max_prepared_transactions = 1").await;
    pool.close().await;
    restart(&mut server);
    let pool = pools::pool(&server.url("jobs"), "test", 1).unwrap();
    tell(
        &pool,
        "create schema said; grant usage on schema said to public; alter database jobs set search_path = said, pg_catalog, public;
         create function said.now() returns timestamptz stable language sql as $$ select pg_catalog.now() + interval '11 minutes' $$",
    )
    .await;
    let mut other = PgConnection::connect(server.url("jobs").expose()).await.unwrap();
    sqlx::raw_sql("begin; insert into queue values ('half'); prepare transaction 'bob''s'")
        .execute(&mut other)
        .await
        .unwrap();
    other.close().await.unwrap();
    let mut services = url::Url::parse(server.url("jobs").expose()).unwrap();
    services.set_username("services").unwrap();
    let services: DatabaseUrl = services.as_str().parse().unwrap();
    let (said, _) = doctor(&services);
    assert!(said.contains("OK    connections"), "{said}");
    assert!(
        said.contains("WARN  transactions") && said.contains("rollback prepared 'bob''s'"),
        "{said}"
    );
    tell(&pool, "rollback prepared 'bob''s'").await;
    let mut held = Vec::new();
    for _ in 0..25 {
        held.push(PgConnection::connect(services.expose()).await.unwrap());
    }
    let (said, _) = doctor(&services);
    assert!(
        said.contains("WARN  connections") && said.contains("of 30 connections of the server"),
        "{said}"
    );
    assert!(said.contains("OK    transactions"), "{said}");
    for _ in 0..4 {
        // As soon as doctor's have ended.
        held.push(until(async || PgConnection::connect(services.expose()).await.ok()).await);
    }
    // The last one is this test's: there is none for doctor as the services' user, and a superuser sees why.
    let (said, code) = doctor(&services);
    assert!(
        said.contains("FAIL  connections") && said.contains("SQLSTATE 53300"),
        "{said}"
    );
    assert_eq!(code, Some(2));
    let (said, _) = doctor(&server.url("jobs"));
    assert!(
        said.contains("FAIL  connections") && said.contains("of 30 connections of the server"),
        "{said}"
    );
}

/// Stops a server and starts it on what it wrote.
fn restart(server: &mut Server) {
    server.cluster.take().unwrap().stop().unwrap();
    let hold = Hold::take(&server.directory).unwrap();
    server.cluster = Some(Cluster::start(&programs(), &hold, Keep::Data).unwrap());
}
