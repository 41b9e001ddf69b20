//! The one integration-test binary, mirrored by path on `src/`.

mod schedule;
