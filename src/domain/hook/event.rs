//! What a request says of itself: the event, the branch, the id under which it may come again.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use strum::{Display, EnumString, IntoStaticStr};
use utoipa::ToSchema;

use super::Options;
use crate::domain::signature::{Headers, Provider};

/// Longest id of a delivery that is kept.
const LONGEST_ID: usize = 255;

/// What came in, in words that are the same for every provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Incoming {
    /// What happened, as the provider calls it.
    pub event: Option<String>,
    /// What was done, where the provider tells it apart from the event.
    pub action: Option<String>,
    /// The branch it is about.
    pub branch: Option<String>,
    /// The sender's id of the delivery; a repeat has the same.
    pub delivery: Option<String>,
    /// Whether the sender only asks if somebody is there.
    pub ping: bool,
}

/// What became of an event.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, Display, EnumString, IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Outcome {
    /// It made a job.
    Accepted,
    /// Its job was there already.
    Repeated,
    /// The filter said no.
    Ignored,
    /// The sender asked whether somebody is there.
    Ping,
    /// The hook is paused; the sender was told to come again.
    Paused,
    /// The signature is not good.
    Refused,
    /// No job could be made of it.
    Failed,
}

impl Incoming {
    /// Reads a request of `provider`.
    #[must_use]
    pub fn read(provider: Provider, options: &Options, headers: &Headers, payload: &Value) -> Self {
        let header = |name: &str| headers.get(name).map(str::to_owned);
        let mut incoming = match provider {
            Provider::Github => github(headers, payload),
            Provider::Gitlab => gitlab(headers, payload),
            Provider::Stripe => Self {
                event: text(&payload["type"]),
                delivery: text(&payload["id"]),
                ..Self::default()
            },
            Provider::Standard => Self {
                event: text(&payload["type"]),
                delivery: header("webhook-id").or_else(|| header("svix-id")),
                ..Self::default()
            },
            Provider::Hmac | Provider::Bearer => own(options, headers, payload),
        };
        incoming.delivery = incoming.delivery.filter(|id| is_id(id));
        for name in [&mut incoming.event, &mut incoming.action, &mut incoming.branch] {
            // PostgreSQL holds no such character, and no provider names anything so.
            name.take_if(|name| name.contains('\0'));
        }
        incoming
    }
}

fn github(headers: &Headers, payload: &Value) -> Incoming {
    let event = headers.get("X-GitHub-Event");
    Incoming {
        event: event.map(str::to_owned),
        action: text(&payload["action"]),
        branch: text(&payload["pull_request"]["base"]["ref"])
            .or_else(|| pushed_branch(&payload["ref"]))
            .or_else(|| text(&payload["workflow_run"]["head_branch"]))
            .or_else(|| text(&payload["check_suite"]["head_branch"])),
        delivery: headers.get("X-GitHub-Delivery").map(str::to_owned),
        ping: event == Some("ping"),
    }
}

fn gitlab(headers: &Headers, payload: &Value) -> Incoming {
    let attributes = &payload["object_attributes"];
    let header = |name: &str| headers.get(name).map(str::to_owned);
    Incoming {
        event: text(&payload["object_kind"]).or_else(|| text(&payload["event_name"])),
        action: text(&attributes["action"]),
        branch: text(&attributes["target_branch"])
            .or_else(|| pushed_branch(&payload["ref"]))
            .or_else(|| text(&attributes["ref"])),
        // The first is the same for every try of a delivery; older servers send only the second.
        delivery: header("Idempotency-Key").or_else(|| header("X-Gitlab-Event-UUID")),
        ping: false,
    }
}

fn own(options: &Options, headers: &Headers, payload: &Value) -> Incoming {
    let named = |name: &Option<String>| {
        name.as_deref()
            .and_then(|name| headers.get(name))
            .map(str::to_owned)
    };
    let key = options.delivery_header.as_deref().unwrap_or("Idempotency-Key");
    Incoming {
        event: match options.event_header {
            Some(_) => named(&options.event_header),
            None => text(&payload["type"]).or_else(|| text(&payload["event"])),
        },
        action: text(&payload["action"]),
        branch: text(&payload["branch"]).or_else(|| pushed_branch(&payload["ref"])),
        delivery: headers.get(key).map(str::to_owned),
        ping: false,
    }
}

/// The branch of `refs/heads/…`; a tag is none. A bare name is one, as in the creation of a branch.
fn pushed_branch(reference: &Value) -> Option<String> {
    let reference = reference.as_str()?;
    match reference.strip_prefix("refs/") {
        Some(rest) => rest.strip_prefix("heads/").map(str::to_owned),
        None => Some(reference.to_owned()),
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn is_id(id: &str) -> bool {
    (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(|byte| (0x21..0x7f).contains(&byte))
}
