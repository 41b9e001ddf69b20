//! Where callbacks never go.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::{StatusCode, header};
use orchestrator::scheduler::deliver::Call;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::receiver::Receiver;
use super::{Outbox, opened};

#[tokio::test]
async fn address_inside_is_never_called_however_it_is_written() {
    let outbox = Outbox::new().await;
    let inside = Receiver::start(|_| StatusCode::OK).await;
    let names: &[(&str, &[&str])] = &[
        ("inside.test", &["127.0.0.1"]),
        ("both.test", &["1.1.1.1", "127.0.0.1"]),
        ("mapped.test", &["::ffff:127.0.0.1"]),
        ("nat64.test", &["64:ff9b::7f00:1"]),
        ("metadata.test", &["169.254.169.254"]),
        ("localhost", &["127.0.0.1", "::1"]),
    ];
    let deliverer = outbox.deliverer("", names);
    for host in [
        "127.0.0.1",
        "127.1",
        "0",
        "0.0.0.0",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.0.0.1.",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "10.0.0.1",
        "169.254.169.254",
        "192.168.0.1",
        "100.64.0.1",
        "224.0.0.1",
        "[fe80::1]",
        "[fd00::1]",
        "[ff02::1]",
        "inside.test",
        "INSIDE.test",
        "both.test",
        "mapped.test",
        "nat64.test",
        "metadata.test",
        "localhost",
    ] {
        let id = outbox.ended(&inside.url_at(host)).await;
        deliverer.round(None).await.unwrap();
        assert_eq!(outbox.state(id).await, "dead", "{host}");
        let reason = outbox.column(id, "last_reason").await;
        assert!(
            reason.contains("is not called") && reason.contains("CALLBACK_ALLOWED_RANGES"),
            "{host}: {reason}"
        );
        assert_eq!(
            outbox.attempt(id, "coalesce(address, 'none')").await,
            "none",
            "{host}"
        );
    }
    assert_eq!(inside.heard().len(), 0);
}

#[tokio::test]
async fn range_that_an_administrator_opens_is_called_and_a_name_beside_it_is_not() {
    let outbox = Outbox::new().await;
    let receiver = Receiver::start(|_| StatusCode::NO_CONTENT).await;
    let names: &[(&str, &[&str])] = &[
        ("open.test", &["127.0.0.1"]),
        ("both.test", &["127.0.0.1", "10.0.0.1"]),
    ];
    let deliverer = outbox.deliverer("127.0.0.1", names);
    for (host, state, heard) in [
        ("127.0.0.1", "delivered", 1),
        ("open.test", "delivered", 2),
        ("both.test", "dead", 2),
    ] {
        let id = outbox.ended(&receiver.url_at(host)).await;
        deliverer.round(None).await.unwrap();
        assert_eq!(
            (outbox.state(id).await.as_str(), receiver.heard().len()),
            (state, heard),
            "{host}"
        );
    }
    assert_eq!(
        receiver.heard()[1].header("host"),
        format!("open.test:{}", receiver.address.port())
    );
}

/// A name that leads outside when it is looked up first, and inside ever after.
#[derive(Clone, Default)]
struct Rebinding(Arc<AtomicUsize>);

impl Resolve for Rebinding {
    fn resolve(&self, _: Name) -> Resolving {
        let address: IpAddr = match self.0.fetch_add(1, Ordering::SeqCst) {
            0 => [127, 0, 0, 1].into(),
            _ => [127, 0, 0, 2].into(),
        };
        Box::pin(async move { Ok(Box::new(std::iter::once(SocketAddr::new(address, 0))) as Addrs) })
    }
}

#[tokio::test]
async fn name_is_looked_up_once_and_what_was_checked_is_what_is_called() {
    let outbox = Outbox::new().await;
    let receiver = Receiver::start(|_| StatusCode::OK).await;
    let names = Rebinding::default();
    let call = Call::new(
        Arc::new(names.clone()),
        opened("127.0.0.1"),
        Duration::from_secs(60),
        Vec::new(),
    );
    let deliverer = outbox.deliverer_by(call.unwrap());
    let url = receiver.url_at("rebinding.test");
    let first = outbox.ended(&url).await;
    deliverer.round(None).await.unwrap();
    assert_eq!(outbox.state(first).await, "delivered");
    assert_eq!(
        outbox.attempt(first, "address").await,
        receiver.address.to_string()
    );
    assert_eq!(names.0.load(Ordering::SeqCst), 1);
    // No connection of the first call is used again: the next one is checked for itself.
    let second = outbox.ended(&url).await;
    deliverer.round(None).await.unwrap();
    assert_eq!(outbox.state(second).await, "dead");
    assert_eq!((receiver.heard().len(), names.0.load(Ordering::SeqCst)), (1, 2));
}

#[tokio::test]
async fn redirect_is_not_followed() {
    let outbox = Outbox::new().await;
    let inside = Receiver::start(|_| StatusCode::OK).await;
    let target = inside.url_at("127.0.0.1");
    let receiver = Receiver::start(move |_| {
        (
            StatusCode::TEMPORARY_REDIRECT,
            [(header::LOCATION, target.clone())],
        )
    })
    .await;
    let deliverer = outbox.deliverer("127.0.0.0/8", &[]);
    let id = outbox.ended(&receiver.url()).await;
    deliverer.round(None).await.unwrap();
    assert_eq!((receiver.heard().len(), inside.heard().len()), (1, 0));
    assert_eq!(outbox.state(id).await, "pending");
    assert!(
        outbox
            .column(id, "last_reason")
            .await
            .contains("redirects are not followed")
    );
}

#[tokio::test]
async fn address_that_no_version_of_ours_accepts_is_not_called_either() {
    let outbox = Outbox::new().await;
    let deliverer = outbox.deliverer("127.0.0.0/8", &[]);
    let id = outbox.ended("http://127.0.0.1:1999/").await;
    for url in [
        "file:///etc/passwd",
        "http://user:s3cret@127.0.0.1/",
        "http://127.0.0.1:22/",
        "gopher://127.0.0.1/",
    ] {
        let put = format!(
            "update delivery set url = '{url}', state = 'pending', finished_at = null, due_at = now() where id = '{id}'"
        );
        crate::support::tell(&outbox.pool, &put).await;
        deliverer.round(None).await.unwrap();
        assert_eq!(outbox.state(id).await, "dead", "{url}");
        let reason = outbox.column(id, "last_reason").await;
        assert!(
            reason.starts_with("was not sent") && !reason.contains("s3cret"),
            "{reason}"
        );
    }
}
