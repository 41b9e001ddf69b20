//! Use cases, one a function. Only here a transaction begins.

#![expect(
    clippy::disallowed_methods,
    reason = "transactions begin in this floor, and only here"
)]

pub mod agents;
pub mod authenticate;
pub mod backoff;
pub mod callback_secrets;
pub mod control;
pub mod deliver;
pub mod environment;
pub mod feed;
pub mod fire_due;
pub mod follow;
pub mod gather;
pub mod hint;
pub mod hooks;
pub mod idempotency;
pub mod lease;
pub mod maintain;
pub mod overview;
pub mod projects;
pub mod receive;
pub mod reckon;
pub mod recover;
pub mod retain;
pub mod roll_up;
pub mod schedules;
pub mod schema;
pub mod submit;
pub mod tick;
pub mod tokens;
pub mod workspaces;
