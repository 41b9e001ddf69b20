//! The instants of a cron line in a time zone, forwards and backwards.
//!
//! Time is walked in stretches over which the zone's clocks do not change. Within a stretch wall
//! clock and elapsed time run alike, so a search on the wall clock is a search in time; what the
//! rules say of a change of clocks is applied once, where two stretches meet.

use chrono::{DateTime, NaiveDateTime, SubsecRound, TimeDelta, Utc};

use super::calendar::Calendar;
use super::zone::Zone;

const SECOND: TimeDelta = TimeDelta::seconds(1);

/// Instants in rising order, each once.
pub(super) struct Forwards<'a> {
    calendar: &'a Calendar,
    zone: Zone,
    /// The search goes on after this wall-clock time …
    wall: NaiveDateTime,
    /// … shown by clocks this far ahead of UTC; `None` once there is nothing more to find.
    ahead: Option<TimeDelta>,
}

impl<'a> Forwards<'a> {
    /// Searches strictly after `from`.
    pub(super) fn new(calendar: &'a Calendar, zone: Zone, from: DateTime<Utc>) -> Self {
        let from = from.clamp(earliest(), latest()).trunc_subsecs(0);
        let ahead = zone.ahead(from);
        Self {
            calendar,
            zone,
            wall: from.naive_utc() + ahead,
            ahead: Some(ahead),
        }
    }

    fn step(&mut self, ahead: TimeDelta) -> Option<Option<DateTime<Utc>>> {
        let wall = self.calendar.following(self.wall)?;
        let here = (self.wall - ahead).and_utc();
        let found = (wall - ahead).and_utc();
        if let Some(change) = self.zone.first_change(here, found, ahead) {
            return Some(self.cross(change, ahead));
        }
        self.wall = wall;
        let is_repeat = !self.calendar.is_elapsed(wall) && self.zone.is_second_showing(wall, ahead);
        Some((!is_repeat).then_some(found))
    }

    /// Goes over a change of clocks; gives its instant when a fixed time was skipped by it.
    fn cross(&mut self, change: DateTime<Utc>, before: TimeDelta) -> Option<DateTime<Utc>> {
        let after = self.zone.ahead(change);
        let skipped = skips_fixed_time(self.calendar, change, before, after);
        self.ahead = Some(after);
        self.wall = change.naive_utc() + after;
        if !skipped {
            self.wall -= SECOND;
        }
        skipped.then_some(change)
    }
}

impl Iterator for Forwards<'_> {
    type Item = DateTime<Utc>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.step(self.ahead?) {
                Some(Some(found)) => return Some(found),
                Some(None) => {}
                None => self.ahead = None,
            }
        }
    }
}

/// Instants in falling order, each once: the forward search read from its end.
pub(super) struct Backwards<'a> {
    calendar: &'a Calendar,
    zone: Zone,
    /// The search goes on before this instant; `None` once there is nothing more to find.
    before: Option<DateTime<Utc>>,
}

impl<'a> Backwards<'a> {
    /// Searches strictly before `from`.
    pub(super) fn new(calendar: &'a Calendar, zone: Zone, from: DateTime<Utc>) -> Self {
        let from = from.clamp(earliest(), latest());
        let whole = from.trunc_subsecs(0);
        let before = if whole < from { whole + SECOND } else { whole };
        Self {
            calendar,
            zone,
            before: Some(before),
        }
    }

    fn step(&mut self, before: DateTime<Utc>) -> Option<Option<DateTime<Utc>>> {
        let here = before - SECOND;
        let ahead = self.zone.ahead(here);
        let wall = self.calendar.preceding(before.naive_utc() + ahead)?;
        let found = (wall - ahead).and_utc();
        if found < earliest() {
            return None;
        }
        if let Some(change) = self.zone.last_change(here, found, ahead) {
            self.before = Some(change);
            let previous = self.zone.ahead(change - SECOND);
            return Some(skips_fixed_time(self.calendar, change, previous, ahead).then_some(change));
        }
        self.before = Some(found);
        let is_repeat = !self.calendar.is_elapsed(wall) && self.zone.is_second_showing(wall, ahead);
        Some((!is_repeat).then_some(found))
    }
}

impl Iterator for Backwards<'_> {
    type Item = DateTime<Utc>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.step(self.before?) {
                Some(Some(found)) => return Some(found),
                Some(None) => {}
                None => self.before = None,
            }
        }
    }
}

/// Whether the clocks, put forward at `change`, passed over a fixed time of the line.
fn skips_fixed_time(calendar: &Calendar, change: DateTime<Utc>, before: TimeDelta, after: TimeDelta) -> bool {
    if after <= before || !calendar.has_fixed() {
        return false;
    }
    let end = change.naive_utc() + after;
    let mut wall = change.naive_utc() + before - SECOND;
    while let Some(next) = calendar.following(wall).filter(|next| *next < end) {
        if calendar.is_fixed(next) {
            return true;
        }
        wall = next;
    }
    false
}

/// The start of 1900: before it, zones kept the sun's time and no job ran.
fn earliest() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH - TimeDelta::days(25_567)
}

/// The end of 2999.
fn latest() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(376_200)
}
