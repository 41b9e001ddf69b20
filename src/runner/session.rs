//! One session: subscribe, look for work, run it, until told to stop or the lease is lost.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, field};

use super::held::{Brake, Held, Reason};
use super::hints::{self, Ears, Work as Wake};
use super::lanes::{Lane, lanes};
use super::settler::{Finished, Settler, TURNS};
use super::slots::{Busy, Slots};
use super::{Settings, attempt, heartbeat};
use crate::app::backoff::Backoff;
use crate::app::gather::Last;
use crate::app::lease::Session;
use crate::domain::attempt::{Ending, Failure, Fence};
use crate::domain::environment::DatabaseUrl;
use crate::domain::job::Code;
use crate::shutdown::Stop;
use crate::store::claim::{Claimed, Place};
use crate::store::settle::Settlement;
use crate::telemetry::trace;

/// How long the loop and the lease may take beyond what they wait for: a statement on a busy database.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long a statement may go on at the server whose client is gone.
const STATEMENT: Duration = Duration::from_secs(65);
/// How long a claim under way is waited for when the runner is to stop: longer than the server lets it wait for a lock.
const LAST_CLAIM: Duration = Duration::from_secs(15);
/// How long a session that ends waits for those who go on because of its last jobs.
const LAST_FOLLOWED: Duration = Duration::from_secs(5);

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The runner was told to stop, by a signal or by an operator.
    Stopped,
    /// The lease passed; a new session may go on.
    LeaseLost,
}

/// Runs the session to its end. When it returns, nothing of it runs any more and what could be
/// settled is.
pub(super) async fn run(settings: &Settings, session: Session, url: &DatabaseUrl, stop: &Stop) -> End {
    metrics::gauge!("orchestrator_runner_slots").set(settings.slots);
    let (finished, arriving) = mpsc::channel(settings.slots.into());
    let work = Arc::new(Work {
        settings: settings.clone(),
        slots: Slots::new(settings.slots),
        running: TaskTracker::new(),
        session: session.clone(),
        held: Held::default(),
        finished,
        wake: Arc::default(),
        quiet: stop.soft.child_token(),
    });
    let closed = CancellationToken::new();
    let asked = Arc::new(Notify::new());
    // Told when an operator drains: that holds for the process, however this session ends.
    let drained = CancellationToken::new();
    let wishes = heartbeat::Wishes {
        asked: Arc::clone(&asked),
        drained: drained.clone(),
        quiet: work.quiet.clone(),
    };
    let beating = heartbeat::beat(
        session.clone(),
        settings.alive.part("the lease", session.lease + PATIENCE),
        work.held.clone(),
        wishes,
        closed.clone(),
    );
    let beating = tokio::spawn(vital(beating, work.held.clone(), work.quiet.clone()));
    let settler = Settler {
        session: session.clone(),
        held: work.held.clone(),
        quiet: work.quiet.clone(),
        hard: stop.hard.clone(),
        turns: Arc::new(Semaphore::new(TURNS)),
    };
    let settling = tokio::spawn(vital(
        settler.settle(arriving),
        work.held.clone(),
        work.quiet.clone(),
    ));
    let ears = Ears {
        runner: session.id,
        queues: settings.queues.clone(),
        work: Arc::clone(&work.wake),
        asked,
    };
    let hints = tokio::spawn(hints::listen(url.clone(), ears));

    let claimed = async {
        work.quiet.cancelled().await;
        tokio::time::sleep(LAST_CLAIM).await;
    };
    tokio::select! {
        () = work.look_for_work() => {}
        () = claimed => tracing::warn!("a claim under way is not waited for any longer"),
        () = stop.hard.cancelled() => {}
    }
    hints.abort();
    work.drain(&stop.hard).await;
    drop(work);
    // The settler ends when the last sender is gone.
    let settled = settling.await;
    if timeout(LAST_FOLLOWED, session.followed()).await.is_err() {
        tracing::warn!("what waits for the last jobs of this session waits for the scheduler");
    }
    closed.cancel();
    let end = match (settled, beating.await) {
        (Ok(Some(true)), Ok(Some(end))) => end,
        _ => End::LeaseLost,
    };
    match session.close().await {
        Ok(()) => tracing::info!(runner.id = %session.id, end = ?end, "runner session closed"),
        Err(error) => {
            tracing::warn!(runner.id = %session.id, error = %error, "the session could not be closed; its lease ends it");
        }
    }
    match drained.is_cancelled() {
        true => End::Stopped,
        false => end,
    }
}

/// What the loop, the attempts and the listener of a session share.
struct Work {
    settings: Settings,
    slots: Slots,
    running: TaskTracker,
    session: Session,
    held: Held,
    finished: mpsc::Sender<Finished>,
    wake: Arc<Wake>,
    /// Told when nothing new is to be begun, not even the next step of a job.
    quiet: CancellationToken,
}

