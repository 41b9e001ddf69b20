//! How much company is waited for before a statement begins, and for how long.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Longest that a statement waits for as many questions as the last had. Shorter than most statements that write.
const MOMENT: Duration = Duration::from_millis(1);
/// Longest from the beginning of a statement of those who can wait to that of the next, unless that is over already.
const PACE: Duration = Duration::from_millis(10);
/// Most of those who can wait that are worth waiting for: beyond it, what a statement costs before its first row is little
/// beside what it does.
const ENOUGH: usize = 16;
/// Who came together longer ago says nothing of who is about to come.
const AGO: Duration = Duration::from_millis(100);

/// How much company is waited for.
#[derive(Clone, Debug)]
pub enum Company {
    /// As much as the last time, for a millisecond: where somebody waits for the answer.
    AsBefore,
    /// The same, and for a quarter of those who go on, up to 16, until a hundredth of a second after the last time began: the
    /// others keep the host busy meanwhile.
    Paced(Going),
}

/// Who came the last time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Last {
    /// How many.
    pub number: usize,
    /// When.
    pub at: Instant,
}

impl Last {
    /// So many came just now.
    #[must_use]
    pub fn now(number: usize) -> Self {
        Self {
            number,
            at: Instant::now(),
        }
    }
}

/// How many go on at the same time. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Going(Arc<AtomicUsize>);

/// One of them, for as long as it lives.
#[derive(Debug)]
pub struct Present(Going);

impl Going {
    /// One more.
    #[must_use]
    pub fn enter(&self) -> Present {
        self.0.fetch_add(1, Ordering::Relaxed);
        Present(self.clone())
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Company {
    /// What is waited for at a time that begins `now`.
    #[must_use]
    pub fn after(&self, Last { number, at }: Last, now: Instant) -> Awaited {
        // Nobody after one who came alone.
        let last = match number {
            2.. if now < at + AGO => number,
            _ => 0,
        };
        let enough = match self {
            Self::Paced(Going(going)) if last > 0 => (going.load(Ordering::Relaxed) / 4).min(ENOUGH),
            _ => 0,
        };
        let moment = now + MOMENT;
        let pace = (at + PACE).max(moment);
        Awaited {
            last,
            moment,
            enough,
            pace,
        }
    }
}

/// Who is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Awaited {
    last: usize,
    moment: Instant,
    enough: usize,
    pace: Instant,
}

impl Awaited {
    /// Until when one more is waited for where `number` are there; `None`: they are enough.
    #[must_use]
    pub fn until(&self, number: usize) -> Option<Instant> {
        match number {
            _ if number < self.enough => Some(self.pace),
            _ if number < self.last => Some(self.moment),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(number: usize, at: Instant) -> Last {
        Last { number, at }
    }

    /// Company of so many who go on, with what keeps them going.
    fn paced(number: usize) -> (Company, Vec<Present>) {
        let going = Going::default();
        let all = (0..number).map(|_| going.enter()).collect();
        (Company::Paced(going), all)
    }

    #[test]
    fn whoever_comes_after_one_who_came_alone_waits_for_nobody() {
        let now = Instant::now();
        for company in [Company::AsBefore, paced(100).0] {
            for number in [0, 1] {
                assert_eq!(company.after(last(number, now), now).until(1), None);
            }
        }
    }

    #[test]
    fn as_many_as_before_are_waited_for_for_a_moment() {
        let now = Instant::now();
        for company in [Company::AsBefore, paced(4).0] {
            let awaited = company.after(last(9, now), now);
            assert_eq!(awaited.until(8), Some(now + MOMENT));
            assert_eq!(awaited.until(9), None);
        }
    }

    #[test]
    fn a_quarter_of_those_who_go_on_is_waited_for_until_the_pace_is_over() {
        let now = Instant::now();
        let (company, mut going) = paced(32);
        let awaited = company.after(last(2, now), now + PACE / 2);
        assert_eq!(awaited.until(7), Some(now + PACE));
        assert_eq!(awaited.until(8), None);
        going.truncate(12);
        assert_eq!(company.after(last(2, now), now).until(3), None);
        // And no longer for more than a quarter than they would be otherwise.
        assert_eq!(company.after(last(9, now), now).until(3), Some(now + MOMENT));
    }

    #[test]
    fn there_is_a_moment_for_company_also_when_the_pace_is_over() {
        let at = Instant::now();
        let (company, _going) = paced(32);
        let now = at + PACE * 2;
        assert_eq!(company.after(last(2, at), now).until(1), Some(now + MOMENT));
    }

    #[test]
    fn who_came_long_ago_says_nothing_of_who_comes() {
        let at = Instant::now();
        let (company, _going) = paced(32);
        assert_eq!(company.after(last(30, at), at + AGO).until(1), None);
    }

    #[test]
    fn no_more_are_waited_for_than_are_worth_it() {
        let now = Instant::now();
        let (company, _going) = paced(1000);
        assert_eq!(company.after(last(2, now), now).until(ENOUGH), None);
    }
}
