//! The integration tests: one binary, a module per promise.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests fail by panicking, their support too"
)]

mod hub_limits;
mod hub_protocol;
mod hub_resume;
mod hub_sockets;
mod hub_storm;
mod support;
