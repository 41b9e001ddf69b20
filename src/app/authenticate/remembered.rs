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

/// How long a token goes without being looked up. Its use is noted then, if it was not for as long: to the minute, so.
const LONGEST: Duration = Duration::from_secs(30);
/// Most that are remembered; where there are more, all are forgotten.
const MOST: usize = 1000;

/// Who presented which secret, and may submit.
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
    /// Remembers `caller`, who presented a secret with this hash, as they were read now.
    pub(super) fn keep(&self, hash: TokenHash, caller: Caller, now: Instant) {
        let mut known = self.known();
        let place = known.key.hash_one(hash.0);
        if known.callers.len() >= MOST && !known.callers.contains_key(&place) {
            known.callers.clear();
        }
        let entry = Entry {
            hash,
            caller,
            read: now,
        };
        known.callers.insert(place, entry);
    }

    /// Forgets whoever presented a secret with this hash.
    pub(super) fn forget(&self, hash: &TokenHash) {
        let mut known = self.known();
        let place = known.key.hash_one(hash.0);
        known.callers.remove(&place);
    }

    /// Who presented a secret with this hash a moment ago.
    pub(super) fn find(&self, hash: &TokenHash, now: Instant) -> Option<Caller> {
        let known = self.known();
        let entry = known.callers.get(&known.key.hash_one(hash.0))?;
        let good = hash.matches(&entry.hash.0) && now.duration_since(entry.read) < LONGEST;
        good.then(|| entry.caller.clone())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: usize) -> TokenHash {
        TokenHash::of(&number.to_string())
    }

    #[test]
    fn a_caller_is_remembered_for_half_a_minute_or_until_they_are_nobody() {
        let (remembered, now) = (Remembered::default(), Instant::now());
        let found = |number, after| {
            remembered
                .find(&hash(number), now + after)
                .map(|caller| caller.actor)
        };
        remembered.keep(hash(1), Caller::operator("one"), now);
        remembered.keep(hash(2), Caller::operator("two"), now + LONGEST);
        assert_eq!(found(1, LONGEST / 2).as_deref(), Some("one"));
        assert_eq!((found(1, LONGEST), found(3, Duration::ZERO)), (None, None));
        assert_eq!(found(2, LONGEST).as_deref(), Some("two"));
        remembered.forget(&hash(2));
        assert_eq!(found(2, LONGEST), None);
    }

    #[test]
    fn no_more_than_so_many_are_remembered_and_who_comes_again_takes_no_place() {
        let (remembered, now) = (Remembered::default(), Instant::now());
        let keep = |number| remembered.keep(hash(number), Caller::operator("one"), now);
        let there = || {
            (0..=MOST)
                .filter(|number| remembered.find(&hash(*number), now).is_some())
                .count()
        };
        (0..MOST).for_each(keep);
        keep(0);
        assert_eq!(there(), MOST);
        keep(MOST);
        assert_eq!(there(), 1);
    }
}
