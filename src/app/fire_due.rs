//! Schedules whose instant has come make their jobs: the occurrences, their jobs and the schedules'
//! advance are one transaction, so a crash anywhere loses and doubles nothing.
//!
//! A batch is a handful of statements, however many schedules are in it.

use std::collections::HashMap;
use std::time::{Duration, Instant as Moment};

use super::hint::Hints;
use super::schedules::read::definition;
use crate::domain::clock::Instant;
use crate::domain::id::{ProjectId, ScheduleId};
use crate::store::event::NewEvent;
use crate::store::schedule::Schedule;
use crate::store::schedule::occurrence::{self, Open};
use crate::store::{self, Connection, Error, Pool, Result};

pub(super) mod carry_out;
pub(super) mod plan;

use carry_out::{Aftermath, carry_out};
use plan::{Batch, Ready};

/// Most schedules one transaction fires.
const BATCH: u32 = 500;
/// How long schedules are fired each alone: a tick has other things to do.
const ALONE: Duration = Duration::from_secs(5);

/// What came of those that were due.
#[derive(Debug, Default)]
pub struct Fired {
    /// Jobs that were made.
    pub made: usize,
    /// Schedules that could not be fired, and are due again.
    pub failed: Vec<(ScheduleId, Error)>,
}

/// Fires every schedule that is due, in bounded transactions.
///
/// Any number of schedulers may run this at once: each skips what another holds, and an instant is
/// decided once because it is a key. Where a batch cannot be fired, each of its schedules is tried alone: one that cannot,
/// as somebody holds the run it is to displace, keeps no other from its time.
///
/// # Errors
///
/// [`store::Error`] when PostgreSQL is away; what was not committed is due again.
pub async fn fire_due(pool: &Pool, hints: &Hints, now: Instant) -> Result<Fired> {
    let mut fired = Fired::default();
    // How many are still to be tried alone, and since when some are.
    let (mut alone, mut since) = (0, None);
    while since.is_none_or(|since: Moment| since.elapsed() < ALONE) {
        let most = if alone > 0 { 1 } else { BATCH };
        let mut transaction = pool.begin().await?;
        store::schedule::be_brief(&mut *transaction).await?;
        let failed: Vec<_> = fired.failed.iter().map(|(schedule, _)| *schedule).collect();
        let due = store::schedule::lock_due(&mut *transaction, now, most, &failed).await?;
        if due.is_empty() {
            break;
        }
        alone -= due.len().min(alone);
        match fire(&mut transaction, &due, now).await {
            Ok(aftermath) => {
                transaction.commit().await?;
                fired.made += aftermath.made();
                aftermath.follow(pool, hints).await;
            }
            Err(error) => {
                // Here and now: whoever looks next skips what is still locked.
                transaction.rollback().await?;
                match due[..] {
                    _ if error.is_away() => return Err(error),
                    [schedule] => fired.failed.push((schedule, error)),
                    _ => {
                        alone = due.len();
                        since.get_or_insert_with(Moment::now);
                        continue;
                    }
                }
            }
        }
        if due.len() < most as usize {
            break;
        }
    }
    Ok(fired)
}

/// Decides about schedules that are locked, writes down what was decided, and moves them on.
pub(super) async fn fire(db: &mut Connection, due: &[ScheduleId], now: Instant) -> Result<Aftermath> {
    let at = store::schedule::now(&mut *db, now).await?;
    let mut ready = Vec::with_capacity(due.len());
    for row in store::schedule::read(&mut *db, due, None).await? {
        match definition(&row) {
            Ok(definition) => ready.push(Ready { row, definition }),
            Err(why) => set_aside(db, &row, &format!("it cannot be read: {why}")).await?,
        }
    }
    let open = open(db, &ready).await?;
    let mut batch = Batch::default();
    for (index, ready) in ready.iter().enumerate() {
        let open = open.get(&ready.id()).map(Vec::as_slice).unwrap_or_default();
        batch.add_due(index, ready, open, at);
    }
    carry_out(db, &ready, &batch, now).await
}

/// What has not ended of those schedules that care.
pub(super) async fn open(db: &mut Connection, ready: &[Ready]) -> Result<HashMap<ScheduleId, Vec<Open>>> {
    let ids: Vec<ScheduleId> = ready
        .iter()
        .filter(|ready| ready.minds_overlap())
        .map(Ready::id)
        .collect();
    let mut open: HashMap<ScheduleId, Vec<Open>> = HashMap::new();
    if !ids.is_empty() {
        for one in occurrence::open(db, &ids).await? {
            open.entry(one.schedule).or_default().push(one);
        }
    }
    Ok(open)
}

/// Pauses a schedule that cannot go on, so that it is seen and does not come up again.
pub(super) async fn set_aside(db: &mut Connection, row: &Schedule, why: &str) -> Result<()> {
    tracing::error!(schedule.id = %row.id, schedule.name = %row.name, why, "a schedule is paused");
    let id = ScheduleId(row.id);
    store::schedule::pause(&mut *db, id, Some(why)).await?;
    occurrence::give_up(
        &mut *db,
        &[id],
        "paused",
        "The schedule was paused while it waited.",
    )
    .await?;
    let detail = serde_json::json!({ "schedule_id": row.id, "name": row.name, "reason": why });
    let event = NewEvent {
        project: Some(ProjectId(row.project_id)),
        job: None,
        kind: "schedule.paused",
        actor: "scheduler",
        detail: Some(detail),
    };
    store::event::append(&mut *db, &event).await
}
