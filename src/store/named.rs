//! Reads a column that holds one of our words (an enum in PostgreSQL or checked text) into the
//! domain's type, and names the word when this program does not know it.

use std::str::FromStr;

use sqlx::postgres::{PgTypeInfo, PgTypeKind, PgValueRef};
use sqlx::{Postgres, TypeInfo as _};

/// A value of the domain that PostgreSQL holds as a word.
#[derive(Debug)]
pub(super) struct Named<T>(pub(super) T);

impl<T> sqlx::Type<Postgres> for Named<T> {
    fn type_info() -> PgTypeInfo {
        <str as sqlx::Type<Postgres>>::type_info()
    }

    fn compatible(column: &PgTypeInfo) -> bool {
        matches!(column.kind(), PgTypeKind::Enum(_)) || column.name() == "TEXT"
    }
}

impl<'r, T: FromStr> sqlx::Decode<'r, Postgres> for Named<T> {
    fn decode(value: PgValueRef<'r>) -> Result<Self, sqlx::error::BoxDynError> {
        let word = value.as_str()?;
        let known = T::from_str(word).map_err(|_| {
            format!(
                "the database holds {word:?}, which this version does not know; is it older than the schema?"
            )
        })?;
        Ok(Self(known))
    }
}
