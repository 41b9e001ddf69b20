//! An HMAC in a header, in one of the ways in which services of one's own write it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Headers, Refused, fits_any, is_mac, near};

/// The hash of an HMAC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// HMAC-SHA256.
    #[default]
    Sha256,
    /// HMAC-SHA512.
    Sha512,
    /// HMAC-SHA1, for senders that know nothing better.
    Sha1,
}

/// How a signature is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// Hexadecimal digits of either case.
    #[default]
    Hex,
    /// Base64 with padding.
    Base64,
}

/// Where a signature lies and how it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generic {
    /// The header.
    pub header: String,
    /// What the header begins with, as `sha256=`.
    pub prefix: String,
    /// How it is written after that.
    pub encoding: Encoding,
    /// What makes it.
    pub algorithm: Algorithm,
    /// A header with the time in seconds since 1970; the text signed is then `time.body`.
    pub timestamp_header: Option<String>,
}

impl Default for Generic {
    fn default() -> Self {
        Self {
            header: "X-Signature".into(),
            prefix: String::new(),
            encoding: Encoding::default(),
            algorithm: Algorithm::default(),
            timestamp_header: None,
        }
    }
}

pub(super) fn verify(
    generic: &Generic,
    secrets: &[SecretString],
    headers: &Headers,
    body: &[u8],
    now: i64,
    tolerance: u32,
) -> Result<(), Refused> {
    const MALFORMED: Refused = Refused::Malformed("with the signature");
    let text = headers.one(&generic.header)?;
    let text = text.strip_prefix(&*generic.prefix).ok_or(MALFORMED)?;
    let presented = match generic.encoding {
        Encoding::Hex => hex::decode(text).map_err(|_| MALFORMED)?,
        Encoding::Base64 => STANDARD.decode(text).map_err(|_| MALFORMED)?,
    };
    let algorithm = match generic.algorithm {
        Algorithm::Sha256 => hmac::HMAC_SHA256,
        Algorithm::Sha512 => hmac::HMAC_SHA512,
        Algorithm::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
    };
    let mut parts = vec![body];
    if let Some(name) = &generic.timestamp_header {
        let timestamp = headers.one(name)?;
        let signed_at = timestamp
            .parse()
            .map_err(|_| Refused::Malformed("with the timestamp"))?;
        near(signed_at, now, tolerance)?;
        parts = vec![timestamp.as_bytes(), b".", body];
    }
    fits_any(secrets, |secret| {
        is_mac(algorithm, secret.as_bytes(), &parts, &presented)
    })
}
