//! What receivers answer, if they do.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{StatusCode, header};
use orchestrator::scheduler::deliver::Call;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::receiver::{Receiver, endless};
use super::{Outbox, opened, table};

#[tokio::test]
async fn answer_of_any_length_costs_a_bounded_part_of_it() {
    let outbox = Outbox::new().await;
    let deliverer = outbox.deliverer("127.0.0.0/8", &[]);
    let huge = Receiver::start(|_| (StatusCode::INTERNAL_SERVER_ERROR, "x".repeat(10_000_000))).await;
    let id = outbox.ended(&huge.url()).await;
    deliverer.round(None).await.unwrap();
    assert_eq!(
        outbox.attempt(id, "length(answer) || ' ' || status").await,
        "1024 500"
    );

    let never_ends = endless(
        b"HTTP/1.1 400 Bad\r\ntransfer-encoding: chunked\r\n\r\n",
        b"4\r\n\0\xff\r\n\r\n",
    )
    .await;
    let id = outbox.ended(&format!("http://{never_ends}/")).await;
    deliverer.round(None).await.unwrap();
    assert_eq!(outbox.state(id).await, "pending");
    assert_eq!(
        outbox
            .attempt(id, "status || ' ' || (octet_length(answer) > 1000)")
            .await,
        "400 true"
    );

    // A good status is the answer, whatever comes after it.
    let chatty = endless(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        b"1\r\nx\r\n",
    )
    .await;
    let id = outbox.ended(&format!("http://{chatty}/")).await;
    deliverer.round(None).await.unwrap();
    assert_eq!(outbox.state(id).await, "delivered");
}

#[tokio::test]
async fn receiver_that_does_not_answer_is_given_up_on_and_tried_again() {
    let outbox = Outbox::new().await;
    let brief = Call::new(
        Arc::new(table(&[])),
        opened("127.0.0.0/8"),
        Duration::from_millis(300),
        Vec::new(),
    );
    let deliverer = outbox.deliverer_by(brief.unwrap());
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    for (address, reason) in [
        (endless(b"", b"").await, "not answered in time"),
        (endless(b"HTTP/1.1 200 OK\r\nx: ", b"y").await, "was not answered"),
        (endless(b"HTTP/1.1 200 ", b"").await, "not answered in time"),
        (
            endless(b"SSH-2.0-OpenSSH_9.2\r\n", b"").await,
            "not answered as HTTP has it",
        ),
        (closed, "could not be connected"),
    ] {
        let id = outbox.ended(&format!("http://{address}/")).await;
        deliverer.round(None).await.unwrap();
        assert_eq!(outbox.state(id).await, "pending");
        let said = outbox.column(id, "last_reason").await;
        assert!(said.contains(reason), "{said}");
        assert!(!said.contains("http://"), "{said}");
    }
    let id = outbox.ended("http://nowhere.test/").await;
    deliverer.round(None).await.unwrap();
    assert_eq!(outbox.state(id).await, "pending");
    assert!(
        outbox
            .column(id, "last_reason")
            .await
            .contains("cannot be looked up")
    );
}

/// An authority, and a server on loopback with its certificate for `right.test`.
async fn tls() -> (reqwest::Certificate, std::net::SocketAddr) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = authority.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(authority, key);
    let own = rcgen::KeyPair::generate().unwrap();
    let names = rcgen::CertificateParams::new(vec!["right.test".to_owned()]).unwrap();
    let certificate = names.signed_by(&own, &issuer).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(own.serialize_der().into()),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut heard = [0; 4096];
            let _ = stream.read(&mut heard).await;
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
            let _ = stream.shutdown().await;
        }
    });
    (reqwest::Certificate::from_der(root.der()).unwrap(), address)
}

#[tokio::test]
async fn certificate_must_be_of_a_known_authority_and_of_the_name_that_is_called() {
    let outbox = Outbox::new().await;
    let (root, address) = tls().await;
    let names = table(&[("right.test", &["127.0.0.1"]), ("wrong.test", &["127.0.0.1"])]);
    let make = |authorities| {
        let call = Call::new(
            Arc::new(names.clone()),
            opened("127.0.0.0/8"),
            Duration::from_secs(60),
            authorities,
        );
        outbox.deliverer_by(call.unwrap())
    };
    let (trusting, other) = (make(vec![root]), make(Vec::new()));
    for (deliverer, host, state) in [
        (&trusting, "right.test", "delivered"),
        (&trusting, "wrong.test", "pending"),
        (&other, "right.test", "pending"),
    ] {
        let id = outbox.ended(&format!("https://{host}:{}/", address.port())).await;
        deliverer.round(None).await.unwrap();
        assert_eq!(
            outbox.state(id).await,
            state,
            "{host}: {}",
            outbox.column(id, "last_reason").await
        );
        if state == "pending" {
            let reason = outbox.column(id, "last_reason").await;
            assert!(reason.contains("certificate"), "{reason}");
        }
    }
}

#[tokio::test]
async fn busy_receiver_says_when_to_come_again_and_gone_is_gone() {
    let outbox = Outbox::new().await;
    let deliverer = outbox.deliverer("127.0.0.0/8", &[]);
    for (status, wait, state) in [
        (StatusCode::TOO_MANY_REQUESTS, "7200", "pending true"),
        (StatusCode::SERVICE_UNAVAILABLE, "7200", "pending true"),
        (StatusCode::INTERNAL_SERVER_ERROR, "7200", "pending false"),
        (StatusCode::SERVICE_UNAVAILABLE, "86401", "dead false"),
        (StatusCode::GONE, "1", "dead false"),
    ] {
        let receiver = Receiver::start(move |_| (status, [(header::RETRY_AFTER, wait)])).await;
        let id = outbox.ended(&receiver.url()).await;
        deliverer.round(None).await.unwrap();
        let after = "state || ' ' || (due_at > now() + interval '7000 seconds')";
        assert_eq!(outbox.column(id, after).await, state, "{status} {wait}");
        assert_eq!(receiver.heard().len(), 1);
    }
}