impl Work {
    /// Claims and begins until nothing new is to be begun. A claim that is under way is carried out, whoever waits for
    /// its answer: it is heard, so that what it took is handed back.
    async fn look_for_work(self: &Arc<Self>) {
        let part = self
            .settings
            .alive
            .part("the search for work", self.settings.poll * 2 + PATIENCE);
        let mut lanes = lanes(&self.settings);
        let mut full = None;
        let mut pause = Backoff::default();
        // When to look for claims that failed here and were carried out all the same.
        let mut doubts: Vec<Instant> = Vec::new();
        loop {
            let Some(slot) = self.quiet.run_until_cancelled(self.slots.one(&part)).await else {
                if !doubts.is_empty()
                    && let Err(error) = self.take_up(&mut None).await
                {
                    tracing::warn!(error = %error, "a claim whose answer was lost goes back when the session is closed");
                }
                return;
            };
            part.moves();
            let round = async {
                let mut slot = Some(slot);
                if doubts.first().is_some_and(|at| *at <= Instant::now()) && self.take_up(&mut slot).await? {
                    doubts.remove(0);
                }
                match slot {
                    Some(slot) => self.claim_round(&mut lanes, slot, &mut full).await,
                    // Look again, as soon as there is a slot.
                    None => Ok(lanes.len().checked_sub(1)),
                }
            };
            match round.await {
                Ok(served) => {
                    pause = Backoff::default();
                    match served {
                        // The next round begins behind the lane that gave work last, so that each has its turn.
                        Some(last) => lanes.rotate_left(last + 1),
                        None => drop(self.quiet.run_until_cancelled(self.rest()).await),
                    }
                }
                Err(error) => {
                    tracing::warn!(error = %error, "no work could be claimed; trying again");
                    // Now, and when the server cannot be at it any longer.
                    doubts = vec![Instant::now(), Instant::now() + STATEMENT];
                    pause.wait(&self.quiet).await;
                }
            }
        }
    }

    /// Claims for each lane in turn what the free slots hold; answers with the last that gave any. `full` is the last
    /// round, if it left none free.
    async fn claim_round(
        self: &Arc<Self>,
        lanes: &mut [Lane],
        slot: OwnedSemaphorePermit,
        full: &mut Option<Last>,
    ) -> crate::store::Result<Option<usize>> {
        let mut free = self.slots.all(slot, full.take(), &self.session.going).await;
        let round = Last::now(free.len());
        if self.wake.take_urgent() {
            lanes.iter_mut().for_each(Lane::begin_again);
        }
        let mut served = None;
        for (at, lane) in lanes.iter_mut().enumerate() {
            if self.quiet.is_cancelled() {
                break;
            }
            let place = lane.place(Instant::now());
            let mut found = self.claim_lane(lane, place, &mut free).await?;
            if place.is_some() && !free.is_empty() {
                found |= self.claim_lane(lane, None, &mut free).await?;
            }
            served = if found { Some(at) } else { served };
            if free.is_empty() {
                *full = Some(round);
                break;
            }
        }
        Ok(served)
    }

    /// Claims what the free slots hold behind `place`, begins it, and answers whether anything was found.
    async fn claim_lane(
        self: &Arc<Self>,
        lane: &mut Lane,
        place: Option<Place>,
        free: &mut Vec<OwnedSemaphorePermit>,
    ) -> crate::store::Result<bool> {
        let (began, asked) = (Instant::now(), free.len());
        let limit = asked.try_into().unwrap_or(u32::MAX);
        let labels: Vec<&str> = self.settings.labels.iter().map(String::as_str).collect();
        let claimed = self
            .session
            .claim_behind(&lane.queue, &labels, limit, place)
            .await?;
        lane.note(place, &claimed, asked, began, Instant::now());
        let found = !claimed.is_empty();
        let slots = free.drain(..claimed.len().min(asked));
        claimed
            .into_iter()
            .zip(slots)
            .for_each(|(job, slot)| self.begin(job, slot));
        Ok(found)
    }

    /// Begins what was claimed when the answer was lost on its way: the tables say that this session runs it, and it
    /// knows nothing of that. The lease would be renewed for ever, and the job never run. Answers whether there were
    /// slots for all, `slot` first.
    async fn take_up(
        self: &Arc<Self>,
        slot: &mut Option<OwnedSemaphorePermit>,
    ) -> crate::store::Result<bool> {
        let not_begun = self.session.not_begun(&self.held.known()).await?;
        for job in not_begun {
            let another = || self.slots.another();
            let Some(slot) = slot.take().or_else(another) else {
                return Ok(false);
            };
            tracing::warn!(job.id = %job.fence.job, job.attempt = job.fence.attempt, "claimed, but the answer was lost: taken up now");
            self.begin(job, slot);
        }
        Ok(true)
    }

