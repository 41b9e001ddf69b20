//! What becomes possible when something ends: jobs that needed it go on, jobs that waited for room
//! are let in.
//!
//! Whoever ended something calls this after its commit. Should it be gone by then, the scheduler's
//! next tick finds the same in the tables.

mod aside;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::hint::Hints;
use super::reckon::reckon;
use crate::domain::id::JobId;
use crate::domain::job::JobState;
use crate::store::ended::Ended;
use crate::store::gate::Gate;
use crate::store::{self, Error, Pool, Result};

pub use aside::Aside;

/// Most jobs whose end is made known in one transaction.
const BATCH: u32 = 500;
/// Most jobs that hear of ends in one transaction: a job may be needed by any number, and each is held until it ends.
const PART: u32 = 5000;
/// How long ends are made known each alone: a tick has other things to do.
const ALONE: Duration = Duration::from_secs(5);
/// Most keys that one statement looks at for room.
const KEYS: u32 = 1000;

/// Follows up on what has ended.
///
/// # Errors
///
/// [`store::Error`] when PostgreSQL is away; the next tick does what is left.
pub async fn follow(pool: &Pool, hints: &Hints, ended: &[Ended]) -> Result<()> {
    tell(hints, ended);
    go_on(pool, hints, needed(ended).collect(), gates(ended).collect()).await
}

/// Lets those go on who need jobs that ended, and then those who wait at gates where room was left.
async fn go_on(pool: &Pool, hints: &Hints, needed: Vec<JobId>, gates: BTreeSet<Gate>) -> Result<()> {
    let mut tried = Tried::default();
    tried.part(hear(pool, hints, needed).await)?;
    tried.part(admit_all(pool, hints, gates).await)?;
    tried.over()
}

/// Tells runners what may be claimed again at once.
fn tell(hints: &Hints, ended: &[Ended]) {
    let queues = ended.iter().filter_map(|ended| ended.queue.as_deref());
    queues.for_each(|queue| hints.work(queue));
}

fn needed(ended: &[Ended]) -> impl Iterator<Item = JobId> {
    ended.iter().filter(|ended| ended.needed).map(|ended| ended.job)
}

fn gates(ended: &[Ended]) -> impl Iterator<Item = Gate> {
    ended.iter().flat_map(|ended| ended.gates.iter().cloned())
}

/// Lets everybody hear who waits for the end of these jobs; those that have not ended are passed over. Schedules first: when
/// both have heard, the jobs are marked as told.
///
/// # Errors
///
/// As [`follow`].
pub(super) async fn hear(pool: &Pool, hints: &Hints, ended: Vec<JobId>) -> Result<()> {
    if ended.is_empty() {
        return Ok(());
    }
    reckon(pool, hints, &ended, None).await?;
    release(pool, hints, ended).await
}

/// Moves the jobs that need `needs`, those that were cancelled by that moving others in turn.
async fn release(pool: &Pool, hints: &Hints, needs: Vec<JobId>) -> Result<()> {
    let mut left = vec![needs];
    while let Some(needs) = left.pop() {
        let mut transaction = pool.begin().await?;
        store::need::hold(&mut *transaction, &needs, PART).await?;
        let (moved, more) = store::need::release(&mut *transaction, &needs, PART).await?;
        transaction.commit().await?;
        if more {
            left.push(needs);
        }
        let available = moved.iter().filter(|moved| moved.state == JobState::Available);
        available.for_each(|moved| hints.work(&moved.queue));
        let waiting = moved.iter().filter(|moved| moved.state == JobState::Scheduled);
        admit_all(
            pool,
            hints,
            waiting.flat_map(|moved| moved.gates.iter().cloned()).collect(),
        )
        .await?;
        let over = moved
            .iter()
            .filter(|moved| moved.needed && moved.state.is_terminal());
        let over: Vec<_> = over.map(|moved| moved.job).collect();
        if !over.is_empty() {
            left.push(over);
        }
    }
    Ok(())
}

/// Lets in what there is room for at these gates.
///
/// # Errors
///
/// As [`follow`].
pub async fn admit_all(pool: &Pool, hints: &Hints, mut gates: BTreeSet<Gate>) -> Result<()> {
    let mut tried = Tried::default();
    // Keys before their project: whoever goes through one is to have its place among those who wait at the other.
    while let Some(gate) = gates.pop_last() {
        if tried.part(admit(pool, hints, &gate).await)? > 0 {
            gates.insert(Gate {
                project: gate.project,
                key: None,
            });
        }
    }
    tried.over()
}

/// Lets in what there is room for at a gate; answers with how many went on to their project's.
async fn admit(pool: &Pool, hints: &Hints, gate: &Gate) -> Result<usize> {
    let mut transaction = pool.begin().await?;
    store::gate::lock(&mut *transaction, gate).await?;
    let (queues, on) = match &gate.key {
        None => (
            store::gate::admit_project(&mut *transaction, gate.project).await?,
            0,
        ),
        Some(key) => store::gate::admit_key(&mut *transaction, gate.project, key).await?,
    };
    transaction.commit().await?;
    queues.iter().for_each(|queue| hints.work(queue));
    Ok(on)
}

/// What failed of several things that have nothing to do with each other: one that cannot be done, because somebody holds
/// what it is about, is not to keep the others from being tried.
#[derive(Debug, Default)]
pub(super) struct Tried(Option<Error>);

impl Tried {
    /// Takes what came of one: the first error waits for the end, but for one that the others would meet as well.
    pub(super) fn part<T: Default>(&mut self, came: Result<T>) -> Result<T> {
        match came {
            Err(error) if !error.is_away() => {
                self.0.get_or_insert(error);
                Ok(T::default())
            }
            came => came,
        }
    }

    pub(super) fn over(self) -> Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}

/// Does what nobody did because they were gone.
///
/// # Errors
///
/// As [`follow`].
pub async fn sweep(pool: &Pool, hints: &Hints) -> Result<()> {
    let mut sweep = Sweep::default();
    loop {
        sweep.part(pool, hints).await?;
        if sweep.place.is_none() {
            return Ok(());
        }
    }
}

/// The same a part at a time: of keys, which may be many, each part goes on where the last one ended.
#[derive(Debug, Default)]
pub struct Sweep {
    place: Option<Gate>,
}

impl Sweep {
    /// Does a part.
    ///
    /// # Errors
    ///
    /// As [`follow`].
    pub async fn part(&mut self, pool: &Pool, hints: &Hints) -> Result<()> {
        let mut tried = Tried::default();
        loop {
            let untold = store::need::untold(pool, BATCH).await?;
            let full = untold.len() == BATCH as usize;
            match hear(pool, hints, untold.clone()).await {
                Ok(()) if full => {}
                Ok(()) => break,
                Err(error) if error.is_away() => return Err(error),
                // Each alone, or those who wait for the others wait as long as somebody holds one row. From another on each
                // time: there may be many of the kind that takes long.
                Err(_) => {
                    let begun = Instant::now();
                    let first = rand::random_range(0..untold.len());
                    let (before, after) = untold.split_at(first);
                    let others = after.iter().chain(before).copied();
                    for job in others.take_while(|_| begun.elapsed() < ALONE) {
                        tried.part(hear(pool, hints, vec![job]).await)?;
                    }
                    break;
                }
            }
        }
        let mut gates = store::gate::projects_with_room(pool).await?;
        let (keys, next) = store::gate::keys_with_room(pool, self.place.as_ref(), KEYS).await?;
        self.place = next;
        gates.extend(keys);
        tried.part(admit_all(pool, hints, gates.into_iter().collect()).await)?;
        tried.over()
    }
}
