//! What a runner session does with the tables: open, claim, write under its fence, settle, close.

mod budget;
mod bundles;
mod files;
mod origins;
mod output;
mod short;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::follow::Aside;
use super::gather::{Company, Going};
use super::hint::Hints;
use crate::domain::attempt::{Fence, StepRecord};
use crate::domain::clock;
use crate::domain::flow::Past;
use crate::domain::id::{JobId, RunnerId};
use crate::domain::usage::Usage;
use crate::store::agent::Agent;
use crate::store::claim::{Claimed, Place};
use crate::store::ended::Ended;
use crate::store::history::Answer;
use crate::store::log::{NewLine, Output};
use crate::store::runner::{NewSession, Renewed};
use crate::store::settle::Settlement;
use crate::store::usage::Told;
use crate::store::{self, Pool, Result};
use bundles::Bundles;
use origins::Origins;
use output::Outputs;

pub use budget::{Reserved, Spent};
pub use files::{Bundle, Content, NewFile, NotKept, key};

/// Most attempts that keep long files, or any in a bucket, at once: each takes a connection for as long as it writes.
const LONG: usize = 8;

/// What earlier attempts at a job left behind.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The steps that ended, since somebody retried the job.
    pub past: Vec<Past>,
    /// How long those attempts took together.
    pub spent: Duration,
    /// What somebody was asked, and said.
    pub answers: Vec<Answer>,
}

/// A runner session that is open in the tables.
#[derive(Clone, Debug)]
pub struct Session {
    pool: Pool,
    aside: Aside,
    /// By which the lease is renewed: files that are long on their way may hold all others for longer than it lasts.
    renewals: Pool,
    outputs: Outputs,
    bundles: Bundles,
    /// Who keeps files alone; others want connections, too.
    long: Arc<Semaphore>,
    origins: Origins,
    /// The attempts of it that go on.
    pub going: Going,
    /// Its id.
    pub id: RunnerId,
    /// How long it may be silent before others take its jobs.
    pub lease: Duration,
    /// When it was opened, at the latest: by [`clock::since_boot`], before the statement was sent.
    pub opened: Duration,
}

/// Counts what an agent says it used. Agents are few, and an administrator makes them.
fn count(usage: &Usage) {
    let whole = |count: Option<i64>| count.unwrap_or_default().unsigned_abs();
    let tokens = |kind: &'static str, count| {
        metrics::counter!("orchestrator_agent_tokens_total", "agent" => usage.agent.clone(), "kind" => kind)
            .increment(whole(count));
    };
    tokens("input", usage.input_tokens);
    tokens("output", usage.output_tokens);
    tokens("cached", usage.cached_tokens);
    metrics::counter!("orchestrator_agent_cost_microdollars_total", "agent" => usage.agent.clone())
        .increment(whole(usage.cost_micro_usd));
}

impl Session {
    /// Opens a session.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when PostgreSQL is away.
    pub async fn open(pool: Pool, hints: Hints, new: &NewSession<'_>) -> Result<Self> {
        let opened = clock::since_boot();
        store::runner::open(&pool, new).await?;
        let going = Going::default();
        let company = || Company::Paced(going.clone());
        Ok(Self {
            outputs: output::together(&pool, new.id, company()),
            bundles: bundles::together(&pool, new.id, new.lease, company()),
            long: Arc::new(Semaphore::new(LONG)),
            origins: origins::together(&pool, new.id, company()),
            renewals: pool.apart(),
            aside: Aside::start(&pool, &hints),
            pool,
            going,
            id: new.id,
            lease: new.lease,
            opened,
        })
    }

    /// Claims up to `limit` due jobs of `queue` that a host with `labels` may run; see [`store::claim::claim`].
    ///
    /// # Errors
    ///
    /// [`store::Error`] when PostgreSQL is away.
    pub async fn claim(&self, queue: &str, labels: &[&str], limit: u32) -> Result<Vec<Claimed>> {
        self.claim_behind(queue, labels, limit, None).await
    }

    /// The same, behind a place in the order of claiming if there is one; see [`store::claim::claim_behind`].
    ///
    /// # Errors
    ///
    /// [`store::Error`] when PostgreSQL is away.
    pub async fn claim_behind(
        &self,
        queue: &str,
        labels: &[&str],
        limit: u32,
        place: Option<Place>,
    ) -> Result<Vec<Claimed>> {
        let begun = std::time::Instant::now();
        let claimed = match place {
            None => store::claim::claim(&self.pool, self.id, queue, labels, limit).await?,
            Some(place) => {
                store::claim::claim_behind(&self.pool, self.id, queue, labels, limit, place).await?
            }
        };
        metrics::histogram!("orchestrator_claim_seconds").record(begun.elapsed());
        for job in &claimed {
            let waited = (job.claimed_at - job.due_at).to_std().unwrap_or_default();
            metrics::histogram!("orchestrator_queue_wait_seconds").record(waited);
        }
        Ok(claimed)
    }

