//! Tries over simulated time: the clock is an argument, the servers are real.

use std::time::Duration;

use axum::http::StatusCode;
use chrono::{DateTime, TimeDelta, Utc};
use orchestrator::app::deliver;
use orchestrator::domain::callback::Tried;
use orchestrator::domain::clock;
use orchestrator::domain::id::DeliveryId;
use orchestrator::shutdown::Stop;
use orchestrator::store::delivery::Report;

use super::Outbox;
use super::receiver::{Receiver, endless};
use crate::support::{ask, until};

async fn due(outbox: &Outbox, id: DeliveryId) -> DateTime<Utc> {
    let text = outbox
        .column(
            id,
            "to_char(due_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
        )
        .await;
    text.parse().unwrap()
}

#[tokio::test]
async fn receiver_that_is_down_is_tried_for_a_day_ever_less_often_and_then_given_up() {
    let outbox = Outbox::new().await;
    let receiver = Receiver::start(|_| StatusCode::BAD_GATEWAY).await;
    let deliverer = outbox.deliverer("127.0.0.0/8", &[]);
    let id = outbox.ended(&receiver.url()).await;
    let began = clock::now() + TimeDelta::seconds(1);
    let mut now = began;
    let mut waits = Vec::new();
    loop {
        assert_eq!(deliverer.round(Some(now)).await.unwrap(), 1);
        // Nothing happens before it is due again, if it ever is.
        assert_eq!(deliverer.round(Some(now)).await.unwrap(), 0);
        if outbox.state(id).await != "pending" {
            break;
        }
        let next = due(&outbox, id).await;
        waits.push((next - now).num_seconds());
        now = next;
    }
    assert!((28..=40).contains(&waits.len()), "{waits:?}");
    assert!(
        (7..=13).contains(&waits[0]) && (14..=26).contains(&waits[1]),
        "{waits:?}"
    );
    assert!(
        waits[10..].iter().all(|wait| (2700..=4500).contains(wait)),
        "{waits:?}"
    );
    assert!(now - began <= TimeDelta::days(1) && now - began > TimeDelta::hours(22));
    // The receiver knows all of them for one: the id is the same, and so is the body.
    let heard = receiver.heard();
    assert_eq!(heard.len(), waits.len() + 1);
    assert!(
        heard
            .iter()
            .all(|one| one.header("webhook-id") == id.to_string() && one.body == heard[0].body)
    );
    let numbered = "select count(*) || ' ' || max(number) || ' ' || bool_and(status = 502 and ended_at is not null) from delivery_attempt";
    assert_eq!(
        ask(&outbox.pool, numbered).await,
        format!("{0} {0} true", heard.len())
    );
}

#[tokio::test]
async fn dead_callback_is_sent_again_by_hand_with_a_day_of_its_own() {
    let outbox = Outbox::new().await;
    let receiver = Receiver::start(|number| {
        if number == 1 {
            StatusCode::GONE
        } else {
            StatusCode::OK
        }
    })
    .await;
    let deliverer = outbox.deliverer("127.0.0.0/8", &[]);
    let id = outbox.ended(&receiver.url()).await;
    deliverer.round(None).await.unwrap();
    assert_eq!(outbox.state(id).await, "dead");
    let shown = deliver::send_again(&outbox.pool, &outbox.operator, id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (shown.delivery.state.as_str(), shown.attempts.len()),
        ("pending", 1)
    );
    deliverer.round(None).await.unwrap();
    assert_eq!(
        outbox
            .column(id, "state || ' ' || attempts || ' ' || tries")
            .await,
        "delivered 2 1"
    );
    // What has arrived can be sent once more as well.
    deliver::send_again(&outbox.pool, &outbox.operator, id)
        .await
        .unwrap()
        .unwrap();
    deliverer.round(None).await.unwrap();
    assert_eq!(receiver.heard().len(), 3);
    assert_eq!(
        ask(
            &outbox.pool,
            "select count(*) from event where kind = 'delivery.sent_again' and actor = 'test'"
        )
        .await,
        "2"
    );
    let unknown = deliver::send_again(&outbox.pool, &outbox.operator, DeliveryId::generate())
        .await
        .unwrap();
    assert!(unknown.is_none());
}

#[tokio::test]
async fn what_a_vanished_deliverer_had_is_taken_over_and_its_late_word_changes_nothing() {
    let outbox = Outbox::new().await;
    let receiver = Receiver::start(|_| StatusCode::OK).await;
    let deliverer = outbox.deliverer("127.0.0.0/8", &[]);
    let id = outbox.ended(&receiver.url()).await;
    let lease = Duration::from_secs(60);
    let mut held = deliver::claim(&outbox.pool, &outbox.keys, None, 10, &[], lease)
        .await
        .unwrap();
    let held = held.pop().unwrap().claimed;
    assert_eq!(deliverer.round(None).await.unwrap(), 0);
    // It is not sent twice at once by hand either.
    deliver::send_again(&outbox.pool, &outbox.operator, id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(deliverer.round(None).await.unwrap(), 0);
    let later = clock::now() + TimeDelta::seconds(61);
    assert_eq!(deliverer.round(Some(later)).await.unwrap(), 1);
    assert_eq!(outbox.column(id, "state || ' ' || attempts").await, "delivered 2");
    let late = Tried::Answered {
        status: 410,
        retry_after: None,
    };
    deliver::finish(&outbox.pool, None, &held, &late, Report::default())
        .await
        .unwrap();
    assert_eq!(
        outbox.column(id, "state || ' ' || last_status").await,
        "delivered 200"
    );
    // But it is on record that it was tried.
    assert_eq!(
        ask(
            &outbox.pool,
            "select string_agg(status::text, ' ' order by number) from delivery_attempt"
        )
        .await,
        "410 200"
    );
}

#[tokio::test]
async fn host_that_hangs_does_not_hold_up_the_others() {
    let outbox = Outbox::new().await;
    let hangs = endless(b"", b"").await;
    let receiver = Receiver::start(|_| StatusCode::OK).await;
    for _ in 0..30 {
        outbox.ended(&format!("http://{hangs}/")).await;
    }
    let id = outbox.ended(&receiver.url()).await;
    let stop = Stop::default();
    let running = tokio::spawn(outbox.deliverer("127.0.0.0/8", &[]).run(stop.clone()));
    until(async || (outbox.state(id).await == "delivered").then_some(())).await;
    let tried = ask(
        &outbox.pool,
        "select count(*) from delivery where state = 'pending' and attempts > 0",
    )
    .await;
    assert!(tried.parse::<u32>().unwrap() < 8, "{tried}");
    stop.hard();
    running.await.unwrap();
}
