//! Callbacks are delivered: claimed from the outbox, tried side by side, and what came of each is
//! written down. Every scheduler does it, and any number may run at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tracing::{Instrument as _, Span, field};

use crate::app::deliver::{self, Outgoing};
use crate::domain::callback::{Next, Tried};
use crate::domain::clock::{self, Instant};
use crate::domain::seal::Keyring;
use crate::domain::signature::standard;
use crate::domain::trace::TraceParent;
use crate::shutdown::Stop;
use crate::store::delivery::{Claimed, Report};
use crate::store::{Pool, Result};
use crate::telemetry::trace;

mod call;
mod resolve;

pub use call::{Call, Unusable};
pub use resolve::{System, Table};

/// Most callbacks claimed at once; more are claimed while the first ones are on their way.
const BATCH: u16 = 4;
/// From so many tries at one host on, no more are begun there: one that hangs does not hold up the others.
const AT_ONE_HOST: usize = 4;
/// Time beyond the longest try before another may take a callback over.
const MARGIN: Duration = Duration::from_secs(30);
/// Pause before the database is asked again that was away.
const PAUSE: Duration = Duration::from_secs(1);

/// What delivers. Cheap to clone.
#[derive(Clone)]
pub struct Deliverer {
    pool: Pool,
    keys: Keyring,
    call: Call,
    at_once: u16,
    busy: Arc<Mutex<BTreeMap<String, usize>>>,
    due: Arc<Notify>,
}

impl Deliverer {
    /// One that makes `at_once` calls at a time.
    #[must_use]
    pub fn new(pool: Pool, keys: Keyring, call: Call, at_once: u16) -> Self {
        Self {
            pool,
            keys,
            call,
            at_once,
            busy: Arc::default(),
            due: Arc::default(),
        }
    }

    /// Where it is to be told that callbacks are due: between two tellings it asks nobody.
    #[must_use]
    pub fn due(&self) -> Arc<Notify> {
        Arc::clone(&self.due)
    }

    /// Delivers until `stop`; then what is on its way is finished, unless the stop is hard.
    pub async fn run(self, stop: Stop) {
        let mut away = false;
        let mut tries = JoinSet::new();
        while !stop.soft.is_cancelled() {
            let begun = match self.begin(None, &mut tries).await {
                Ok(begun) => {
                    away = false;
                    begun
                }
                Err(error) if away => {
                    tracing::debug!(error = %error, "still no callback could be claimed");
                    0
                }
                Err(error) => {
                    tracing::warn!(error = %error, "no callback could be claimed; trying again");
                    away = true;
                    0
                }
            };
            if away {
                let wait = PAUSE.mul_f64(rand::random_range(0.9..=1.1));
                let _ = tokio::time::timeout(wait, stop.soft.cancelled()).await;
            } else if begun == 0 {
                stop.soft.run_until_cancelled(self.due.notified()).await;
            } else if tries.len() >= usize::from(self.at_once) {
                stop.soft.run_until_cancelled(tries.join_next()).await;
            }
            while tries.try_join_next().is_some() {}
        }
        let finish = async { while tries.join_next().await.is_some() {} };
        stop.hard.run_until_cancelled(finish).await;
    }

    /// Tries everything that is due at `now`, to its end; answers with the number of tries.
    ///
    /// # Errors
    ///
    /// [`crate::store::Error`] when PostgreSQL is away.
    pub async fn round(&self, now: Instant) -> Result<usize> {
        let mut tried = 0;
        loop {
            let mut tries = JoinSet::new();
            let begun = self.begin(now, &mut tries).await?;
            while tries.join_next().await.is_some() {}
            tried += begun;
            if begun == 0 {
                return Ok(tried);
            }
        }
    }

    /// Claims what is due and begins to try it; answers with the number.
    async fn begin(&self, now: Instant, tries: &mut JoinSet<()>) -> Result<usize> {
        let free = usize::from(self.at_once).saturating_sub(tries.len());
        let limit = u16::try_from(free).unwrap_or(BATCH).min(BATCH);
        if limit == 0 {
            return Ok(0);
        }
        let lease = self.call.longest() + MARGIN;
        let claimed = deliver::claim(&self.pool, &self.keys, now, limit, &self.full_hosts(), lease).await?;
        let begun = claimed.len();
        for outgoing in claimed {
            let place = Place::take(&self.busy, &outgoing.claimed.authority);
            let deliverer = self.clone();
            let span = span(&outgoing.claimed);
            let attempt = async move {
                deliverer.attempt(outgoing, now).await;
                drop(place);
            };
            tries.spawn(attempt.instrument(span));
        }
        Ok(begun)
    }

