//! A server that is gone without a word: its host lost power, or somebody between drops what is sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use orchestrator::domain::environment::DatabaseUrl;
use orchestrator::store::listen::{Listener, WORK};
use orchestrator::store::{Error, database as pools, stats};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use nix::sys::signal::Signal;

use crate::support::{Program, ask, database, scratch, tell, within};

/// Whether answers get lost, and how many did.
#[derive(Default)]
struct Silence {
    on: AtomicBool,
    swallowed: AtomicUsize,
}

/// A way to a database on which answers get lost while it is to be silent.
async fn way(to: &DatabaseUrl, silent: Arc<Silence>) -> DatabaseUrl {
    let url = url::Url::parse(to.expose()).unwrap();
    let (_, directory) = url.query_pairs().find(|(name, _)| name == "host").unwrap();
    let socket = format!("{directory}/.s.PGSQL.5432");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let server = UnixStream::connect(&socket).await.unwrap();
            tokio::spawn(carry(client, server, silent.clone()));
        }
    });
    let (user, path) = (url.username(), url.path());
    let through = format!("postgresql://{user}@127.0.0.1:{port}{path}?sslmode=disable");
    through.parse().unwrap()
}

async fn carry(client: TcpStream, server: UnixStream, silent: Arc<Silence>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    let mut answer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from_server.read(&mut answer).await {
        if silent.on.load(Ordering::SeqCst) {
            silent.swallowed.fetch_add(1, Ordering::SeqCst);
        } else if to_client.write_all(&answer[..length]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_statement_whose_answer_never_comes_is_given_up_and_the_next_goes_another_way() {
    let database = database().await;
    let silent = Arc::new(Silence::default());
    let pool = pools::pool(&way(&database.url, silent.clone()).await, "silence", 2).unwrap();
    assert_eq!(ask(&pool, "select 1").await, "1");
    silent.on.store(true, Ordering::SeqCst);
    let unheard = stats::open_jobs(&pool).await;
    assert!(matches!(unheard, Err(Error::Unavailable(_))));
    silent.on.store(false, Ordering::SeqCst);
    assert_eq!(ask(&pool, "select 1").await, "1");
}

#[tokio::test]
async fn whoever_listens_to_a_server_that_is_gone_without_a_word_learns_of_it() {
    let database = database().await;
    let silent = Arc::new(Silence::default());
    let way = way(&database.url, silent.clone()).await;
    let mut listener = Listener::on(&way, &[WORK]).await.unwrap();
    silent.on.store(true, Ordering::SeqCst);
    assert!(matches!(listener.next().await, Err(Error::Unavailable(_))));
    silent.on.store(false, Ordering::SeqCst);
    let mut listener = Listener::on(&way, &[WORK]).await.unwrap();
    tell(
        &database.pool(),
        "select pg_notify('orchestrator_work', 'default')",
    )
    .await;
    assert_eq!(listener.next().await.unwrap().unwrap().payload, "default");
}

#[tokio::test]
async fn whoever_listens_to_a_server_that_has_nothing_to_say_goes_on_listening() {
    let database = database().await;
    let mut listener = Listener::on(&database.url, &[WORK]).await.unwrap();
    // After as long as it takes to ask whether the server is there.
    assert!(listener.next().await.unwrap().is_none());
    tell(
        &database.pool(),
        "select pg_notify('orchestrator_work', 'default')",
    )
    .await;
    assert_eq!(listener.next().await.unwrap().unwrap().payload, "default");
}

// The way is carried by another thread than the one that listens to the runner.
#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_is_told_to_stop_while_its_server_is_silent_ends_by_itself() {
    let database = database().await;
    let silent = Arc::new(Silence::default());
    let way = way(&database.url, silent.clone()).await;
    let directory = scratch();
    let workspaces = directory.join("workspaces");
    let environment = [
        ("DATABASE_URL", way.expose()),
        ("WORKSPACES_ROOT", workspaces.to_str().unwrap()),
        // So that a claim, whose answer is then waited for, comes soon.
        ("RUNNER_POLL_INTERVAL_SEC", "0.1"),
        ("SANDBOX", "off"),
    ];
    let mut runner = Program::start(&["runner"], &environment);
    runner.hear("runner session open");
    silent.on.store(true, Ordering::SeqCst);
    let unheard = async || (silent.swallowed.load(Ordering::SeqCst) > 0).then_some(());
    within(60, unheard).await;
    runner.signal(Signal::SIGTERM);
    // The claim is left after a quarter of a minute; closing the session then is given up as any statement is.
    let stat = format!("/proc/{}/stat", runner.pid());
    let is_over = async || {
        std::fs::read_to_string(&stat)
            .unwrap()
            .contains(") Z ")
            .then_some(())
    };
    within(150, is_over).await;
    assert!(runner.end().success(), "{}", runner.said());
    let said = runner.said();
    assert!(
        said.contains("a claim under way is not waited for any longer"),
        "{said}"
    );
    assert!(
        said.contains("the session could not be closed; its lease ends it"),
        "{said}"
    );
}
