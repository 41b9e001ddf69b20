//! The key that seals secrets in the tables.

use std::path::PathBuf;

use clap::Args;

use super::value::Secretly;
use crate::domain::seal::Keyring;

/// The key that seals the secrets of hooks and callbacks.
#[derive(Args, Clone, Debug)]
#[group(id = "secrets_settings")]
pub struct Secrets {
    /// Key that seals the secrets of hooks and callbacks in the database: 32 bytes in base64. Several, separated by
    /// commas, while one replaces another: the first seals, all open
    #[arg(long, env = "SECRETS_KEY", hide_env_values = true, value_name = "KEY", value_parser = Secretly(parse_keys))]
    pub secrets_key: Option<Keyring>,
    /// File with that key, as a service manager's credential; several are on lines of their own
    #[arg(long, env = "SECRETS_KEY_FILE", value_name = "FILE")]
    pub secrets_key_file: Option<PathBuf>,
}

impl Secrets {
    /// The keys, if there are any.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or holds no key, or when both settings are there.
    pub fn keyring(&self) -> Result<Option<Keyring>, String> {
        let Some(path) = &self.secrets_key_file else {
            return Ok(self.secrets_key.clone());
        };
        if self.secrets_key.is_some() {
            return Err("SECRETS_KEY and SECRETS_KEY_FILE are both set; set one of the two".to_owned());
        }
        let wrong = |why: String| format!("SECRETS_KEY_FILE {}: {why}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        parse_keys(&text).map(Some).map_err(wrong)
    }
}

fn parse_keys(text: &str) -> Result<Keyring, String> {
    text.parse()
        .map_err(|error: crate::domain::seal::InvalidKeys| error.to_string())
}
