//! Identifiers: UUIDv7, so that their order is the order of creation, each of its own type.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// What is no identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", super::problem::ID)]
pub struct InvalidId;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident,)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(transparent)]
        #[schema(value_type = Uuid, example = "01934f5a-7e1c-7c3a-9b1e-5f8d2a6c4e10")]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new identifier, later in order than every earlier one of this process.
            #[must_use]
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Uuid::parse_str(text).map(Self).map_err(|_| InvalidId)
            }
        }
    )*};
}

ids! {
    /// A job.
    JobId,
    /// A project.
    ProjectId,
    /// A token; never the secret.
    TokenId,
    /// One session of a runner process.
    RunnerId,
    /// A schedule.
    ScheduleId,
    /// A hook.
    HookId,
    /// An event that came in at a hook.
    HookDeliveryId,
    /// A callback that goes out.
    DeliveryId,
    /// A secret that callbacks are signed with; never the secret.
    CallbackSecretId,
}