    fn begin(self: &Arc<Self>, job: Claimed, slot: OwnedSemaphorePermit) {
        let brake = self.held.begin(job.fence);
        let work = Arc::clone(self);
        let span = tracing::info_span!("job", job.id = %job.fence.job, job.attempt = job.fence.attempt,
                                       project = job.project_alias, outcome = field::Empty, trace_id = field::Empty);
        trace::within(&span, trace::of_job(job.fence.job, job.trace));
        let attempt = async move {
            let (fence, begun) = (job.fence, Instant::now());
            let _busy = Busy::begin(&work.session.going);
            // In a place of its own: each layer around it, and the task, would move the ten kilobytes that it takes.
            let running = Box::pin(attempt::run(
                &work.settings,
                &work.session,
                job,
                &brake,
                &work.quiet,
            ));
            match contained(fence, &brake, running).await {
                // The settler outlives every attempt; it hears the rest when this session is over.
                Some(settlement) => {
                    tracing::Span::current().record("outcome", settlement.ending.outcome());
                    tracing::debug!(outcome = settlement.ending.outcome(), "the attempt ended");
                    let took = begun.elapsed();
                    drop(
                        work.finished
                            .send(Finished {
                                settlement,
                                took,
                                slot,
                            })
                            .await,
                    );
                }
                None => work.held.end(fence),
            }
        };
        self.running.spawn(attempt.instrument(span));
    }

    /// Waits for a hint, or for a poll interval drawn around the set one.
    async fn rest(&self) {
        let poll = self.settings.poll.mul_f64(rand::random_range(0.75..=1.25));
        let _ = timeout(poll, self.wake.work.notified()).await;
    }

    /// Lets what runs finish its step, at most as long as a drain may take.
    async fn drain(&self, hard: &CancellationToken) {
        self.running.close();
        // Whoever waits for ever is to be ended from outside: nobody else looks at what hangs here.
        let patience = self.settings.drain + self.session.lease + PATIENCE;
        let _part = self.settings.alive.part("the end of what runs", patience);
        tokio::select! {
            () = self.running.wait() => return,
            () = tokio::time::sleep(self.settings.drain) => {
                tracing::warn!("steps still run at the end of the drain: handing their jobs back");
            }
            () = hard.cancelled() => {}
        }
        self.held.stop_all(Reason::Draining);
        self.running.wait().await;
    }
}

/// What comes of an attempt, also of one that panics: its job would be held for as long as the session lives, and never end.
async fn contained(
    fence: Fence,
    brake: &Brake,
    running: impl Future<Output = Option<Settlement>>,
) -> Option<Settlement> {
    let came = AssertUnwindSafe(running).catch_unwind().await;
    came.unwrap_or_else(|_| {
        tracing::error!(job.id = %fence.job, attempt = fence.attempt, "the attempt met a fault of this program");
        let failure = Failure::new(
            Code::Internal,
            "The runner met a fault of its own, which its log tells. Report it, and retry the job.",
        );
        let ending = match brake.reason() {
            Some(Reason::LeaseLost) => return None,
            _ => Ending::Failed(failure),
        };
        Some(Settlement {
            fence,
            ending,
            step: None,
        })
    })
}

/// Runs what a session cannot do without. Should it panic, all that the session holds is stopped, and given back when it is closed.
async fn vital<T>(part: impl Future<Output = T>, held: Held, quiet: CancellationToken) -> Option<T> {
    let came = AssertUnwindSafe(part).catch_unwind().await.ok();
    if came.is_none() {
        tracing::error!("the session met a fault of this program: everything it holds is stopped");
        held.stop_all(Reason::LeaseLost);
        quiet.cancel();
    }
    came
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::JobId;

    const FENCE: Fence = Fence {
        job: JobId(uuid::Uuid::nil()),
        attempt: 2,
    };

    #[tokio::test]
    #[expect(clippy::panic, reason = "that is what is contained")]
    async fn an_attempt_that_panics_fails_its_job_unless_the_lease_is_lost() {
        let brake = Held::default().begin(FENCE);
        let settlement = contained(FENCE, &brake, async { panic!("a fault") })
            .await
            .unwrap();
        assert_eq!(settlement.fence, FENCE);
        let failure = settlement.ending.failure().cloned();
        assert_eq!(failure.map(|failure| failure.code), Some(Code::Internal));
        brake.pull(Reason::LeaseLost);
        let lost = contained(FENCE, &brake, async { panic!("a fault") }).await;
        assert!(lost.is_none());
    }

    #[tokio::test]
    #[expect(clippy::panic, reason = "that is what is contained")]
    async fn a_session_without_its_heartbeat_or_settler_stops_all_it_holds() {
        let (held, quiet) = (Held::default(), CancellationToken::new());
        let brake = held.begin(FENCE);
        assert_eq!(vital(async { 1 }, held.clone(), quiet.clone()).await, Some(1));
        assert!(brake.reason().is_none() && !quiet.is_cancelled());
        assert_eq!(
            vital(async { panic!("a fault") }, held, quiet.clone()).await,
            None::<()>
        );
        assert_eq!(brake.reason(), Some(Reason::LeaseLost));
        assert!(quiet.is_cancelled());
    }
}
