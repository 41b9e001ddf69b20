//! The lanes a session claims from, and how far each was worked off.
//!
//! A lane is a queue. While there is more than fits, the next claim goes on where the last one ended (see
//! [`crate::store::claim::claim_behind`]), so that it does not walk over what was claimed before. It begins at the start
//! again when it found less than it was asked for, when a hint says that something urgent has come, and now and then in
//! any case: for what is due earlier than what was claimed last, because it was tried again, or committed late. Such a
//! job waits [`RESCAN`] at most, or ten times as long as a claim from the start takes.

use std::time::{Duration, Instant};

use super::Settings;
use crate::store::claim::{Claimed, Place};

/// Shortest time between two claims from the start of a lane that holds more than fits.
const RESCAN: Duration = Duration::from_millis(100);
/// How much longer than a claim from the start took it is not claimed from there again.
const SHARE: u32 = 10;

/// One lane.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    pub(super) queue: String,
    /// Where the last claim ended, if it found all it was asked for.
    place: Option<Place>,
    /// When it is claimed from its start again, whatever it holds.
    rescan_at: Option<Instant>,
}

/// One for every queue.
pub(super) fn lanes(settings: &Settings) -> Vec<Lane> {
    settings.queues.iter().cloned().map(Lane::new).collect()
}

impl Lane {
    fn new(queue: String) -> Self {
        Self {
            queue,
            place: None,
            rescan_at: None,
        }
    }

    /// Behind which place to claim now; `None` is from the start.
    pub(super) fn place(&self, now: Instant) -> Option<Place> {
        self.place.filter(|_| self.rescan_at.is_some_and(|at| now < at))
    }

    /// Notes what came of a claim for `asked` jobs behind `place`, which began at `began` and ended now.
    pub(super) fn note(
        &mut self,
        place: Option<Place>,
        claimed: &[Claimed],
        asked: usize,
        began: Instant,
        now: Instant,
    ) {
        if place.is_none() {
            let rest = RESCAN.max((now - began) * SHARE);
            self.rescan_at = Some(now + rest);
        }
        let full = claimed.len() >= asked;
        self.place = claimed.last().filter(|_| full).map(Place::from);
    }

    /// Claims from the start next time.
    pub(super) fn begin_again(&mut self) {
        self.place = None;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use crate::domain::attempt::Fence;
    use crate::domain::clock;
    use crate::domain::id::JobId;

    fn jobs(number: usize) -> Vec<Claimed> {
        let job = |_| Claimed {
            fence: Fence {
                job: JobId::generate(),
                attempt: 1,
            },
            step_position: 0,
            step_retries: 0,
            spec: RawValue::from_string("{}".to_owned()).unwrap(),
            project_alias: String::new(),
            project_directory: String::new(),
            without_sandbox: false,
            claimed_at: clock::now(),
            due_at: clock::now(),
            priority: 0,
            trace: None,
        };
        (0..number).map(job).collect()
    }

    /// A lane whose claim for 10 found this many, in this time.
    fn claimed(found: usize, took: Duration) -> (Lane, Vec<Claimed>, Instant) {
        let (mut lane, jobs) = (Lane::new("default".into()), jobs(found));
        let began = Instant::now();
        lane.note(None, &jobs, 10, began, began + took);
        (lane, jobs, began + took)
    }

    #[test]
    fn a_claim_that_found_all_it_asked_for_is_followed_by_one_behind_it() {
        let (lane, jobs, now) = claimed(10, Duration::ZERO);
        assert_eq!(lane.place(now), jobs.last().map(Place::from));
    }

    #[test]
    fn a_claim_that_found_less_is_followed_by_one_from_the_start() {
        let (lane, _, now) = claimed(9, Duration::ZERO);
        assert_eq!(lane.place(now), None);
    }

    #[test]
    fn something_urgent_is_looked_for_at_once() {
        let (mut lane, _, now) = claimed(10, Duration::ZERO);
        lane.begin_again();
        assert_eq!(lane.place(now), None);
    }

    #[test]
    fn the_start_is_looked_at_now_and_then_and_the_more_seldom_the_longer_it_takes() {
        let (lane, _, now) = claimed(10, Duration::from_millis(2));
        assert!(lane.place(now + RESCAN / 2).is_some());
        assert_eq!(lane.place(now + RESCAN), None);
        let (lane, _, now) = claimed(10, Duration::from_millis(50));
        assert!(lane.place(now + Duration::from_millis(499)).is_some());
        assert_eq!(lane.place(now + Duration::from_millis(500)), None);
    }

    #[test]
    fn claims_behind_a_place_do_not_put_off_the_look_at_the_start() {
        let (mut lane, first, now) = claimed(10, Duration::ZERO);
        let later = now + RESCAN / 2;
        lane.note(first.last().map(Place::from), &jobs(10), 10, later, later);
        assert!(lane.place(later).is_some());
        assert_eq!(lane.place(now + RESCAN), None);
    }
}
