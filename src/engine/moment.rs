//! The time an event is applied at, as a value: exchange time for candles, monotonic time for our own waits.

use crate::clock::{ExchangeClock, Mono};
use crate::market::TimeMs;

/// A closed candle is final so long after its close, exchange time (hazard 19).
const FINAL_AFTER_MS: i64 = 2_000;

/// The same margin in real time on an exchange whose clock runs faster than ours.
const FINAL_AFTER_REAL_MS: f64 = 250.0;

/// Now, by the exchange's clock and by ours.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// The exchange's time.
    pub exchange: TimeMs,
    /// Our monotonic time.
    pub mono: Mono,
    /// How many times as fast as ours the exchange's clock runs.
    pub speed: f64,
    /// How far `exchange` may be off, exchange milliseconds.
    pub error_ms: i64,
}

impl Moment {
    /// Reads both clocks.
    pub fn read(clock: &ExchangeClock) -> Self {
        Self {
            exchange: clock.now(),
            mono: Mono::now(),
            speed: clock.speed(),
            error_ms: clock.error_ms(),
        }
    }

    /// How long after its close a candle counts as final, exchange milliseconds: 2 s, and never under 250 ms of real
    /// time plus the clock's known error.
    pub fn final_after_ms(&self) -> i64 {
        FINAL_AFTER_MS.max(self.from_real_ms(FINAL_AFTER_REAL_MS) + self.error_ms)
    }

    /// A span of real time in exchange milliseconds.
    pub fn from_real_ms(&self, real_ms: f64) -> i64 {
        (real_ms * self.speed).ceil() as i64
    }

    /// Whether a candle whose last millisecond is `close_time` is final.
    pub fn is_final(&self, close_time: TimeMs) -> bool {
        self.exchange.ms_since(close_time) > self.final_after_ms()
    }
}
