//! The lease is renewed three times in its length. When it cannot be, children end before it does.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::held::{Held, Reason};
use super::session::End;
use crate::alive::Part;
use crate::app::backoff::Backoff;
use crate::app::lease::Session;
use crate::domain::attempt::Fence;
use crate::domain::clock;

/// What an operator asks of a session, and who is told.
pub(super) struct Wishes {
    /// Says that something is asked.
    pub(super) asked: Arc<Notify>,
    /// Told when the runner is to be drained.
    pub(super) drained: CancellationToken,
    /// Told when it is to take no more work.
    pub(super) quiet: CancellationToken,
}

/// Renews the session's lease until it is `closed`, and passes on what an operator wishes; brakes when jobs are to stop.
/// When the lease is lost, or about to be, everything is stopped first.
pub(super) async fn beat(
    session: Session,
    alive: Part,
    held: Held,
    wishes: Wishes,
    closed: CancellationToken,
) -> End {
    let Wishes {
        asked,
        drained,
        quiet,
    } = wishes;
    let every = session.lease / 3;
    // What the last renewal promised, counted from before it was sent: the answer may be long on its way.
    let mut renewed = session.opened;
    loop {
        // Keepers end what is left of the children by then, also while this process is frozen.
        held.lasts_until(renewed + session.lease - session.lease / 24);
        // A renewal also answers what is asked of the session, so it comes early when something is.
        let next = async {
            tokio::select! {
                () = until(renewed + every) => {}
                () = asked.notified() => {}
            }
        };
        if closed.run_until_cancelled(next).await.is_none() {
            return End::Stopped;
        }
        // Children need time to end: they are told a sixth of the lease before it passes.
        let deadline = renewed + session.lease - session.lease / 6;
        let running = held.running();
        let Some((sent, Some(answer))) = renew_by(&session, deadline).await else {
            tracing::warn!(runner.id = %session.id, "the lease is lost: everything this session holds is stopped");
            held.stop_all(Reason::LeaseLost);
            quiet.cancel();
            return End::LeaseLost;
        };
        renewed = sent;
        alive.moves();
        metrics::gauge!("orchestrator_runner_lease_renewed_timestamp_seconds").set(seconds(clock::now()));
        let cancelled = answer.held.iter().filter(|(_, cancelled)| *cancelled);
        let cancelled: Vec<_> = cancelled.map(|(fence, _)| *fence).collect();
        held.stop(&cancelled, Reason::Cancelled);
        let ours = answer.held.iter().map(|(fence, _)| *fence).collect();
        for Fence { job, attempt } in held.stop_taken(&running, &ours) {
            tracing::warn!(job.id = %job, job.attempt = attempt, "the job is not this session's any more: its attempt is stopped");
        }
        if answer.drain && !quiet.is_cancelled() {
            tracing::info!(runner.id = %session.id, "an operator asked this runner to drain");
            drained.cancel();
            quiet.cancel();
        }
    }
}

/// Longest time between two looks at the clock, which the runtime's does not go along with while the host is suspended.
const LOOK: Duration = Duration::from_secs(1);

/// Waits until the host has been up for so long.
async fn until(at: Duration) {
    while let Some(left) = at.checked_sub(clock::since_boot()).filter(|left| !left.is_zero()) {
        tokio::time::sleep(left.min(LOOK)).await;
    }
}

/// As Prometheus counts time; exact to the microsecond.
fn seconds(at: chrono::DateTime<chrono::Utc>) -> f64 {
    at.timestamp_micros() as f64 / 1e6
}

type Answer = (Duration, Option<crate::store::runner::Renewed>);

/// Tries until `deadline`; `None` when the database gave no answer by then.
async fn renew_by(session: &Session, deadline: Duration) -> Option<Answer> {
    let mut pause = Backoff::default();
    let never = CancellationToken::new();
    let attempts = async {
        loop {
            let sent = clock::since_boot();
            match session.renew().await {
                Ok(answer) => return (sent, answer),
                Err(error) => {
                    tracing::warn!(runner.id = %session.id, error = %error, "the lease could not be renewed; trying again");
                    pause.wait(&never).await;
                }
            }
        }
    };
    tokio::select! {
        answer = attempts => Some(answer),
        () = until(deadline) => None,
    }
}