    async fn attempt(&self, outgoing: Outgoing, now: Instant) {
        let began = std::time::Instant::now();
        let claimed = &outgoing.claimed;
        let trace = trace::here(trace::of_job(claimed.job, claimed.trace));
        let (tried, report) = self.send(&outgoing, trace).await;
        let follows = deliver::finish(&self.pool, now, claimed, &tried, report).await;
        let outcome = match &follows {
            Ok(Next::Delivered) => "delivered",
            Ok(Next::Again(_)) => "again",
            Ok(Next::Dead) => "dead",
            Err(_) => "unknown",
        };
        metrics::counter!("orchestrator_callbacks_total", "outcome" => outcome).increment(1);
        metrics::histogram!("orchestrator_callback_duration_seconds").record(began.elapsed());
        match follows {
            // The address may hold a secret of the receiver's; its host tells operators enough.
            Ok(Next::Dead) => tracing::warn!(
                delivery.id = %claimed.id, host = claimed.authority, attempt = claimed.attempt, "a callback is given up",
            ),
            Ok(_) => tracing::debug!(delivery.id = %claimed.id, outcome, "a callback was tried"),
            Err(error) => tracing::warn!(
                delivery.id = %claimed.id, error = %error, "what came of a callback could not be written; it is tried again",
            ),
        }
    }

    async fn send(&self, outgoing: &Outgoing, trace: Option<TraceParent>) -> (Tried, Report) {
        let claimed = &outgoing.claimed;
        let secrets = match &outgoing.secrets {
            Ok(secrets) => secrets,
            Err(shut) => {
                let why = format!("was not sent: the secret that signs it {shut}");
                return (Tried::Unanswered(why), Report::default());
            }
        };
        let (id, timestamp) = (claimed.id.to_string(), clock::now().timestamp());
        let signature = standard::sign(secrets, &id, timestamp, claimed.body.as_bytes());
        let mut headers = vec![
            ("webhook-id", id),
            ("webhook-timestamp", timestamp.to_string()),
            ("webhook-signature", signature),
        ];
        headers.extend(trace.map(|trace| (TraceParent::HEADER, trace.to_string())));
        self.call.post(&claimed.url, &headers, claimed.body.clone()).await
    }

    fn full_hosts(&self) -> Vec<String> {
        let busy = lock(&self.busy);
        let full = busy.iter().filter(|(_, tries)| **tries >= AT_ONE_HOST);
        full.map(|(host, _)| host.clone()).collect()
    }
}

/// The span of a try, in the trace of its job.
fn span(claimed: &Claimed) -> Span {
    let span = tracing::info_span!("callback", otel.kind = "client", delivery.id = %claimed.id, job.id = %claimed.job,
                                   host = claimed.authority, attempt = claimed.attempt, trace_id = field::Empty);
    trace::within(&span, trace::of_job(claimed.job, claimed.trace));
    span
}

/// A try's place among those at its host, given back when it ends, however it does.
struct Place {
    busy: Arc<Mutex<BTreeMap<String, usize>>>,
    host: String,
}

impl Place {
    fn take(busy: &Arc<Mutex<BTreeMap<String, usize>>>, host: &str) -> Self {
        *lock(busy).entry(host.to_owned()).or_default() += 1;
        Self {
            busy: busy.clone(),
            host: host.to_owned(),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut busy = lock(&self.busy);
        if let Some(tries) = busy.get_mut(&self.host) {
            *tries -= 1;
            if *tries == 0 {
                busy.remove(&self.host);
            }
        }
    }
}

fn lock(busy: &Mutex<BTreeMap<String, usize>>) -> MutexGuard<'_, BTreeMap<String, usize>> {
    busy.lock().unwrap_or_else(PoisonError::into_inner)
}
