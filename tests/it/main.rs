//! The one integration-test binary, mirrored by path on `src/`.

#![allow(
    clippy::unwrap_used,
    reason = "what cannot go on in a test fails it, also in what tests share"
)]

mod api;
mod callbacks;
mod cli;
mod deploy;
mod flow;
mod layering;
mod metrics;
mod openapi;
mod outage;
mod process;
mod queue;
mod readme;
mod report;
mod retention;
mod roles;
mod schedule;
mod scheduler;
mod store;
mod support;
mod traces;
