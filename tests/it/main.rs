//! The integration tests: one binary, a module per promise.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed"
)]

mod door;
mod hub_limits;
mod hub_protocol;
mod hub_resume;
mod hub_sockets;
mod hub_storm;
mod openapi;
mod rest;
mod rest_refusals;
mod support;
