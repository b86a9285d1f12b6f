//! The integration tests: one binary, a module per promise.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed"
)]

mod analyze;
mod golden;
mod support;
