//! Connections: one typed setting, one way to open a pool.

use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use super::{Pool, Result};

/// Where PostgreSQL is: a `postgresql://` URL. Its password is never shown.
#[derive(Clone, Debug)]
pub struct DatabaseUrl(SecretString);

/// The text is no URL that PostgreSQL clients understand.
#[derive(Debug, thiserror::Error)]
#[error(
    "is not a PostgreSQL URL ({0}); write postgresql://USER:PASSWORD@HOST:PORT/DATABASE or postgresql://USER@/DATABASE?host=/SOCKET/DIRECTORY"
)]
pub struct InvalidUrl(String);

impl FromStr for DatabaseUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> std::result::Result<Self, InvalidUrl> {
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(InvalidUrl("it does not begin with postgresql://".into()));
        }
        PgConnectOptions::from_str(text).map_err(|error| InvalidUrl(error.to_string()))?;
        Ok(Self(SecretString::from(text.to_owned())))
    }
}

impl DatabaseUrl {
    /// The whole URL, password and all: for children that must connect, never for a log.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// How to connect as `application`, the name PostgreSQL shows in `pg_stat_activity`.
    ///
    /// # Errors
    ///
    /// As [`DatabaseUrl::from_str`], which has checked the same text.
    pub(super) fn options(&self, application: &str) -> Result<PgConnectOptions> {
        // PgBouncer refuses start-up parameters it does not know, so none beyond the name is sent.
        Ok(PgConnectOptions::from_str(self.expose())?
            .application_name(application)
            .extra_float_digits(None))
    }
}

/// A pool of at most `max` connections, opened when they are first needed: a service starts while
/// its database is away, says that it is not ready, and becomes ready by itself.
///
/// # Errors
///
/// [`super::Error::Statement`] when the URL cannot be used at all.
pub fn pool(url: &DatabaseUrl, application: &str, max: u32) -> Result<Pool> {
    let options = PgPoolOptions::new()
        .max_connections(max)
        .acquire_timeout(Duration::from_secs(3))
        .max_lifetime(Duration::from_secs(30 * 60))
        .after_connect(|connection, _| {
            Box::pin(async move {
                // Bounds on every session: a lock that is not given is an error somebody sees, and a
                // transaction nobody ends does not hold back vacuum for ever.
                sqlx::query(
                    "select set_config('lock_timeout', '10s', false), set_config('statement_timeout', '60s', false),
                            set_config('idle_in_transaction_session_timeout', '60s', false),
                            set_config('timezone', 'UTC', false)",
                )
                .execute(connection)
                .await
                .map(|_| ())
            })
        });
    Ok(options.connect_lazy_with(url.options(application)?))
}
