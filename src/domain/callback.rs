//! Callbacks: where a job's end may be told, and what follows from the answer.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr, VariantNames};
use url::{Host, Url};
use utoipa::ToSchema;

use super::retry::backoff;

/// Longest address, in bytes.
pub const MAX_URL: usize = 2048;
/// The wait before the second try; it doubles up to an hour.
const FIRST_WAIT: Duration = Duration::from_secs(10);

/// Where a callback is on its way.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    ToSchema,
    Display,
    EnumString,
    IntoStaticStr,
    VariantNames,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum DeliveryState {
    /// It waits for its first or next try.
    Pending,
    /// The receiver answered with 2xx.
    Delivered,
    /// It is not tried any more; it can be sent again by hand.
    Dead,
}

impl DeliveryState {
    /// The word for it, as PostgreSQL and the API spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Reads where a job's end is to be told.
///
/// # Errors
///
/// What is wrong. Whether its address may be called is seen when it is: names change.
pub fn read_url(text: &str) -> Result<Url, &'static str> {
    if text.len() > MAX_URL {
        return Err("is longer than 2048 bytes");
    }
    if !text.bytes().all(|byte| (0x21..0x7f).contains(&byte)) {
        return Err("has characters that do not belong in a URL; percent-encode them");
    }
    let url = Url::parse(text).map_err(|_| "is no URL; write https://host/path")?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("must be an http or https URL");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds credentials, which would be stored and shown; callbacks are signed instead");
    }
    if url.fragment().is_some() {
        return Err("has a fragment, which is never sent");
    }
    match url.host() {
        None | Some(Host::Domain("")) => return Err("names no host"),
        Some(_) => {}
    }
    match url.port_or_known_default() {
        Some(80 | 443 | 1024..) => Ok(url),
        _ => Err("names a port of another service; 80, 443 and those from 1024 on can be called"),
    }
}

/// What came of one try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tried {
    /// The receiver answered.
    Answered {
        /// With this status.
        status: u16,
        /// And asked to be left alone for so long.
        retry_after: Option<Duration>,
    },
    /// Nobody answered, or not in time.
    Unanswered(String),
    /// It was not even tried, and a second time would be no other.
    Refused(String),
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: it has arrived.
    Delivered,
    /// Another try after this wait.
    Again(Duration),
    /// Nothing: it is given up.
    Dead,
}

/// What follows from a try, the `number`th since the delivery was new, at `now`, when it is given up
/// at `until`. `chance` is between 0 and 1.
#[must_use]
pub fn next(tried: &Tried, number: u32, now: DateTime<Utc>, until: DateTime<Utc>, chance: f64) -> Next {
    let asked = match tried {
        Tried::Answered {
            status: 200..=299, ..
        } => return Next::Delivered,
        // "Gone": the receiver wants no more of this.
        Tried::Answered { status: 410, .. } | Tried::Refused(_) => return Next::Dead,
        Tried::Answered {
            status: 429 | 503,
            retry_after,
        } => retry_after.unwrap_or_default(),
        Tried::Answered { .. } | Tried::Unanswered(_) => Duration::ZERO,
    };
    let wait = backoff(FIRST_WAIT, number.saturating_sub(1), chance).max(asked);
    let left = (until - now).to_std().unwrap_or_default();
    match wait <= left {
        true => Next::Again(wait),
        false => Next::Dead,
    }
}

/// Reads `Retry-After`: seconds, or a date of HTTP.
#[must_use]
pub fn retry_after(value: &str, now: DateTime<Utc>) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = DateTime::<Utc>::from(httpdate::parse_http_date(value).ok()?);
    Some((at - now).to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn address_of_a_callback_is_http_without_credentials_and_of_a_port_for_it() {
        for good in [
            "https://example.com/done?job=1",
            "http://example.com:8080",
            "https://[2606:4700::1111]/",
            "http://127.0.0.1:9000/hook",
        ] {
            assert!(read_url(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "example.com",
            "file:///etc/passwd",
            "ftp://example.com/",
            "gopher://example.com/",
            "https://user@example.com/",
            "https://user:secret@example.com/",
            "https://example.com/#part",
            "https://example.com:22/",
            "https://example.com:25/",
            "http://",
            "https://exa mple.com/",
            "https://example.com/\n",
            "https://[::1",
            "javascript:alert(1)",
            &format!("https://example.com/{}", "x".repeat(MAX_URL)),
        ] {
            assert!(read_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn odd_spellings_of_an_address_are_that_address() {
        for odd in [
            "http://127.1/",
            "http://0x7f000001/",
            "http://2130706433/",
            "http://0177.0.0.1/",
            "http://127.0.0.1./",
            "http://①②⑦.0.0.1/".replace("①②⑦", "%31%32%37").as_str(),
        ] {
            let url = read_url(odd).unwrap();
            assert_eq!(url.host(), Some(Host::Ipv4([127, 0, 0, 1].into())), "{odd}");
        }
        assert_eq!(read_url("http://0/").unwrap().host_str(), Some("0.0.0.0"));
    }

    fn after(status: u16, retry_after: Option<u64>, number: u32, left: i64) -> Next {
        let now = DateTime::UNIX_EPOCH;
        let retry_after = retry_after.map(Duration::from_secs);
        let tried = Tried::Answered { status, retry_after };
        next(&tried, number, now, now + TimeDelta::seconds(left), 0.5)
    }

    #[test]
    fn answer_decides_what_follows() {
        let day = 86_400;
        assert_eq!(after(204, None, 1, day), Next::Delivered);
        assert_eq!(after(410, Some(5), 1, day), Next::Dead);
        for status in [302, 400, 404, 500] {
            assert_eq!(
                after(status, Some(500), 1, day),
                Next::Again(Duration::from_secs(10))
            );
        }
        assert_eq!(
            after(429, Some(500), 1, day),
            Next::Again(Duration::from_secs(500))
        );
        assert_eq!(after(503, Some(1), 3, day), Next::Again(Duration::from_secs(40)));
        assert_eq!(after(500, None, 30, day), Next::Again(Duration::from_secs(3600)));
        assert_eq!(after(500, None, 30, 3599), Next::Dead);
        assert_eq!(after(503, Some(u64::MAX), 1, day), Next::Dead);
        let refused = Tried::Refused("closed".into());
        assert_eq!(
            next(
                &refused,
                1,
                DateTime::UNIX_EPOCH,
                DateTime::UNIX_EPOCH + TimeDelta::days(1),
                0.5
            ),
            Next::Dead
        );
    }

    #[test]
    fn wait_is_read_as_seconds_or_as_a_date() {
        let now = DateTime::from_timestamp(784_111_777, 0).unwrap();
        assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
        let date = "Sun, 06 Nov 1994 08:50:37 GMT";
        assert_eq!(retry_after(date, now), Some(Duration::from_secs(60)));
        assert_eq!(
            retry_after("Sun, 06 Nov 1994 08:00:00 GMT", now),
            Some(Duration::ZERO)
        );
        for bad in ["", "soon", "-5", "1.5", "99999999999999999999"] {
            assert_eq!(retry_after(bad, now), None, "{bad}");
        }
    }
}
