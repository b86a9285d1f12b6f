//! The Binance adapter against servers that follow a script: what it takes, what it refuses, what it advises, how it
//! keeps its connections. The servers are written here and not taken from the simulator, so that no misreading is shared.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of tests are tests; a test names the one thing that may come"
)]

mod client;
mod rest;
mod script;
mod streams;
mod streams_alive;
mod streams_refused;

use std::collections::BTreeSet;
use std::time::Duration;

use hamacast::clock::ExchangeClock;
use hamacast::exchange::binance::Times;
use hamacast::market::{Interval, SeriesKey, Symbol, TimeMs};

/// Ten seconds into a minute of exchange time.
const NOW: TimeMs = TimeMs::new(1_791_383_650_000);
/// The minute that is open at `NOW`.
const OPEN_MS: i64 = 1_791_383_640_000;

fn clock() -> ExchangeClock {
    let clock = ExchangeClock::from_wall();
    clock.set(NOW, 1.0, Duration::ZERO);
    clock
}

/// Waits short where a test needs them to pass, long where they must not.
fn times() -> Times {
    Times {
        connect: Duration::from_secs(4),
        answer: Duration::from_secs(4),
        handshake: Duration::from_secs(4),
        ack: Duration::from_secs(4),
        ping_every: Duration::from_millis(100),
        silence: Duration::from_secs(4),
        connect_gap: Duration::from_millis(5),
        message_gap: Duration::from_millis(5),
        reconnect: (Duration::from_millis(10), Duration::from_millis(40)),
        after_policy: Duration::from_millis(60),
        prove: Duration::from_millis(500),
        after_refusal: Duration::from_millis(200),
        ..Times::default()
    }
}

fn key(name: &str) -> SeriesKey {
    SeriesKey::new(Symbol::parse(name).unwrap(), Interval::M1)
}

fn keys(names: &[&str]) -> BTreeSet<SeriesKey> {
    names.iter().map(|name| key(name)).collect()
}

/// What must happen happens within five seconds.
async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(5), work)
        .await
        .unwrap_or_else(|_| panic!("did not happen in time: {what}"))
}
