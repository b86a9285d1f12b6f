//! The only reader of the clock. Everything else is given the time as a value.
//! `Mono` is this machine's monotonic time: for timeouts, pings, ages of connections. `ExchangeClock` is the exchange's
//! time: for candle boundaries, close deadlines, `event_time`; it may run faster than ours (a simulated exchange does).

use std::sync::{Arc, LazyLock, RwLock};
use std::time::Duration;

use tokio::time::Instant;

use crate::market::TimeMs;

/// Milliseconds of this machine's monotonic clock, counted from the program's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Mono(u64);

static START: LazyLock<Instant> = LazyLock::new(now_instant);

#[expect(clippy::disallowed_methods, reason = "this is the one place")]
fn now_instant() -> Instant {
    Instant::now()
}

impl Mono {
    /// Now. Follows tokio's paused clock in tests.
    pub fn now() -> Self {
        let start = *START;
        Self::from_ms(u64::try_from((now_instant() - start).as_millis()).unwrap_or(u64::MAX))
    }

    /// The instant `ms` milliseconds after the program's start.
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the program's start.
    pub const fn ms(self) -> u64 {
        self.0
    }

    /// Milliseconds since `earlier`, 0 when it lies in the future.
    pub const fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The instant `span` earlier, at the earliest the program's start.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        let ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(ms))
    }

    /// The instant `ms` later.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

/// The wall clock of this machine. Candles are never judged by it (hazard 29).
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn wall() -> TimeMs {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    TimeMs::new(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    at: Instant,
    exchange_ms: f64,
    speed: f64,
    error_ms: f64,
}

/// The exchange's time, kept from its answers: cloned freely, all clones show the same time.
#[derive(Debug, Clone)]
pub struct ExchangeClock(Arc<RwLock<Reading>>);

impl ExchangeClock {
    /// A clock that shows this machine's wall clock until the exchange has been asked.
    pub fn from_wall() -> Self {
        let exchange_ms = wall().ms() as f64;
        Self(Arc::new(RwLock::new(Reading {
            at: now_instant(),
            exchange_ms,
            speed: 1.0,
            error_ms: 1_000.0,
        })))
    }

    /// The exchange's time now.
    pub fn now(&self) -> TimeMs {
        let reading = self.reading();
        TimeMs::new(reading.now_ms(now_instant()) as i64)
    }

    /// How many times as fast as ours the exchange's clock runs: 1 but on a simulated exchange.
    pub fn speed(&self) -> f64 {
        self.reading().speed
    }

    /// How far the clock may be off, in exchange milliseconds: half the round trip of the last answer, and how far event
    /// stamps have pushed it since.
    pub fn error_ms(&self) -> i64 {
        self.reading().error_ms.ceil() as i64
    }

    /// Sets the clock by an answer of the exchange: it said `time` somewhere within the last `round_trip`.
    pub fn set(&self, time: TimeMs, speed: f64, round_trip: Duration) {
        let half_ms = round_trip.as_secs_f64() * 500.0 * speed;
        let exchange_ms = time.ms() as f64 + half_ms;
        self.write(Reading {
            at: now_instant(),
            exchange_ms,
            speed,
            error_ms: half_ms + 1.0,
        });
    }

    /// An event stamped `time` by the exchange has arrived: the exchange's clock is at least there. Or the stamp is wrong:
    /// what it pushes counts as error until the exchange is asked again, so that no stamp makes a candle final too early.
    pub fn at_least(&self, time: TimeMs) {
        let reading = self.reading();
        let at = now_instant();
        let ahead_ms = time.ms() as f64 - reading.now_ms(at);
        if ahead_ms > 0.0 {
            self.write(Reading {
                at,
                exchange_ms: time.ms() as f64,
                error_ms: reading.error_ms + ahead_ms,
                ..reading
            });
        }
    }

    fn reading(&self) -> Reading {
        *self
            .0
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self, reading: Reading) {
        *self
            .0
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = reading;
    }
}

impl Reading {
    fn now_ms(&self, at: Instant) -> f64 {
        self.exchange_ms
            + at.saturating_duration_since(self.at).as_secs_f64() * 1_000.0 * self.speed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_exchange_clock_runs_at_the_exchanges_speed() {
        let clock = ExchangeClock::from_wall();
        clock.set(TimeMs::new(1_000_000), 60.0, Duration::ZERO);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(clock.now().ms(), 1_120_000);
        clock.at_least(TimeMs::new(1_100_000)); // an older event moves nothing
        assert_eq!(clock.now().ms(), 1_120_000);
        assert_eq!(clock.error_ms(), 1);
        clock.at_least(TimeMs::new(1_130_000));
        assert_eq!(clock.now().ms(), 1_130_000);
        assert_eq!(
            clock.error_ms(),
            10_001,
            "who knows whether the stamp was right"
        );
    }
}
