//! What an operator does after runners were lost: everything time would do, now.

use super::authenticate::Caller;
use super::hint::Hints;
use super::{follow, maintain};
use crate::domain::id::RunnerId;
use crate::store::expire::Expired;
use crate::store::{self, Pool, Result};

/// What was done.
#[derive(Debug)]
pub struct Recovered {
    /// Of the sessions to be given up, those that had ended already, or never were.
    pub unknown: Vec<RunnerId>,
    /// Jobs taken from lost sessions.
    pub taken: Vec<Expired>,
    /// Sessions that were closed.
    pub closed: u64,
    /// Jobs that were due and became available.
    pub due: usize,
}

/// Gives up the sessions `lost`, takes back what they and all whose lease has passed hold, closes those,
/// makes due jobs available, and lets in what waits for others or for room. Doing it again is harmless.
///
/// # Errors
///
/// [`store::Error`] when PostgreSQL is away; what was done until then stays.
pub async fn recover(pool: &Pool, hints: &Hints, caller: &Caller, lost: &[RunnerId]) -> Result<Recovered> {
    let mut unknown = Vec::new();
    let mut given_up = 0;
    for runner in lost {
        match store::runner::give_up(pool, *runner, &caller.actor).await? {
            true => given_up += 1,
            false => unknown.push(*runner),
        }
    }
    let taken = maintain::expire(pool, hints, None).await?;
    let due = maintain::promote(pool, hints, None).await?;
    follow::sweep(pool, hints).await?;
    let closed = store::runner::end_lost(pool).await? + given_up;
    Ok(Recovered {
        unknown,
        taken,
        closed,
        due,
    })
}
