//! Who sent a webhook: the schemes of the services that send them, over the bytes as they came.
//!
//! Everything here is a pure function of headers, body, secrets and time. Comparisons take the same
//! time wherever two values differ. A scheme with a time refuses what was signed too long ago, so that
//! a request that was overheard is worth nothing later.

use std::collections::BTreeMap;

use ring::hmac;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr, VariantNames};
use subtle::ConstantTimeEq as _;
use utoipa::ToSchema;

mod generic;
pub mod standard;
mod stripe;

pub use generic::{Algorithm, Encoding, Generic};

/// How far a signature's time may be from now, in seconds, unless a hook says otherwise.
pub const TOLERANCE_SEC: u32 = 300;

/// A service that sends webhooks, or a way of signing them.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
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
pub enum Provider {
    /// `X-Hub-Signature-256` over the body.
    Github,
    /// `X-Gitlab-Token`; or GitLab's signing token, when the secret begins with `whsec_`.
    Gitlab,
    /// `Stripe-Signature` over time and body.
    Stripe,
    /// Standard Webhooks (also Svix): `webhook-signature` over id, time and body.
    Standard,
    /// An HMAC in a header of your choosing.
    Hmac,
    /// `Authorization: Bearer` with the secret itself.
    Bearer,
}

impl Provider {
    /// The word for it, as PostgreSQL and the API spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The headers of a request that a signature may lie in, by lower-case name.
#[derive(Clone, Debug, Default)]
pub struct Headers(BTreeMap<String, Vec<String>>);

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut headers = Self::default();
        for (name, value) in pairs {
            let name = name.into().to_ascii_lowercase();
            headers.0.entry(name).or_default().push(value.into());
        }
        headers
    }
}

impl Headers {
    /// The value of `name`, when it is there exactly once.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.one(name).ok()
    }

    /// The value of `name`, which must be there exactly once: of two, nobody knows which was meant.
    fn one(&self, name: &str) -> Result<&str, Refused> {
        match self.0.get(&name.to_ascii_lowercase()).map(Vec::as_slice) {
            Some([only]) => Ok(only),
            Some([_, ..]) => Err(Refused::Repeated(name.to_owned())),
            Some([]) | None => Err(Refused::Missing(name.to_owned())),
        }
    }
}

/// Why a request is not taken for the service's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no signature.
    #[error("the header {0} is missing; is the secret set at the sender?")]
    Missing(String),
    /// There is more than one.
    #[error("the header {0} is there more than once")]
    Repeated(String),
    /// It cannot be read.
    #[error("the header {0} cannot be read as this provider writes it")]
    Malformed(&'static str),
    /// It was signed at another time.
    #[error(
        "it was signed {seconds} s {}, and {tolerance} s are allowed; check both clocks, or it was replayed",
        if *seconds > 0 { "ago" } else { "from now" }
    )]
    Stale {
        /// How long ago.
        seconds: i64,
        /// How long it may be.
        tolerance: u32,
    },
    /// The secret does not fit.
    #[error(
        "the signature is not of this body under the hook's secret; is the secret the same at the sender?"
    )]
    Mismatch,
}

/// What a hook says of how its requests are signed.
#[derive(Clone, Copy, Debug)]
pub struct Scheme<'a> {
    /// The service.
    pub provider: Provider,
    /// How far from now a signed time may be.
    pub tolerance_sec: u32,
    /// Where and how, for [`Provider::Hmac`].
    pub generic: &'a Generic,
}

/// Checks that one of `secrets` signed `body`, at a time near `now` (seconds since 1970).
///
/// # Errors
///
/// [`Refused`], a sentence without any secret or signature in it.
pub fn verify(
    scheme: Scheme<'_>,
    secrets: &[SecretString],
    headers: &Headers,
    body: &[u8],
    now: i64,
) -> Result<(), Refused> {
    let tolerance = scheme.tolerance_sec;
    match scheme.provider {
        Provider::Github => github(secrets, headers, body),
        Provider::Gitlab
            if secrets
                .iter()
                .any(|secret| standard::is_secret(secret.expose_secret())) =>
        {
            standard::verify(secrets, headers, body, now, tolerance)
        }
        Provider::Gitlab => equal(secrets, headers.one("X-Gitlab-Token")?),
        Provider::Stripe => stripe::verify(secrets, headers, body, now, tolerance),
        Provider::Standard => standard::verify(secrets, headers, body, now, tolerance),
        Provider::Hmac => generic::verify(scheme.generic, secrets, headers, body, now, tolerance),
        Provider::Bearer => bearer(secrets, headers),
    }
}

fn github(secrets: &[SecretString], headers: &Headers, body: &[u8]) -> Result<(), Refused> {
    const NAME: &str = "X-Hub-Signature-256";
    let text = headers.one(NAME)?;
    let hex = text.strip_prefix("sha256=").ok_or(Refused::Malformed(NAME))?;
    let presented = hex::decode(hex).map_err(|_| Refused::Malformed(NAME))?;
    fits_any(secrets, |secret| {
        is_mac(hmac::HMAC_SHA256, secret.as_bytes(), &[body], &presented)
    })
}

fn bearer(secrets: &[SecretString], headers: &Headers) -> Result<(), Refused> {
    let text = headers.one("Authorization")?;
    match text.split_once(' ') {
        Some((scheme, secret)) if scheme.eq_ignore_ascii_case("bearer") => equal(secrets, secret.trim()),
        _ => Err(Refused::Malformed("Authorization")),
    }
}

/// Whether `presented` is one of the secrets. Their hashes are compared, so that not even a length shows.
fn equal(secrets: &[SecretString], presented: &str) -> Result<(), Refused> {
    use sha2::{Digest as _, Sha256};
    let presented = Sha256::digest(presented.as_bytes());
    fits_any(secrets, |secret| {
        Sha256::digest(secret.as_bytes()).ct_eq(&presented).into()
    })
}

/// Holds every secret against the request, also after one fits.
fn fits_any(secrets: &[SecretString], fits: impl Fn(&str) -> bool) -> Result<(), Refused> {
    let found = secrets
        .iter()
        .fold(false, |found, secret| fits(secret.expose_secret()) | found);
    found.then_some(()).ok_or(Refused::Mismatch)
}

/// Whether `presented` is the MAC of `parts` under `key`.
fn is_mac(algorithm: hmac::Algorithm, key: &[u8], parts: &[&[u8]], presented: &[u8]) -> bool {
    mac(algorithm, key, parts).as_ref().ct_eq(presented).into()
}

fn mac(algorithm: hmac::Algorithm, key: &[u8], parts: &[&[u8]]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(&hmac::Key::new(algorithm, key));
    parts.iter().for_each(|part| context.update(part));
    context.sign()
}

/// Refuses a time that is too far from now, on either side.
fn near(signed_at: i64, now: i64, tolerance: u32) -> Result<(), Refused> {
    let seconds = now.saturating_sub(signed_at);
    match seconds.unsigned_abs() <= u64::from(tolerance) {
        true => Ok(()),
        false => Err(Refused::Stale { seconds, tolerance }),
    }
}

#[cfg(test)]
mod tests;
