//! The integration tests: one binary, a module per promise.

mod hub_limits;
mod hub_protocol;
mod hub_resume;
mod hub_sockets;
mod hub_storm;
mod support;
