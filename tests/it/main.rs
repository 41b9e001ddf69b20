//! The one integration-test binary, mirrored by path on `src/`.

#![expect(
    clippy::unwrap_used,
    reason = "clippy sees tests, but not the functions that only tests call"
)]

mod api;
mod openapi;
mod support;
