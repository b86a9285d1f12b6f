//! The integration tests: one binary, a module per promise.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test says by a panic what it found"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "a test reads clock and environment itself, to print how long things took and to be told how long to run"
)]

mod acceptance;
mod analyze;
mod binance_adapter;
mod commands;
mod compat_api;
mod demo;
mod documents;
mod door;
mod exchange_away;
mod feed_budget;
mod golden;
mod house;
mod hub_examples;
mod hub_limits;
mod hub_protocol;
mod hub_resume;
mod hub_seams;
mod hub_sockets;
mod hub_storm;
mod on_demand;
mod openapi;
mod proxies;
mod redis_away;
mod redis_cache;
mod redis_faults;
mod redis_handover;
mod redis_hubs;
mod redis_lease;
mod redis_links;
mod redis_scripts;
mod redis_store;
mod replay;
mod rest;
mod rest_refusals;
mod scheduler;
mod simulator;
mod support;
mod tail;
mod universe;
