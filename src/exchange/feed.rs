//! What the streams tell the engine. An acknowledged subscription proves nothing (hazard 7): `Up` says only that the
//! exchange accepted the names; whether a series delivers is seen by its events and is the engine's to watch.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
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
    /// The connection lives and no longer carries these series: nobody wanted them any more. Those wanted again get
    /// another `Up`.
    Left {
        /// Which connection.
        connection: ConnectionId,
        /// Which series.
        keys: Arc<[SeriesKey]>,
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
    /// The exchange has news of a contract: listed, settled, brackets changed. Of several the newest is told.
    Listing {
        /// Which, as the exchange writes it.
        symbol: String,
        /// Its status, as the exchange writes it.
        status: String,
    },
    /// Acknowledged, and silent while others deliver, or for far longer than its habit (hazards 7, 10). Said once,
    /// until `Heard`.
    Mute {
        /// Which series.
        key: SeriesKey,
    },
    /// A series that was mute delivers again, over whatever connection; its candle comes beside this.
    Heard {
        /// Which series.
        key: SeriesKey,
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
    /// Connections replaced while they lived: for their age, or because some of their series were mute.
    pub rotations: AtomicU64,
    /// How often a series fell mute.
    pub mutes: AtomicU64,
    /// Series that are mute at present.
    pub mute: AtomicU64,
    by_code: Mutex<BTreeMap<Option<u16>, u64>>,
}

/// Close codes that are counted apart: what is sent by a mad server must not fill the memory.
const CODES_MAX: usize = 16;
/// Where the codes beyond are counted. No peer may send it.
const OTHER_CODE: u16 = 0;

impl StreamCounts {
    /// A connection was lost, by `code` when one was sent.
    pub(super) fn lose(&self, code: Option<u16>) {
        self.losses.fetch_add(1, Ordering::Relaxed);
        let mut by_code = self.by_code();
        let is_full = by_code.len() >= CODES_MAX && !by_code.contains_key(&code);
        let code = if is_full { Some(OTHER_CODE) } else { code };
        *by_code.entry(code).or_insert(0) += 1;
    }

    /// Losses by close code; `None`: without one (no connection, broken, silent), 0: any other code.
    pub fn losses_by_code(&self) -> BTreeMap<Option<u16>, u64> {
        self.by_code().clone()
    }

    fn by_code(&self) -> std::sync::MutexGuard<'_, BTreeMap<Option<u16>, u64>> {
        self.by_code.lock().unwrap_or_else(PoisonError::into_inner)
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h12_losses_are_counted_by_code_and_mad_codes_together() {
        let counts = StreamCounts::default();
        counts.lose(None);
        for code in [1008, 1001, 1008].into_iter().chain(3_000..3_100) {
            counts.lose(Some(code));
        }
        let by_code = counts.losses_by_code();
        assert_eq!((by_code[&None], by_code[&Some(1008)]), (1, 2));
        assert!(by_code.len() <= CODES_MAX + 1, "{by_code:?}");
        assert_eq!(by_code.values().sum::<u64>(), 104);
        assert!(by_code[&Some(OTHER_CODE)] > 80);
    }
}
