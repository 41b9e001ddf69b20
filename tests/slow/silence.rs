//! A server that is gone without a word: its host lost power, or somebody between drops what is sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use orchestrator::domain::environment::DatabaseUrl;
use orchestrator::store::listen::{Listener, WORK};
use orchestrator::store::{Error, database as pools, stats};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use crate::support::{ask, database, tell};

/// A way to a database on which answers get lost while this is set.
async fn way(to: &DatabaseUrl, silent: Arc<AtomicBool>) -> DatabaseUrl {
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

async fn carry(client: TcpStream, server: UnixStream, silent: Arc<AtomicBool>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    let mut answer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from_server.read(&mut answer).await {
        if !silent.load(Ordering::SeqCst) && to_client.write_all(&answer[..length]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_statement_whose_answer_never_comes_is_given_up_and_the_next_goes_another_way() {
    let database = database().await;
    let silent = Arc::new(AtomicBool::new(false));
    let pool = pools::pool(&way(&database.url, silent.clone()).await, "silence", 2).unwrap();
    assert_eq!(ask(&pool, "select 1").await, "1");
    silent.store(true, Ordering::SeqCst);
    let unheard = stats::open_jobs(&pool).await;
    assert!(matches!(unheard, Err(Error::Unavailable(_))));
    silent.store(false, Ordering::SeqCst);
    assert_eq!(ask(&pool, "select 1").await, "1");
}

#[tokio::test]
async fn whoever_listens_to_a_server_that_is_gone_without_a_word_learns_of_it() {
    let database = database().await;
    let silent = Arc::new(AtomicBool::new(false));
    let way = way(&database.url, silent.clone()).await;
    let mut listener = Listener::on(&way, &[WORK]).await.unwrap();
    silent.store(true, Ordering::SeqCst);
    assert!(matches!(listener.next().await, Err(Error::Unavailable(_))));
    silent.store(false, Ordering::SeqCst);
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
