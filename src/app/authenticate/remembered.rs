//! Callers who were looked up a moment ago.
//!
//! What is remembered of a token may be wrong by now: it was revoked, expired, or reaches other projects. So it serves
//! nobody but who writes, and the statement that writes asks whether the token is still the row that was read
//! ([`Caller::seen`]). That saves the look before it, and a revoked token opens nothing all the same. A no is never
//! remembered, and none is said because of what is.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Caller;
use crate::domain::token::TokenHash;

/// How long a token goes without being looked up: about as seldom as its use is noted.
const LONGEST: Duration = Duration::from_secs(30);
/// Most that are remembered; where there are more, all are forgotten.
const MOST: usize = 1000;

/// Who presented which secret.
#[derive(Clone, Debug, Default)]
pub(super) struct Remembered(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// By a keyed hash: how long a look takes says nothing of the hashes that are here.
    callers: HashMap<u64, Entry>,
    key: RandomState,
}

#[derive(Debug)]
struct Entry {
    hash: TokenHash,
    caller: Caller,
    read: Instant,
}

impl Remembered {
    /// Remembers `caller`, who presented a secret with this hash.
    pub(super) fn keep(&self, hash: TokenHash, caller: Caller) {
        let mut known = self.known();
        if known.callers.len() >= MOST {
            known.callers.clear();
        }
        let place = known.key.hash_one(hash.0);
        let entry = Entry {
            hash,
            caller,
            read: Instant::now(),
        };
        known.callers.insert(place, entry);
    }

    /// Who presented a secret with this hash a moment ago.
    pub(super) fn find(&self, hash: &TokenHash) -> Option<Caller> {
        let known = self.known();
        let entry = known.callers.get(&known.key.hash_one(hash.0))?;
        let good = hash.matches(&entry.hash.0) && entry.read.elapsed() < LONGEST;
        good.then(|| entry.caller.clone())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
