//! Tokens: `orc_`, 32 random base62 characters, and a checksum that catches typing errors.

use chrono::{DateTime, Utc};
use garde::Validate;
use rand::RngExt as _;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use strum::{Display, EnumString, IntoStaticStr};
use subtle::ConstantTimeEq;
use utoipa::ToSchema;

use super::name::is_name;
use super::problem::{Violation, read_valid};
use super::spec::within_the_calendar;

const PREFIX: &str = "orc_";
const RANDOM: usize = 32;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// What a token may do.
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
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Scope {
    /// Put jobs in.
    Submit,
    /// See jobs and what came of them.
    Read,
    /// Steer: cancel, retry, approve, schedules.
    Operate,
    /// Everything, in every room of its projects.
    Admin,
}

/// A token to be made.
#[derive(Clone, Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What people call it; the audit log names it so.
    #[garde(length(chars, min = 1, max = 200), custom(plain))]
    #[schema(
        min_length = 1,
        max_length = 200,
        example = "ci",
        pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$"
    )]
    pub name: String,
    /// What it may do.
    #[garde(length(min = 1, max = 4), custom(once))]
    #[schema(min_items = 1, max_items = 4, example = json!(["submit", "read"]))]
    pub scopes: Vec<Scope>,
    /// Aliases of the projects it reaches; `["*"]` is every project, also those to come.
    #[garde(length(min = 1, max = 1000), custom(aliases_or_all))]
    #[schema(min_items = 1, max_items = 1000, example = json!(["demo"]))]
    pub projects: Vec<String>,
    /// When it stops being good; absent is never.
    #[garde(inner(custom(within_the_calendar)))]
    pub expires_at: Option<DateTime<Utc>>,
}

impl NewToken {
    /// Reads and checks a request.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, each with its path.
    pub fn read(json: &[u8]) -> Result<Self, Vec<Violation>> {
        read_valid(json)
    }

    /// Whether it is to reach every project.
    #[must_use]
    pub fn is_for_every_project(&self) -> bool {
        self.projects == ["*"]
    }
}

/// How a token is to be replaced.
#[derive(Clone, Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// How long the old secret stays good, in seconds.
    #[garde(range(max = 2_592_000))]
    #[serde(default = "a_day")]
    #[schema(maximum = 2_592_000, default = 86400, example = 3600)]
    pub overlap_sec: u32,
    /// When the new token stops being good; absent: it lasts as long as the old one did.
    #[garde(inner(custom(within_the_calendar)))]
    pub expires_at: Option<DateTime<Utc>>,
}

impl Default for Rotation {
    fn default() -> Self {
        Self {
            overlap_sec: a_day(),
            expires_at: None,
        }
    }
}

impl Rotation {
    /// Reads and checks a request.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, each with its path.
    pub fn read(json: &[u8]) -> Result<Self, Vec<Violation>> {
        read_valid(json)
    }
}

fn a_day() -> u32 {
    86400
}

fn plain(name: &str, (): &()) -> garde::Result {
    match name.contains(char::is_control) {
        true => Err(garde::Error::new("must not hold control characters")),
        false => Ok(()),
    }
}

fn once(scopes: &[Scope], (): &()) -> garde::Result {
    let twice = (1..scopes.len()).find(|at| scopes[..*at].contains(&scopes[*at]));
    match twice {
        Some(at) => Err(garde::Error::new(format!("has {} twice", scopes[at]))),
        None => Ok(()),
    }
}

fn aliases_or_all(projects: &[String], (): &()) -> garde::Result {
    if projects == ["*"] {
        return Ok(());
    }
    match projects.iter().find(|alias| !is_name(alias)) {
        Some(odd) if odd == "*" => Err(garde::Error::new("has \"*\" beside others; it stands alone")),
        Some(odd) => Err(garde::Error::new(format!("has {odd:?}, which is no alias"))),
        None => Ok(()),
    }
}

/// SHA-256 of a secret; all that is stored of it.
#[derive(Clone, Copy)]
pub struct TokenHash(pub [u8; 32]);

impl std::fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenHash(..)")
    }
}

impl TokenHash {
    /// Hashes what a caller presented.
    #[must_use]
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// Compares in constant time.
    #[must_use]
    pub fn matches(&self, stored: &[u8]) -> bool {
        self.0.ct_eq(stored).into()
    }
}

/// Makes a new secret.
#[must_use]
pub fn generate() -> SecretString {
    let mut random = rand::rng();
    let body: String = (0..RANDOM)
        .map(|_| char::from(BASE62[random.random_range(0..BASE62.len())]))
        .collect();
    SecretString::from(format!("{PREFIX}{body}{}", checksum(&body)))
}

/// The first characters, which tell tokens apart without giving them away.
#[must_use]
pub fn prefix(secret: &SecretString) -> String {
    let secret = secret.expose_secret();
    // A secret of the environment may be short: never show more than a quarter of it.
    let shown = if secret.starts_with(PREFIX) {
        8
    } else {
        (secret.chars().count() / 4).min(4)
    };
    secret.chars().take(shown).collect()
}

/// Whether text that looks like one of our tokens was copied whole. Tokens of the environment have
/// no checksum, so anything without our prefix passes.
#[must_use]
pub fn is_whole(secret: &str) -> bool {
    let Some(rest) = secret.strip_prefix(PREFIX) else {
        return true;
    };
    rest.is_ascii() && rest.len() == RANDOM + 6 && checksum(&rest[..RANDOM]) == rest[RANDOM..]
}

/// CRC-32 in six base62 digits, the way GitHub's tokens carry theirs.
fn checksum(body: &str) -> String {
    let mut rest = crc32fast::hash(body.as_bytes()) as usize;
    let mut digits = [b'0'; 6];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[rest % 62];
        rest /= 62;
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_token_is_whole_and_one_wrong_character_is_noticed() {
        let secret = generate();
        let secret = secret.expose_secret();
        assert_eq!(secret.len(), 42);
        assert!(is_whole(secret));
        let wrong = if secret.ends_with('a') { "b" } else { "a" };
        assert!(!is_whole(&format!("{}{wrong}", &secret[..41])));
        assert!(!is_whole(&secret[..41]));
        assert!(!is_whole("orc_é"));
    }

    #[test]
    fn the_shown_prefix_gives_at_most_a_quarter_of_an_environment_token_away() {
        assert_eq!(prefix(&SecretString::from("token-a".to_owned())), "t");
        assert_eq!(prefix(&generate()).len(), 8);
    }

    #[test]
    fn only_the_same_secret_matches_its_hash() {
        let stored = TokenHash::of("token-a").0;
        assert!(TokenHash::of("token-a").matches(&stored));
        assert!(!TokenHash::of("token-b").matches(&stored));
        assert!(!TokenHash::of("token-a").matches(&stored[..31]));
    }
}
