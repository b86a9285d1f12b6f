//! What the streams tell the engine. An acknowledged subscription proves nothing (hazard 7): `Up` says only that the
//! exchange accepted the names; whether a series delivers is seen by its events and is the engine's to watch.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::RefusedCounts;
use crate::market::{Candle, SeriesKey, TimeMs};

/// One socket's life; a reconnect has an id of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(u64);

impl ConnectionId {
    /// The connection numbered `number`, counted from 1 since the program's start.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a stream said, or what became of it.
#[derive(Debug, Clone, PartialEq)]
pub enum FeedEvent {
    /// `keys` are subscribed and acknowledged. A connection may say this more than once, for keys added later.
    Up {
        /// By which connection.
        connection: ConnectionId,
        /// Which series.
        keys: Arc<[SeriesKey]>,
    },
    /// The connection is lost and with it every series it still carried. Said once, only after an `Up`.
    Down {
        /// Which connection.
        connection: ConnectionId,
        /// All series it carried.
        keys: Arc<[SeriesKey]>,
        /// Why, for people.
        reason: String,
        /// The close code, when the exchange sent one.
        code: Option<u16>,
        /// For how long it had been silent, when that is why it was given up; else zero.
        silent_for: Duration,
    },
    /// The newest state of a candle that is still forming.
    Open {
        /// Whose.
        key: SeriesKey,
        /// The candle so far.
        candle: Candle,
        /// When the exchange says it sent this.
        event_time: TimeMs,
    },
    /// A candle has closed.
    Closed {
        /// Whose.
        key: SeriesKey,
        /// The candle.
        candle: Candle,
        /// When the exchange says it sent this.
        event_time: TimeMs,
    },
    /// A closed candle of this series was lost because the queue was full: read the series from REST.
    Refused {
        /// Whose.
        key: SeriesKey,
    },
}

/// How many connections there should be, and what the streams have met since the start; for status and metrics.
#[derive(Debug, Default)]
pub struct StreamCounts {
    /// Connections there should be at present.
    pub wanted: AtomicU64,
    /// Connections opened.
    pub connects: AtomicU64,
    /// Connections lost after they were up, or never brought up.
    pub losses: AtomicU64,
    /// Candle events delivered to the queue.
    pub events: AtomicU64,
    /// Messages that are not what the exchange documents.
    pub unreadable: AtomicU64,
    /// Events of a series nobody asked for, or whose name and content disagree.
    pub foreign: AtomicU64,
    /// Candles that open off the grid or do not end where they must (hazard 23).
    pub off_grid: AtomicU64,
    /// Candles with impossible prices.
    pub impossible: AtomicU64,
    /// The last two, by what was wrong.
    pub rows: RefusedCounts,
    /// Closed candles lost to a full queue.
    pub refused: AtomicU64,
}

impl StreamCounts {
    /// All events dropped because they were bad, of every kind.
    pub fn bad(&self) -> u64 {
        [
            &self.unreadable,
            &self.foreign,
            &self.off_grid,
            &self.impossible,
        ]
        .into_iter()
        .map(|count| count.load(Ordering::Relaxed))
        .sum()
    }
}
