//! Callbacks on their way: claimed, tried by the scheduler, and what follows from each try.

use std::collections::BTreeSet;
use std::time::Duration;

use secrecy::SecretString;

use super::authenticate::Caller;
use super::callback_secrets;
use crate::domain::callback::{DeliveryState, Next, Tried, next};
use crate::domain::clock::Instant;
use crate::domain::id::DeliveryId;
use crate::domain::seal::{Keyring, Shut};
use crate::store::delivery::{self, Claimed, Delivery, Filter, Report};
use crate::store::{Pool, Result};

/// A callback to be tried now, and what signs it.
#[derive(Debug)]
pub struct Outgoing {
    /// The callback.
    pub claimed: Claimed,
    /// The secrets of its project, the newest first.
    pub secrets: std::result::Result<Vec<SecretString>, Shut>,
}

/// Claims up to `limit` callbacks that are due, none of which goes to a host in `busy`, for as long as
/// `lease`. Any number of schedulers may do so at once.
///
/// # Errors
///
/// [`crate::store::Error`] when PostgreSQL is away; what was claimed is due again after the lease.
pub async fn claim(
    pool: &Pool,
    keys: &Keyring,
    now: Instant,
    limit: u16,
    busy: &[String],
    lease: Duration,
) -> Result<Vec<Outgoing>> {
    let claimed = delivery::claim(pool, now, limit, busy, lease).await?;
    let projects: BTreeSet<_> = claimed.iter().map(|claimed| claimed.project).collect();
    if projects.is_empty() {
        return Ok(Vec::new());
    }
    let secrets = callback_secrets::of_projects(pool, keys, &projects).await?;
    let outgoing = claimed.into_iter().map(|claimed| Outgoing {
        secrets: secrets
            .get(&claimed.project)
            .cloned()
            .unwrap_or(Err(Shut::UnknownKey)),
        claimed,
    });
    Ok(outgoing.collect())
}

/// Writes down what came of a try and answers with what follows.
///
/// # Errors
///
/// [`crate::store::Error`] when PostgreSQL is away; the callback is tried again after its lease.
pub async fn finish(
    pool: &Pool,
    now: Instant,
    claimed: &Claimed,
    tried: &Tried,
    mut report: Report,
) -> Result<Next> {
    let tries = u32::try_from(claimed.tries).unwrap_or_default();
    let follows = next(
        tried,
        tries,
        claimed.claimed_at,
        claimed.gives_up_at,
        rand::random(),
    );
    let (state, wait) = match &follows {
        Next::Delivered => (DeliveryState::Delivered, Duration::ZERO),
        Next::Again(wait) => (DeliveryState::Pending, *wait),
        Next::Dead => (DeliveryState::Dead, Duration::ZERO),
    };
    (report.status, report.reason) = match tried {
        Tried::Answered { status, .. } => (Some(*status), meaning(*status)),
        Tried::Unanswered(why) | Tried::Refused(why) => (None, Some(why.clone())),
    };
    let fence = (claimed.id, claimed.attempt);
    if !delivery::finish(pool, now, fence, &report, state, wait).await? {
        tracing::warn!(delivery.id = %claimed.id, attempt = claimed.attempt, "another took a callback over while it was tried");
    }
    Ok(follows)
}

fn meaning(status: u16) -> Option<String> {
    match status {
        200..=299 => None,
        300..=399 => Some(format!(
            "was answered with {status}: redirects are not followed, name the address it leads to"
        )),
        410 => Some("was answered with 410: the receiver wants no more of it".to_owned()),
        _ => Some(format!("was answered with {status}")),
    }
}

/// A callback with its tries.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The callback.
    pub delivery: Delivery,
    /// Its tries, the first one first.
    pub attempts: Vec<delivery::Attempt>,
}

/// Shows a callback; `None` for another project's as for none.
///
/// # Errors
///
/// [`crate::store::Error`] when PostgreSQL is away.
pub async fn show(pool: &Pool, caller: &Caller, id: DeliveryId) -> Result<Option<Shown>> {
    let filter = Filter {
        projects: caller.projects.as_deref(),
        id: Some(id),
        ..Filter::default()
    };
    let Some(delivery) = delivery::page(pool, filter, None, 1).await?.items.pop() else {
        return Ok(None);
    };
    let attempts = delivery::attempts(pool, id).await?;
    Ok(Some(Shown { delivery, attempts }))
}

/// Sends a callback again, for another day of tries. `None`: there is none that the caller can see.
///
/// # Errors
///
/// [`crate::store::Error`] when PostgreSQL is away.
pub async fn send_again(pool: &Pool, caller: &Caller, id: DeliveryId) -> Result<Option<Shown>> {
    match delivery::send_again(pool, id, caller.projects.as_deref(), &caller.actor).await? {
        true => show(pool, caller, id).await,
        false => Ok(None),
    }
}
