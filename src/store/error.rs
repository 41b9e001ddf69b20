//! What can go wrong between us and PostgreSQL, told apart by what the caller can do about it.

/// The result of a statement.
pub type Result<T> = std::result::Result<T, Error>;

/// A statement that did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server cannot be reached, is starting or stopping, or has no connection left. Nothing is
    /// known about a statement that was under way; trying again later is right.
    #[error("PostgreSQL is not available: {}", said(.0))]
    Unavailable(sqlx::Error),
    /// The server refused the statement, or answered with something this program cannot read.
    #[error("PostgreSQL refused a statement: {}", said(.0))]
    Statement(sqlx::Error),
}

/// What happened, once and for a person. The driver says some of it twice, and adds the line of
/// PostgreSQL's own source; a detail may quote values of the row, which may be secrets.
fn said(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(answer) => match answer.code() {
            Some(code) => format!("{} (SQLSTATE {code})", answer.message()),
            None => answer.message().to_owned(),
        },
        sqlx::Error::Io(error) => error.to_string(),
        sqlx::Error::PoolTimedOut => "no connection within the time allowed".to_owned(),
        other => other.to_string(),
    }
}

impl Error {
    /// Nothing is known of what came of a statement: whoever was to hear the answer is gone.
    #[must_use]
    pub fn unheard() -> Self {
        Self::Unavailable(sqlx::Error::WorkerCrashed)
    }

    /// Whether trying the same again later can help.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    /// Whether the server cannot be had at all, so that a smaller statement fares no better.
    #[must_use]
    pub fn is_away(&self) -> bool {
        let Self::Unavailable(error) = self else {
            return false;
        };
        // A lock that was not given, a race that was lost or time that ran out is the statement's own.
        let code = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code);
        code.is_none_or(|code| !code.starts_with("40") && code != "55P03" && code != "57014")
    }

    /// Whether a bound on connections is reached: the server's, the database's or the role's.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let (Self::Unavailable(error) | Self::Statement(error)) = self;
        let code = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code);
        code.is_some_and(|code| code == "53300")
    }

    /// The name of the constraint the statement would have broken, if that is why it was refused.
    #[must_use]
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Statement(sqlx::Error::Database(error)) => error.constraint(),
            _ => None,
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as Driver;
        match &error {
            Driver::Io(_)
            | Driver::Tls(_)
            | Driver::Protocol(_)
            | Driver::PoolTimedOut
            | Driver::PoolClosed
            | Driver::WorkerCrashed => Self::Unavailable(error),
            Driver::Database(answer) if answer.code().is_some_and(|code| passes_by_itself(&code)) => {
                Self::Unavailable(error)
            }
            _ => Self::Statement(error),
        }
    }
}

/// SQLSTATEs of a server that is away, full, restarting or read-only for a while (its disk is full, or another has taken its
/// place), or of a transaction that lost a race: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn passes_by_itself(code: &str) -> bool {
    let class = code.get(..2).unwrap_or_default();
    matches!(class, "08" | "53" | "57" | "58" | "40") || matches!(code, "55P03" | "25006")
}
