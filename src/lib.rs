//! hamacast: HAMA signals of crypto perpetuals, from the exchange's candles to every subscriber.
//!
//! The rooms stand in the order in which data flows, and a room names only rooms before it:
//! `market` -> `indicator` -> `signal` -> (`exchange` | `store`) -> `engine` | `hub` -> `http` -> `app` -> `cli`.
//! `docs/architecture.md` has the picture.

pub mod app;
pub mod backoff;
pub mod cli;
pub mod clock;
pub mod config;
pub mod engine;
pub mod exchange;
pub mod http;
pub mod hub;
pub mod indicator;
pub mod market;
pub mod signal;
pub mod simulator;
pub mod store;
pub mod tasks;
