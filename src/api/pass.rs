//! A stream's right to go on. A request shows its token once; a stream may last for hours, and ends with
//! its token.

use super::Api;
use crate::app::authenticate::Caller;
use crate::domain::id::TokenId;
use crate::store::{self, Pool};

/// Whose token lets a stream go on.
#[derive(Clone, Debug)]
pub(super) struct Pass {
    pool: Pool,
    token: Option<TokenId>,
}

impl Pass {
    pub(super) fn of(api: &Api, caller: &Caller) -> Self {
        Self {
            pool: api.pool.clone(),
            token: caller.token,
        }
    }

    /// Whether the token is neither revoked nor expired. Asked after what is to be sent was read: if it still holds
    /// then, nothing of that happened after its end.
    pub(super) async fn holds(&self) -> store::Result<bool> {
        match self.token {
            Some(token) => store::token::holds(&self.pool, token).await,
            None => Ok(true),
        }
    }
}
