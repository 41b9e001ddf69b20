//! What an operator's environment names: where the tables are, which projects and tokens there are.

use std::str::FromStr;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

/// Where PostgreSQL is: a `postgresql://` URL. Its password is never shown.
#[derive(Clone, Debug)]
pub struct DatabaseUrl(SecretString);

/// The text is no URL that PostgreSQL clients understand. The text itself is not repeated: it may
/// hold a password.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "is not a PostgreSQL URL ({0}); write postgresql://USER:PASSWORD@HOST:PORT/DATABASE, \
     or postgresql://USER@localhost/DATABASE?host=/SOCKET/DIRECTORY"
)]
pub struct InvalidUrl(String);

impl FromStr for DatabaseUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let url = Url::parse(text).map_err(|error| InvalidUrl(error.to_string()))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(InvalidUrl(format!("its scheme is {:?}", url.scheme())));
        }
        Ok(Self(SecretString::from(text.to_owned())))
    }
}

impl DatabaseUrl {
    /// The whole URL, password and all: to connect with, never for a log.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// An alias and the directory it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// The name.
    pub alias: String,
    /// The absolute directory.
    pub directory: String,
}

/// A token of the environment and the projects it reaches.
#[derive(Clone, Debug)]
pub struct EnvironmentToken {
    /// The secret, any text.
    pub secret: SecretString,
    /// Aliases; `None` is every project.
    pub projects: Option<Vec<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_another_kind_is_refused_without_showing_its_password() {
        for bad in [
            "",
            "host=x dbname=y",
            "mysql://u:s3cret@h/d",
            "postgresql://u:s3cret@/d",
        ] {
            let error = DatabaseUrl::from_str(bad).unwrap_err().to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
        let url = DatabaseUrl::from_str("postgresql://u:s3cret@localhost/d?host=/run/postgresql").unwrap();
        assert!(!format!("{url:?}").contains("s3cret"));
    }
}
