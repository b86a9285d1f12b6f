//! The integration tests: one binary, a module per promise.

mod binance_adapter;
mod support;
