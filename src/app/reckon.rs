//! Schedules hear how their jobs ended: failures in a row are counted against the budget, and a run
//! that waited for the end of another begins.

use std::num::NonZeroU32;

use super::fire_due::carry_out::{fire_waiting, make};
use super::fire_due::plan::Ready;
use super::fire_due::set_aside;
use super::hint::Hints;
use super::schedules::read::definition;
use crate::domain::clock::Instant;
use crate::domain::id::{JobId, ScheduleId};
use crate::domain::job::JobState;
use crate::domain::schedule::FailureBudget;
use crate::store::schedule::Schedule;
use crate::store::schedule::occurrence::{self, Outcome};
use crate::store::{self, Connection, Pool, Result};

/// Tells the schedules that made `ended` how these jobs ended. Each end is told once, however often
/// this is called; jobs that no schedule made, or that go on, are passed over.
///
/// # Errors
///
/// [`store::Error`] when PostgreSQL is away; the next tick tells it.
pub async fn reckon(pool: &Pool, hints: &Hints, ended: &[JobId], now: Instant) -> Result<()> {
    let makers = occurrence::makers(pool, ended).await?;
    if makers.is_empty() {
        return Ok(());
    }
    let mut transaction = pool.begin().await?;
    // Schedules before jobs, here and where schedules fire: nobody waits in a circle.
    store::schedule::lock(&mut *transaction, &makers).await?;
    let outcomes = occurrence::end(&mut *transaction, ended).await?;
    let open = occurrence::open(&mut *transaction, &makers).await?;
    let mut ready = Vec::new();
    for row in store::schedule::read(&mut *transaction, &makers, None).await? {
        let id = ScheduleId(row.id);
        let spent = count(&mut transaction, &row, &outcomes).await?;
        let waits = open.iter().any(|open| open.schedule == id && open.job.is_none());
        let alone = !open.iter().any(|open| open.schedule == id && open.job.is_some());
        if spent || !waits || !alone {
            continue;
        }
        match definition(&row) {
            Ok(definition) => ready.push(Ready { row, definition }),
            Err(why) => set_aside(&mut transaction, &row, &format!("it cannot be read: {why}")).await?,
        }
    }
    let mut runs = Vec::new();
    for ready in &ready {
        if let Some(job) = fire_waiting(&mut transaction, ready.id()).await? {
            runs.push((job, ready));
        }
    }
    let aftermath = make(&mut transaction, &runs, now).await?;
    transaction.commit().await?;
    aftermath.follow_jobs(pool, hints).await
}

/// Counts failures in a row, and pauses the schedule when they use up its budget; answers whether they did.
async fn count(db: &mut Connection, row: &Schedule, outcomes: &[Outcome]) -> Result<bool> {
    let id = ScheduleId(row.id);
    let own: Vec<JobState> = outcomes
        .iter()
        .filter(|outcome| outcome.schedule == id)
        .map(|outcome| outcome.state)
        .collect();
    let failures = own.iter().fold(row.failures, |failures, state| match state {
        JobState::Succeeded => 0,
        JobState::Failed => failures.saturating_add(1),
        _ => failures,
    });
    if failures != row.failures {
        store::schedule::count_failures(&mut *db, id, failures).await?;
    }
    let budget = FailureBudget(
        row.failure_budget
            .and_then(|budget| u32::try_from(budget).ok())
            .and_then(NonZeroU32::new),
    );
    let reason = budget.exhausted(u32::try_from(failures).unwrap_or_default());
    match reason.filter(|_| row.paused_at.is_none() && own.contains(&JobState::Failed)) {
        Some(reason) => set_aside(db, row, &reason).await.map(|()| true),
        None => Ok(false),
    }
}
