//! What the engine wants done: it never does anything itself.

use std::collections::BTreeSet;

use super::order::OrderError;
use crate::exchange::CandleRequest;
use crate::market::SeriesKey;
use crate::signal::SignalResult;
use crate::store::{Occasion, Write};

/// What a read is for; the order is the order in which the budget is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// A live series misses a candle.
    Repair,
    /// A series warms up.
    Backfill,
    /// Somebody asks for a known series to be read anew: whoever that is, it costs no series its candles.
    Refresh,
    /// Candles that are known are held against the exchange.
    Audit,
}

/// A read of closed candles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchJob {
    /// What to ask.
    pub request: CandleRequest,
    /// What it is for.
    pub urgency: Urgency,
    /// Place of the interval in the settings: the primary one goes first.
    pub rank: usize,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Read candles; the answer comes back as an event.
    Ask(FetchJob),
    /// Tell the store.
    Write(Write),
    /// Follow exactly these series from now on.
    Watch(BTreeSet<SeriesKey>),
    /// Read the exchange's listing anew: it says that a contract changed.
    ReadListing,
    /// `Event::Refresh` is done: the candles were taken in, or why not.
    Refreshed(SeriesKey, Result<(), OrderError>),
}

impl Effect {
    pub(super) fn result(result: SignalResult, occasion: Occasion) -> Self {
        Self::Write(Write::Result {
            result: Box::new(result),
            occasion,
        })
    }
}
