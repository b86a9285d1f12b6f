//! The time an event is applied at, as a value: exchange time for candles, monotonic time for our own waits.

use crate::clock::{ExchangeClock, Mono, wall};
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
    /// The wall clock, for people only.
    pub wall: TimeMs,
    /// How many times as fast as ours the exchange's clock runs.
    pub speed: f64,
    /// How far `exchange` may be off for all that is known of the clock itself, exchange milliseconds.
    pub error_ms: i64,
    /// How much further off it would be if the stamps of events were right that contradict it: or the streams are slow.
    pub doubt_ms: i64,
}

impl Moment {
    /// Reads both clocks.
    pub fn read(clock: &ExchangeClock) -> Self {
        let (error_ms, doubt_ms) = clock.error_and_doubt_ms();
        Self {
            exchange: clock.now(),
            mono: Mono::now(),
            wall: wall(),
            speed: clock.speed(),
            error_ms,
            doubt_ms,
        }
    }

    /// How long after its close a candle counts as final, exchange milliseconds: 2 s, never under 250 ms of real time, and
    /// the clock's error and doubt on top, so that the margin is kept by the exchange's clock and not only by ours.
    pub fn final_after_ms(&self) -> i64 {
        self.margin_ms() + self.error_ms + self.doubt_ms
    }

    /// The margin alone, by the exchange's clock.
    pub fn margin_ms(&self) -> i64 {
        FINAL_AFTER_MS.max(self.from_real_ms(FINAL_AFTER_REAL_MS))
    }

    /// A span of real time in exchange milliseconds.
    pub fn from_real_ms(&self, real_ms: f64) -> i64 {
        (real_ms * self.speed).ceil() as i64
    }

    /// Whether a candle whose last millisecond is `close_time` is final.
    pub fn is_final(&self, close_time: TimeMs) -> bool {
        self.exchange.ms_since(close_time) > self.final_after_ms()
    }

    /// Candles that closed before it have closed by all that is known of the clock itself. Whoever asks for them by this has
    /// the answer show it, whatever the clock says: streams that are slow put nothing off.
    pub fn closed_until(&self) -> TimeMs {
        self.exchange.plus_ms(-self.margin_ms() - self.error_ms)
    }

    /// How far ahead of the exchange's clock `time` lies, if that is further than the clock can be wrong.
    pub fn surely_ahead_ms(&self, time: TimeMs) -> Option<i64> {
        let ahead_ms = time.ms_since(self.exchange);
        (ahead_ms > self.final_after_ms()).then_some(ahead_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h19_the_margin_holds_by_the_exchanges_clock_however_wrong_ours_may_be() {
        let close = TimeMs::new(1_000_000);
        let at = |after_ms, speed, error_ms| {
            let exchange = close.plus_ms(after_ms);
            let mono = Mono::from_ms(0);
            Moment {
                exchange,
                mono,
                wall: exchange,
                speed,
                error_ms,
                doubt_ms: 0,
            }
            .is_final(close)
        };
        assert!(!at(2_000, 1.0, 0) && at(2_001, 1.0, 0));
        assert!(
            !at(31_900, 1.0, 30_000),
            "30 s ahead, and the candle may just have closed"
        );
        assert!(at(32_001, 1.0, 30_000));
        assert!(!at(900_000, 3_600.0, 0) && at(900_001, 3_600.0, 0));
    }
}
