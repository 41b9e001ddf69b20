//! Stripe: `Stripe-Signature: t=…,v1=…`, over time and body, under the endpoint's secret as it is written.

use ring::hmac::HMAC_SHA256;
use secrecy::SecretString;

use super::{Headers, Refused, fits_any, is_mac, near};

const NAME: &str = "Stripe-Signature";

pub(super) fn verify(
    secrets: &[SecretString],
    headers: &Headers,
    body: &[u8],
    now: i64,
    tolerance: u32,
) -> Result<(), Refused> {
    let (timestamp, presented) = read(headers.one(NAME)?).ok_or(Refused::Malformed(NAME))?;
    let signed_at = timestamp.parse().map_err(|_| Refused::Malformed(NAME))?;
    near(signed_at, now, tolerance)?;
    fits_any(secrets, |secret| {
        let parts = [timestamp.as_bytes(), b".", body];
        let fits = |one: &Vec<u8>| is_mac(HMAC_SHA256, secret.as_bytes(), &parts, one);
        presented.iter().fold(false, |found, one| fits(one) | found)
    })
}

/// The time and every signature of the scheme `v1`; there are two while a secret is being replaced.
/// Other schemes are ignored, as Stripe asks, so that nobody can choose a weaker one.
fn read(header: &str) -> Option<(&str, Vec<Vec<u8>>)> {
    let mut timestamp = None;
    let mut presented = Vec::new();
    for item in header.split(',') {
        match item.trim().split_once('=')? {
            ("t", _) if timestamp.is_some() => return None,
            ("t", time) => timestamp = Some(time),
            ("v1", signature) => presented.extend(hex::decode(signature).ok()),
            _ => {}
        }
    }
    (!presented.is_empty()).then_some((timestamp?, presented))
}
