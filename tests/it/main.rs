//! The integration tests: one binary, a module per promise.

mod house;
mod support;
