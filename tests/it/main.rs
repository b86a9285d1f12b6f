//! The integration tests: one binary, a module per promise.

mod simulator;
mod support;
