//! The slow tier: what takes minutes, or needs packages of its own. `.ci/run` runs all of it.

#![allow(
    clippy::unwrap_used,
    reason = "what cannot go on in a test fails it, also in what tests share"
)]
#![allow(
    clippy::print_stdout,
    reason = "what was drawn and what was measured is to be read"
)]

mod alerts;
mod backup;
mod browser;
mod chaos;
mod client;
mod developer;
mod fuzz;
mod lease;
mod migrations;
mod million;
mod outage;
mod output;
mod pgbouncer;
mod rotation;
mod s3;
mod schedules;
mod schemathesis;
mod silence;
mod standby;
#[path = "../it/support.rs"]
#[expect(dead_code, reason = "the fast tests use what these do not")]
mod support;
