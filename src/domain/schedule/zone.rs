//! Time zones by IANA name.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, FixedOffset, NaiveDateTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};
use serde::{Deserialize, Serialize};

use super::error::excerpt;

/// A time zone of the IANA database, such as `Europe/Berlin`; `UTC` by default.
///
/// Names that were renamed keep working (`Asia/Katmandu`). A zone is written with its exact name:
/// abbreviations (`CEST`) and bare offsets (`+02:00`) say nothing about the change of clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone(Tz);

/// A name that is no time zone, with the nearest that are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not a time zone of the IANA database; {}", advice(.suggestions))]
pub struct ZoneError {
    /// The name as given, cut to a line.
    pub name: String,
    /// Up to three zones with a similar name, nearest first.
    pub suggestions: Vec<&'static str>,
}

fn advice(suggestions: &[&'static str]) -> String {
    match suggestions {
        [] => "write a name such as `Europe/Berlin` or `UTC`".to_owned(),
        names => format!("did you mean {}?", names.join(" or ")),
    }
}

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Self = Self(Tz::UTC);

    /// Finds a zone by its IANA name.
    ///
    /// # Errors
    ///
    /// [`ZoneError`] with similar names when there is no such zone.
    pub fn parse(name: &str) -> Result<Self, ZoneError> {
        let name = name.trim();
        name.parse().map(Self).map_err(|_| ZoneError {
            name: excerpt(name),
            suggestions: similar(name),
        })
    }

    /// The zone's IANA name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// `at` as the clocks of the zone show it.
    #[must_use]
    pub fn local(self, at: DateTime<Utc>) -> DateTime<FixedOffset> {
        at.with_timezone(&self.offset(at))
    }

    fn offset(self, at: DateTime<Utc>) -> FixedOffset {
        self.0.offset_from_utc_datetime(&at.naive_utc()).fix()
    }

    /// How far the zone's clocks are ahead of UTC at an instant.
    pub(super) fn ahead(self, at: DateTime<Utc>) -> TimeDelta {
        TimeDelta::seconds(i64::from(self.offset(at).local_minus_utc()))
    }

    /// Whether the clocks show `wall` twice and `ahead` is the offset of the second time.
    pub(super) fn is_second_showing(self, wall: NaiveDateTime, ahead: TimeDelta) -> bool {
        self.0
            .offset_from_local_datetime(&wall)
            .earliest()
            .is_some_and(|first| i64::from(first.fix().local_minus_utc()) > ahead.num_seconds())
    }

    /// The first instant in `(from, until]` at which the clocks are not `ahead`.
    pub(super) fn first_change(
        self,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
        ahead: TimeDelta,
    ) -> Option<DateTime<Utc>> {
        let mut same = from;
        while same < until {
            let probe = (same + PROBE).min(until);
            if self.ahead(probe) != ahead {
                return Some(bisect(same, probe, |at| self.ahead(at) == ahead));
            }
            same = probe;
        }
        None
    }

    /// The latest instant in `(down_to, from]` before which the clocks were not `ahead`.
    pub(super) fn last_change(
        self,
        from: DateTime<Utc>,
        down_to: DateTime<Utc>,
        ahead: TimeDelta,
    ) -> Option<DateTime<Utc>> {
        let mut same = from;
        while same > down_to {
            let probe = (same - PROBE).max(down_to);
            if self.ahead(probe) != ahead {
                return Some(bisect(probe, same, |at| self.ahead(at) != ahead));
            }
            same = probe;
        }
        None
    }
}

/// Since 1900 no zone has changed its clocks twice within three days.
const PROBE: TimeDelta = TimeDelta::days(1);

/// The first whole second after `low` at which `holds` no longer holds; it does at `low` and does not at `high`.
fn bisect(
    mut low: DateTime<Utc>,
    mut high: DateTime<Utc>,
    holds: impl Fn(DateTime<Utc>) -> bool,
) -> DateTime<Utc> {
    while (high - low).num_seconds() > 1 {
        let middle = low + TimeDelta::seconds((high - low).num_seconds() / 2);
        if holds(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

fn similar(name: &str) -> Vec<&'static str> {
    const NEAR: f64 = 0.75;
    let name: String = name.chars().take(64).collect::<String>().to_lowercase();
    let closeness = |zone: &str| {
        let zone = zone.to_lowercase();
        let city = zone.rsplit('/').next().unwrap_or_default();
        // `Berlin` should find `Europe/Berlin`.
        strsim::normalized_damerau_levenshtein(&name, &zone)
            .max(strsim::normalized_damerau_levenshtein(&name.replace(' ', "_"), city) * 0.99)
    };
    let mut near: Vec<(f64, &'static str)> = TZ_VARIANTS
        .iter()
        .map(|zone| (closeness(zone.name()), zone.name()))
        .filter(|(closeness, _)| *closeness >= NEAR)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    near.into_iter().take(3).map(|(_, zone)| zone).collect()
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self::UTC
    }
}

impl FromStr for Zone {
    type Err = ZoneError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::parse(name)
    }
}

impl TryFrom<String> for Zone {
    type Error = ZoneError;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::parse(&name)
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.name().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_zone_is_refused_with_its_nearest() {
        let suggestions = |name| Zone::parse(name).expect_err(name).suggestions;
        assert_eq!(suggestions("Europe/Berln").first(), Some(&"Europe/Berlin"));
        assert_eq!(suggestions("berlin").first(), Some(&"Europe/Berlin"));
        assert_eq!(suggestions("New York").first(), Some(&"America/New_York"));
        assert_eq!(suggestions("europe/berlin").first(), Some(&"Europe/Berlin"));
        assert!(suggestions("+02:00").is_empty());
        let error = Zone::parse("Mars/Olympus_Mons").expect_err("another planet");
        assert_eq!(
            error.to_string(),
            "`Mars/Olympus_Mons` is not a time zone of the IANA database; write a name such as \
             `Europe/Berlin` or `UTC`"
        );
    }

    #[test]
    fn renamed_zone_keeps_working() {
        let [old, new] = ["Asia/Katmandu", "Asia/Kathmandu"].map(|name| Zone::parse(name).expect(name));
        let at = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
        assert_eq!(old.local(at), new.local(at));
        assert_eq!(old.name(), "Asia/Katmandu");
    }
}
