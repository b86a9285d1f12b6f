//! Acceptance: `serve` as a process on a simulated exchange that misbehaves in one way each. Of every scene the same is
//! asked (`Scene::assert_true`): every candle held is the exchange's, what readers were told is what the exchange's candles
//! say, nothing of it by a series that was not live, weight and message rate within the rules. How long a recovery
//! took is printed, and fails only far past what it may take.

mod budget;
mod data;
mod random;
mod reader;
mod rotation;
mod scene;
mod streams;
mod truth;

use std::time::Duration;

use hamacast::market::Interval;
use hamacast::simulator::SimulatorSettings;

/// A candle a second: enough changes in a short time, and a minute of the exchange's budget that is not over at once.
fn minutes() -> SimulatorSettings {
    SimulatorSettings {
        seed: 3,
        symbols: 40,
        intervals: vec![Interval::M1],
        speed: 60.0,
        ..SimulatorSettings::default()
    }
}

/// Prints how long something took beside how long it may take; fails only at five times that.
fn bounded(what: &str, took: Duration, limit: Duration) {
    println!("{what}: {took:.1?} (limit {limit:.1?})");
    assert!(took < limit * 5, "{what}: {took:?}");
}
