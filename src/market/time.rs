//! Instants. `TimeMs` is any instant of exchange time; `OpenTime` names a candle by the instant at which it opens,
//! so that an open time and a close time cannot be mixed up.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An instant: Unix milliseconds, UTC.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct TimeMs(i64);

impl TimeMs {
    /// The instant `ms` milliseconds after 1970-01-01T00:00:00Z.
    pub const fn new(ms: i64) -> Self {
        Self(ms)
    }

    /// Unix milliseconds.
    pub const fn ms(self) -> i64 {
        self.0
    }

    /// The instant `ms` later (earlier when negative); stays at the ends of the number line.
    #[must_use]
    pub const fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this instant, negative when it lies before.
    pub const fn ms_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for TimeMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The instant at which a candle opens: its identity within a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OpenTime(TimeMs);

impl OpenTime {
    /// The candle that opens at `time`. Whether that is on an interval's grid is asked of the interval.
    pub const fn at(time: TimeMs) -> Self {
        Self(time)
    }

    /// The candle that opens at `ms` Unix milliseconds.
    pub const fn from_ms(ms: i64) -> Self {
        Self(TimeMs::new(ms))
    }

    /// The instant itself.
    pub const fn time(self) -> TimeMs {
        self.0
    }

    /// Unix milliseconds.
    pub const fn ms(self) -> i64 {
        self.0.ms()
    }
}

impl fmt::Display for OpenTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