    /// What this session holds, but for what is `known` to it; see [`store::claim::not_begun`].
    ///
    /// # Errors
    ///
    /// [`store::Error`] when PostgreSQL is away.
    pub async fn not_begun(&self, known: &[Fence]) -> Result<Vec<Claimed>> {
        store::claim::not_begun(&self.pool, self.id, known).await
    }

    /// Renews the lease; `None` means that it has passed for good.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when PostgreSQL is away; the lease runs on.
    pub async fn renew(&self) -> Result<Option<Renewed>> {
        match store::runner::renew(&self.renewals, self.id, self.lease).await {
            // That connection may be one that cannot be made again, where there are no more to be had.
            Err(error) if error.is_unavailable() => {
                store::runner::renew(&self.pool, self.id, self.lease).await
            }
            renewed => renewed,
        }
    }

    /// Records a step and moves the job to the step at `next`; `false` means the lease is lost.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when PostgreSQL is away.
    pub async fn record_step(&self, fence: Fence, step: &StepRecord, next: i16) -> Result<bool> {
        store::step::record(&self.pool, self.id, fence, step, next).await
    }

    /// Keeps what an agent said and used; `false` means the lease is lost.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when PostgreSQL is away.
    pub async fn record_usage(&self, fence: Fence, ordinal: i16, usage: &Usage) -> Result<bool> {
        let held = store::usage::record(&self.pool, self.id, fence, ordinal, usage).await?;
        count(usage);
        Ok(held)
    }

    /// The agent `name`.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when PostgreSQL is away.
    pub async fn agent(&self, name: &str) -> Result<Option<Agent>> {
        store::agent::find(&self.pool, name).await
    }

    /// What the attempts before this one left behind.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when PostgreSQL is away.
    pub async fn history(&self, job: JobId) -> Result<History> {
        Ok(History {
            past: store::history::past(&self.pool, job).await?,
            spent: store::history::spent(&self.pool, job).await?,
            answers: store::history::answers(&self.pool, job).await?,
        })
    }

    /// What the steps of a job that ended said, the last run of each, in order.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when PostgreSQL is away.
    pub async fn told(&self, job: JobId) -> Result<Vec<Told>> {
        store::usage::told(&self.pool, job).await
    }

    /// Keeps output, in one statement with that of others; `false` means the lease is lost.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when PostgreSQL is away; keeping the same again is safe.
    pub async fn append_log(
        &self,
        fence: Fence,
        lines: &[NewLine],
    ) -> std::result::Result<bool, Arc<store::Error>> {
        let lines = lines.to_vec();
        let kept = self.outputs.ask(Output { fence, lines }).await;
        kept.unwrap_or_else(|| Err(Arc::new(store::Error::unheard())))
    }

    /// Ends attempts; what is missing in the answer was lost to another session.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when PostgreSQL is away: then [`Self::settle_again`].
    pub async fn settle(&self, batch: &[Settlement]) -> Result<Vec<JobId>> {
        let settled = self.settled(batch).await?;
        Ok(self.follow(&settled))
    }

    /// The same after a try whose answer may have been lost: what that one ended is in the answer as well.
    ///
    /// # Errors
    ///
    /// As [`Self::settle`].
    pub async fn settle_again(&self, batch: &[Settlement]) -> Result<Vec<JobId>> {
        let mut settled = self.settled(batch).await?;
        let there: HashSet<JobId> = settled.iter().map(|ended| ended.job).collect();
        let fences = batch.iter().map(|settlement| settlement.fence);
        let missing: Vec<Fence> = fences.filter(|fence| !there.contains(&fence.job)).collect();
        settled.extend(store::settle::ended_before(&self.pool, self.id, &missing).await?);
        Ok(self.follow(&settled))
    }

    async fn settled(&self, batch: &[Settlement]) -> Result<Vec<Ended>> {
        let begun = std::time::Instant::now();
        let settled = store::settle::settle(&self.pool, self.id, batch).await?;
        metrics::histogram!("orchestrator_settle_seconds").record(begun.elapsed());
        Ok(settled)
    }

    /// Lets what waited for these jobs go on, soon; answers with them.
    fn follow(&self, settled: &[Ended]) -> Vec<JobId> {
        self.aside.follow(settled);
        settled.iter().map(|ended| ended.job).collect()
    }

    /// Waits until everybody who waited for what was settled so far goes on, or waits for the scheduler.
    pub async fn followed(&self) {
        self.aside.done().await;
    }

    /// Closes the session; what it still holds goes back at the next tick.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when PostgreSQL is away; the lease then ends it.
    pub async fn close(&self) -> Result<()> {
        store::runner::close(&self.pool, self.id).await
    }
}
