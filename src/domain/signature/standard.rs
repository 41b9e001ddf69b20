//! Standard Webhooks: <https://www.standardwebhooks.com>. What comes in is checked by it, and what
//! goes out is signed by it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::RngExt as _;
use ring::hmac::HMAC_SHA256;
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

use super::{Headers, Refused, fits_any, mac, near};

const PREFIX: &str = "whsec_";
/// Bytes a key may have.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// Whether `secret` looks like one of this scheme.
#[must_use]
pub fn is_secret(secret: &str) -> bool {
    secret.starts_with(PREFIX)
}

/// Whether `secret` is one: `whsec_` and 24 to 64 bytes in base64.
#[must_use]
pub fn is_whole_secret(secret: &str) -> bool {
    is_secret(secret) && key(secret).is_some_and(|key| LENGTHS.contains(&key.len()))
}

/// Makes a new secret of 32 random bytes.
#[must_use]
pub fn generate() -> SecretString {
    let bytes: [u8; 32] = rand::rng().random();
    SecretString::from(format!("{PREFIX}{}", STANDARD.encode(bytes)))
}

/// The value of `webhook-signature`: one signature a secret, so that a receiver may know either of
/// two while one replaces the other. A secret that is none signs nothing.
#[must_use]
pub fn sign(secrets: &[SecretString], id: &str, timestamp: i64, body: &[u8]) -> String {
    let signatures: Vec<String> = secrets
        .iter()
        .filter_map(|secret| key(secret.expose_secret()))
        .map(|key| {
            format!(
                "v1,{}",
                STANDARD.encode(tag(&key, id, &timestamp.to_string(), body))
            )
        })
        .collect();
    signatures.join(" ")
}

fn key(secret: &str) -> Option<Vec<u8>> {
    STANDARD
        .decode(secret.strip_prefix(PREFIX).unwrap_or(secret))
        .ok()
}

fn tag(key: &[u8], id: &str, timestamp: &str, body: &[u8]) -> ring::hmac::Tag {
    let parts: [&[u8]; 5] = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
    mac(HMAC_SHA256, key, &parts)
}

/// Checks the three headers, under their name or the one Svix gave them first.
pub(super) fn verify(
    secrets: &[SecretString],
    headers: &Headers,
    body: &[u8],
    now: i64,
    tolerance: u32,
) -> Result<(), Refused> {
    let either = |standard: &str, svix: &str| match headers.one(standard) {
        Err(Refused::Missing(name)) => headers.one(svix).map_err(|_| Refused::Missing(name)),
        found => found,
    };
    let id = either("webhook-id", "svix-id")?;
    let timestamp = either("webhook-timestamp", "svix-timestamp")?;
    let signatures = either("webhook-signature", "svix-signature")?;
    // The text is signed as it was sent: a second way to write a number would be a second signature.
    let signed_at = timestamp
        .parse()
        .map_err(|_| Refused::Malformed("webhook-timestamp"))?;
    near(signed_at, now, tolerance)?;
    let presented: Vec<Vec<u8>> = signatures
        .split(' ')
        .filter_map(|one| STANDARD.decode(one.strip_prefix("v1,")?).ok())
        .collect();
    if presented.is_empty() {
        return Err(Refused::Malformed("webhook-signature"));
    }
    fits_any(secrets, |secret| {
        let Some(key) = key(secret) else { return false };
        let own = tag(&key, id, timestamp, body);
        presented
            .iter()
            .fold(false, |found, one| bool::from(own.as_ref().ct_eq(one)) | found)
    })
}
