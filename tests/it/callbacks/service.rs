//! The scheduler as a process: it delivers with what its environment says, and without what it does not.

use axum::http::StatusCode;
use nix::sys::signal::Signal;
use orchestrator::domain::seal::Keyring;
use secrecy::ExposeSecret as _;

use super::Outbox;
use super::receiver::Receiver;
use crate::support::{Program, until};

#[tokio::test(flavor = "multi_thread")]
async fn scheduler_delivers_and_never_by_way_of_a_proxy() {
    let outbox = Outbox::new().await;
    let receiver = Receiver::start(|_| StatusCode::OK).await;
    let proxy = Receiver::start(|_| StatusCode::OK).await;
    let id = outbox.ended(&receiver.url()).await;
    let (key, proxy_url) = (Keyring::generate(), format!("http://{}", proxy.address));
    let mut scheduler = Program::start(
        &["scheduler"],
        &[
            ("DATABASE_URL", outbox.database.url.expose()),
            ("SECRETS_KEY", key.expose_secret()),
            ("CALLBACK_ALLOWED_RANGES", "127.0.0.0/8"),
            ("http_proxy", &proxy_url),
            ("HTTP_PROXY", &proxy_url),
            ("ALL_PROXY", &proxy_url),
        ],
    );
    until(async || (outbox.state(id).await == "delivered").then_some(())).await;
    scheduler.signal(Signal::SIGTERM);
    assert!(scheduler.end().success());
    assert_eq!((receiver.heard().len(), proxy.heard().len()), (1, 0));
    assert!(!scheduler.said().contains(key.expose_secret()));
}

#[tokio::test(flavor = "multi_thread")]
async fn scheduler_without_a_key_says_that_callbacks_wait_and_does_the_rest() {
    let outbox = Outbox::new().await;
    let id = outbox.ended("http://127.0.0.1:1999/").await;
    let mut scheduler = Program::start(&["scheduler"], &[("DATABASE_URL", outbox.database.url.expose())]);
    scheduler.hear("callbacks wait: SECRETS_KEY is not set");
    scheduler.hear("scheduler running");
    scheduler.signal(Signal::SIGTERM);
    assert!(scheduler.end().success());
    assert_eq!(outbox.column(id, "state || ' ' || attempts").await, "pending 0");
}

#[tokio::test(flavor = "multi_thread")]
async fn setting_that_cannot_be_understood_stops_the_start_and_shows_no_secret() {
    let outbox = Outbox::new().await;
    for (name, value, said) in [
        ("SECRETS_KEY", "s3cret-but-no-key", "SECRETS_KEY"),
        ("SECRETS_KEY_FILE", "/nowhere", "SECRETS_KEY_FILE"),
        (
            "CALLBACK_ALLOWED_RANGES",
            "localhost",
            "--callback-allowed-ranges",
        ),
        ("CALLBACK_CA_FILE", "/nowhere", "CALLBACK_CA_FILE"),
    ] {
        let environment = [("DATABASE_URL", outbox.database.url.expose()), (name, value)];
        let mut scheduler = Program::start(&["scheduler"], &environment);
        assert!(!scheduler.end().success(), "{name}");
        let told = scheduler.said();
        assert!(told.contains(said) && !told.contains("s3cret"), "{told}");
    }
}
