//! Secrets that must be read again, sealed for the tables.
//!
//! A token is only compared, so its hash is kept. The secret of a hook or of a project's callbacks
//! computes signatures, so it must come back whole. It is encrypted (AES-256-GCM) under a key that
//! is not in the database: who reads a dump, a replica or a report learns nothing, and what it
//! belongs to is sealed in, so that no row can be given another's secret.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::RngExt as _;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

/// What sealed bytes begin with: another layout is another number.
const LAYOUT: u8 = 1;
/// Bytes that say which key sealed.
const KEY_ID: usize = 4;
/// Bytes before what is encrypted.
const HEAD: usize = 1 + KEY_ID + NONCE_LEN;

/// The keys there are: the first seals, every one opens. Cheap to clone.
#[derive(Clone)]
pub struct Keyring(Arc<[Key]>);

struct Key {
    id: [u8; KEY_ID],
    cipher: LessSafeKey,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({} keys)", self.0.len())
    }
}

/// This server has no keys, so it can neither keep secrets nor open them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this server keeps no secrets because SECRETS_KEY is not set; set it for api and scheduler, then try again"
)]
pub struct NoKey;

/// The text is no list of keys. It is not repeated: it holds secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be one or more keys of 32 bytes in base64, separated by commas or new lines; the first one seals. \
     `head -c 32 /dev/urandom | base64` makes one"
)]
pub struct InvalidKeys;

impl FromStr for Keyring {
    type Err = InvalidKeys;

    fn from_str(text: &str) -> Result<Self, InvalidKeys> {
        let words = text
            .split([',', '\n'])
            .map(str::trim)
            .filter(|word| !word.is_empty());
        let keys: Vec<Key> = words.map(key).collect::<Result<_, _>>()?;
        match keys.is_empty() {
            true => Err(InvalidKeys),
            false => Ok(Self(keys.into())),
        }
    }
}

fn key(word: &str) -> Result<Key, InvalidKeys> {
    let bytes = STANDARD.decode(word).map_err(|_| InvalidKeys)?;
    // It refuses every length but 32.
    let cipher = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| InvalidKeys)?;
    let digest = Sha256::digest(&bytes);
    let mut id = [0; KEY_ID];
    id.copy_from_slice(&digest[..KEY_ID]);
    Ok(Key {
        id,
        cipher: LessSafeKey::new(cipher),
    })
}

/// Why sealed bytes do not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Shut {
    /// The key that sealed is not among those that are set.
    #[error("was sealed with a key that is not in SECRETS_KEY; add that key again, or set a new secret")]
    UnknownKey,
    /// The bytes were changed, or belong to something else.
    #[error("was changed in the database, or belongs to another row; set a new secret")]
    Forged,
}

impl Keyring {
    /// Makes the text of a new key.
    #[must_use]
    pub fn generate() -> SecretString {
        let bytes: [u8; 32] = rand::rng().random();
        SecretString::from(STANDARD.encode(bytes))
    }

    /// Seals `secret` for what `owner` names; nobody else's row can use it.
    #[must_use]
    pub fn seal(&self, owner: &str, secret: &SecretString) -> Vec<u8> {
        let Key { id, cipher } = &self.0[0];
        let nonce: [u8; NONCE_LEN] = rand::rng().random();
        let mut text = secret.expose_secret().as_bytes().to_vec();
        let aad = Aad::from(owner.as_bytes());
        // Only a text of 64 GiB is refused.
        if cipher
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut text)
            .is_err()
        {
            text.clear();
        }
        let mut sealed = vec![LAYOUT];
        sealed.extend_from_slice(id);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&text);
        sealed
    }

    /// Opens what [`Keyring::seal`] made for the same `owner`.
    ///
    /// # Errors
    ///
    /// [`Shut`], which says what to do.
    pub fn open(&self, owner: &str, sealed: &[u8]) -> Result<SecretString, Shut> {
        let (head, text) = sealed.split_at_checked(HEAD).ok_or(Shut::Forged)?;
        let (layout, id, nonce) = (head[0], &head[1..=KEY_ID], &head[1 + KEY_ID..]);
        if layout != LAYOUT {
            return Err(Shut::Forged);
        }
        let key = self.0.iter().find(|key| key.id == id).ok_or(Shut::UnknownKey)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Shut::Forged)?;
        let mut text = text.to_vec();
        let opened = key
            .cipher
            .open_in_place(nonce, Aad::from(owner.as_bytes()), &mut text)
            .map_err(|_| Shut::Forged)?;
        let secret = std::str::from_utf8(opened).map_err(|_| Shut::Forged)?;
        Ok(SecretString::from(secret))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(keys: &[&SecretString]) -> Keyring {
        let words: Vec<_> = keys.iter().map(|key| key.expose_secret()).collect();
        words.join(",").parse().unwrap()
    }

    #[test]
    fn secret_opens_only_for_its_owner_and_only_unchanged() {
        let keys = ring(&[&Keyring::generate()]);
        let sealed = keys.seal("hook:a", &SecretString::from("s3cret"));
        assert!(!sealed.windows(6).any(|part| part == b"s3cret"));
        assert_eq!(keys.open("hook:a", &sealed).unwrap().expose_secret(), "s3cret");
        assert_eq!(keys.open("hook:b", &sealed).unwrap_err(), Shut::Forged);
        for place in [0, HEAD - 1, HEAD, sealed.len() - 1] {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert_eq!(
                keys.open("hook:a", &changed).unwrap_err(),
                Shut::Forged,
                "{place}"
            );
        }
        for short in [0, 1, HEAD, sealed.len() - 1] {
            assert!(keys.open("hook:a", &sealed[..short]).is_err());
        }
    }

    #[test]
    fn old_key_opens_and_the_new_one_seals() {
        let (old, new) = (Keyring::generate(), Keyring::generate());
        let secret = SecretString::from("s");
        let sealed = ring(&[&old]).seal("o", &secret);
        assert!(ring(&[&new, &old]).open("o", &sealed).is_ok());
        assert_eq!(ring(&[&new]).open("o", &sealed).unwrap_err(), Shut::UnknownKey);
        let again = ring(&[&new, &old]).seal("o", &secret);
        assert!(ring(&[&new]).open("o", &again).is_ok());
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_repeated() {
        for bad in [
            "",
            ",",
            "c2hvcnQ=",
            "not base64!",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ] {
            let error = bad.parse::<Keyring>().unwrap_err().to_string();
            assert!(bad.len() < 6 || !error.contains(bad));
        }
        assert!(!format!("{:?}", ring(&[&Keyring::generate()])).contains('='));
    }
}
