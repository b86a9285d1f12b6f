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

/// How fast two good clocks part: 100 millionths, twice what a cheap crystal does.
const DRIFT: f64 = 1e-4;

/// How long the stamps of one span of real time are looked at together.
const SPAN_MS: f64 = 2_000.0;

/// Events this old on arrival, real time, are slow; when even the youngest of a span are older, the clock is in doubt.
const SLOW_MS: f64 = 2_000.0;

#[derive(Debug, Clone, Copy)]
struct Reading {
    at: Instant,
    exchange_ms: f64,
    speed: f64,
    error_ms: f64,
    /// False while only this machine's wall clock was read.
    known: bool,
    stamps: Stamps,
}

/// How old the youngest events of the present span and of the one before were on arrival, exchange milliseconds: the
/// minimum of (receive - stamp).
#[derive(Debug, Clone, Copy)]
struct Stamps {
    since: Instant,
    youngest_ms: f64,
    before_ms: f64,
}

/// The exchange's time, kept from its answers: cloned freely, all clones show the same time.
#[derive(Debug, Clone)]
pub struct ExchangeClock(Arc<RwLock<Reading>>);

impl ExchangeClock {
    /// A clock that shows this machine's wall clock until the exchange has been asked.
    pub fn from_wall() -> Self {
        let at = now_instant();
        Self(Arc::new(RwLock::new(Reading {
            at,
            exchange_ms: wall().ms() as f64,
            speed: 1.0,
            error_ms: 1_000.0,
            known: false,
            stamps: Stamps::none(at),
        })))
    }

    /// The exchange's time now.
    pub fn now(&self) -> TimeMs {
        let reading = self.reading();
        TimeMs::new(reading.now_ms(now_instant()) as i64)
    }

    /// How many times as fast as ours the exchange's clock runs.
    pub fn speed(&self) -> f64 {
        self.reading().speed
    }

    /// Whether the exchange has said what time it is.
    pub fn is_known(&self) -> bool {
        self.reading().known
    }

    /// How far the clock may be off, in exchange milliseconds: half the round trip of the best answer, what has passed
    /// since times the drift of clocks, and how far event stamps contradict it.
    pub fn error_ms(&self) -> i64 {
        let (error_ms, doubt_ms) = self.error_and_doubt_ms();
        error_ms + doubt_ms
    }

    /// The same in its two parts: what is known of the clock itself, and how far event stamps contradict it. The second is
    /// as large when the streams are only slow.
    pub fn error_and_doubt_ms(&self) -> (i64, i64) {
        let (reading, at) = (self.reading(), now_instant());
        let whole = |ms: f64| ms.ceil() as i64;
        (whole(reading.error_at(at)), whole(reading.doubt_ms(at)))
    }

    /// How far this machine's wall clock is behind the exchange's, milliseconds; none while that is not known, and on an
    /// exchange whose clock is made up.
    pub fn ahead_of_wall_ms(&self) -> Option<i64> {
        let reading = self.reading();
        let real = reading.known && (reading.speed - 1.0).abs() < f64::EPSILON;
        real.then(|| self.now().ms_since(wall()))
    }

    /// Sets the clock by an answer of the exchange: it said `time` somewhere within the last `round_trip`. Where that and
    /// what was known before agree, what both allow is kept, so that one slow answer makes the clock no worse; where they
    /// do not, the exchange's clock has stepped, and the answer stands.
    pub fn set(&self, time: TimeMs, speed: f64, round_trip: Duration) {
        let half_ms = round_trip.as_secs_f64() * 500.0 * speed;
        let (told_ms, told_error_ms) = (time.ms() as f64 + half_ms, half_ms + 1.0);
        self.change(|reading, at| {
            let (known_ms, known_error_ms) = (reading.now_ms(at), reading.error_at(at));
            let same_clock = reading.known && (reading.speed - speed).abs() < f64::EPSILON;
            let agree = same_clock && (told_ms - known_ms).abs() <= told_error_ms + known_error_ms;
            let (exchange_ms, error_ms) = if agree {
                let from = (told_ms - told_error_ms).max(known_ms - known_error_ms);
                let to = (told_ms + told_error_ms).min(known_ms + known_error_ms);
                (f64::midpoint(from, to), ((to - from) / 2.0).max(1.0))
            } else {
                (told_ms, told_error_ms)
            };
            let stamps = if same_clock {
                reading.stamps.moved(exchange_ms - known_ms)
            } else {
                Stamps::none(at)
            };
            Reading {
                at,
                exchange_ms,
                speed,
                error_ms,
                known: true,
                stamps,
            }
        });
    }

    /// An event stamped `time` by the exchange has arrived: the exchange's clock is at least there. Or the stamp is wrong:
    /// what it pushes counts as error until the exchange is asked again, so that no stamp makes a candle final too early.
    /// Where all stamps of a while lag far behind the clock, either they are slow or the clock is wrong: that counts as
    /// error too, and whatever is closed by time waits.
    pub fn at_least(&self, time: TimeMs) {
        self.change(|reading, at| {
            let age_ms = reading.now_ms(at) - time.ms() as f64;
            let stamps = reading.stamps.noted(age_ms.max(0.0), at);
            if age_ms >= 0.0 {
                return Reading { stamps, ..reading };
            }
            Reading {
                at,
                exchange_ms: time.ms() as f64,
                error_ms: reading.error_at(at) - age_ms,
                stamps,
                ..reading
            }
        });
    }

    fn reading(&self) -> Reading {
        *self
            .0
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(Reading, Instant) -> Reading) {
        let mut reading = self
            .0
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *reading = change(*reading, now_instant());
    }
}

impl Reading {
    fn now_ms(&self, at: Instant) -> f64 {
        self.exchange_ms + self.age_ms(at) * self.speed
    }

    fn error_at(&self, at: Instant) -> f64 {
        self.error_ms + self.age_ms(at) * self.speed * DRIFT
    }

    fn age_ms(&self, at: Instant) -> f64 {
        ms_between(self.at, at)
    }

    /// How far the stamps that came lately contradict the clock.
    fn doubt_ms(&self, at: Instant) -> f64 {
        let age_ms = self.stamps.youngest(at);
        if self.known && age_ms > SLOW_MS * self.speed && age_ms.is_finite() {
            age_ms
        } else {
            0.0
        }
    }
}

impl Stamps {
    const fn none(since: Instant) -> Self {
        Self {
            since,
            youngest_ms: f64::INFINITY,
            before_ms: f64::INFINITY,
        }
    }

    /// An event has arrived `age_ms` after its stamp.
    fn noted(self, age_ms: f64, at: Instant) -> Self {
        let passed_ms = ms_between(self.since, at);
        if passed_ms < SPAN_MS {
            return Self {
                youngest_ms: self.youngest_ms.min(age_ms),
                ..self
            };
        }
        Self {
            since: at,
            youngest_ms: age_ms,
            before_ms: if passed_ms < 2.0 * SPAN_MS {
                self.youngest_ms
            } else {
                f64::INFINITY
            },
        }
    }

    /// The age of the youngest event of late; infinite when there was none.
    fn youngest(&self, at: Instant) -> f64 {
        if ms_between(self.since, at) < 2.0 * SPAN_MS {
            self.youngest_ms.min(self.before_ms)
        } else {
            f64::INFINITY
        }
    }

    /// The clock they were measured by has been moved.
    fn moved(self, by_ms: f64) -> Self {
        Self {
            youngest_ms: (self.youngest_ms + by_ms).max(0.0),
            before_ms: (self.before_ms + by_ms).max(0.0),
            ..self
        }
    }
}

fn ms_between(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests;
