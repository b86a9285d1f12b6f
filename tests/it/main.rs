//! The integration tests: one binary, a module per promise.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test says by a panic what it found"
)]

mod analyze;
mod binance_adapter;
mod commands;
mod documents;
mod golden;
mod house;
mod simulator;
mod support;
mod tail;
