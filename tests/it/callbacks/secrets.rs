//! What callbacks are signed with.

use std::time::Duration;

use axum::http::StatusCode;
use orchestrator::app::callback_secrets::Error;
use orchestrator::app::callback_secrets::rotate;
use orchestrator::domain::seal::Keyring;
use orchestrator::domain::signature::{Generic, Provider, Scheme, verify};
use secrecy::{ExposeSecret as _, SecretString};

use super::Outbox;
use super::receiver::{Heard, Receiver};
use crate::support::{ask, tell};

fn is_signed_with(heard: &Heard, secret: &SecretString) -> bool {
    let scheme = Scheme {
        provider: Provider::Standard,
        tolerance_sec: 300,
        generic: &Generic::default(),
    };
    let now = orchestrator::domain::clock::now().timestamp();
    verify(
        scheme,
        std::slice::from_ref(secret),
        &heard.signed(),
        &heard.body,
        now,
    )
    .is_ok()
}

#[tokio::test]
async fn callback_is_signed_so_that_its_receiver_can_tell() {
    let outbox = Outbox::new().await;
    let receiver = Receiver::start(|_| StatusCode::OK).await;
    let deliverer = outbox.deliverer("127.0.0.0/8", &[]);
    let rotated = rotate(
        &outbox.pool,
        Some(&outbox.keys),
        &outbox.operator,
        "demo",
        Duration::ZERO,
    )
    .await
    .unwrap();
    let id = outbox.ended(&receiver.url()).await;
    assert_eq!(deliverer.round(None).await.unwrap(), 1);
    let heard = receiver.heard().pop().unwrap();
    assert!(is_signed_with(&heard, &rotated.secret));
    assert_eq!(heard.header("webhook-id"), id.to_string());
    assert_eq!(heard.header("content-type"), "application/json");
    assert!(heard.header("user-agent").starts_with("orchestrator/"));
    assert_eq!(
        String::from_utf8_lossy(&heard.body),
        outbox.column(id, "body").await
    );
    assert_eq!(
        outbox
            .column(id, "state || ' ' || attempts || ' ' || last_status")
            .await,
        "delivered 1 200"
    );
    assert_eq!(
        outbox
            .attempt(
                id,
                "address || ' ' || (ended_at >= started_at) || ' ' || coalesce(reason, 'well')"
            )
            .await,
        format!("{} true well", receiver.address)
    );
    // Whoever reads the tables learns nothing of it.
    let kept = ask(
        &outbox.pool,
        "select string_agg(encode(secret, 'escape'), '') from callback_secret",
    )
    .await;
    assert!(!kept.contains(rotated.secret.expose_secret()));
}

#[tokio::test]
async fn while_a_secret_is_replaced_the_old_one_and_the_new_one_verify() {
    let outbox = Outbox::new().await;
    let receiver = Receiver::start(|_| StatusCode::OK).await;
    let deliverer = outbox.deliverer("127.0.0.0/8", &[]);
    let turn = async |overlap: u64| {
        let overlap = Duration::from_secs(overlap);
        rotate(
            &outbox.pool,
            Some(&outbox.keys),
            &outbox.operator,
            "demo",
            overlap,
        )
        .await
        .unwrap()
    };
    let send = async || {
        outbox.ended(&receiver.url()).await;
        deliverer.round(None).await.unwrap();
        receiver.heard().pop().unwrap()
    };
    let (old, new) = (turn(0).await, turn(3600).await);
    assert!(old.old_signs_until.is_none() && new.old_signs_until.is_some());
    let heard = send().await;
    assert!(is_signed_with(&heard, &old.secret) && is_signed_with(&heard, &new.secret));
    tell(
        &outbox.pool,
        "update callback_secret set retires_at = now() where retires_at is not null",
    )
    .await;
    let heard = send().await;
    assert!(!is_signed_with(&heard, &old.secret) && is_signed_with(&heard, &new.secret));
    assert_eq!(
        ask(
            &outbox.pool,
            "select count(*) from event where kind = 'callback_secret.replaced'"
        )
        .await,
        "2"
    );
}

#[tokio::test]
async fn project_without_a_secret_is_given_one_and_nothing_goes_out_unsigned() {
    let outbox = Outbox::new().await;
    let receiver = Receiver::start(|_| StatusCode::OK).await;
    for _ in 0..5 {
        outbox.ended(&receiver.url()).await;
    }
    let (one, other) = (
        outbox.deliverer("127.0.0.0/8", &[]),
        outbox.deliverer("127.0.0.0/8", &[]),
    );
    let (one, other) = tokio::join!(one.round(None), other.round(None));
    assert_eq!(one.unwrap() + other.unwrap(), 5);
    assert_eq!(
        ask(&outbox.pool, "select count(*) from callback_secret").await,
        "1"
    );
    assert!(
        receiver
            .heard()
            .iter()
            .all(|heard| heard.header("webhook-signature").starts_with("v1,"))
    );
}

#[tokio::test]
async fn secret_sealed_with_a_key_that_is_gone_holds_the_callback_back_and_says_so() {
    let outbox = Outbox::new().await;
    let receiver = Receiver::start(|_| StatusCode::OK).await;
    let other: Keyring = Keyring::generate().expose_secret().parse().unwrap();
    rotate(
        &outbox.pool,
        Some(&other),
        &outbox.operator,
        "demo",
        Duration::ZERO,
    )
    .await
    .unwrap();
    let id = outbox.ended(&receiver.url()).await;
    outbox.deliverer("127.0.0.0/8", &[]).round(None).await.unwrap();
    assert_eq!(
        (outbox.state(id).await.as_str(), receiver.heard().len()),
        ("pending", 0)
    );
    assert!(outbox.column(id, "last_reason").await.contains("SECRETS_KEY"));
}

#[tokio::test]
async fn secret_is_not_made_without_a_key_or_for_a_project_out_of_reach() {
    let outbox = Outbox::new().await;
    let make = async |keys, alias| rotate(&outbox.pool, keys, &outbox.operator, alias, Duration::ZERO).await;
    assert!(matches!(make(None, "demo").await, Err(Error::NoKey(_))));
    assert!(matches!(
        make(Some(&outbox.keys), "nowhere").await,
        Err(Error::Unknown(_))
    ));
}
