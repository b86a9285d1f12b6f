//! State of the feed as a whole: what the heartbeat tells every reader.

use serde::{Deserialize, Serialize};

use crate::market::SeriesStatus;

/// How far the feed can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FeedState {
    /// All connections up, every series live.
    Live,
    /// Some series are stale or dirty.
    Degraded,
    /// No series is live.
    Down,
    /// The operator stopped the scheduler.
    Stopped,
}

/// Where results and changes are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StoreState {
    /// In Redis.
    Redis,
    /// In this process, by choice.
    Memory,
    /// In this process, because Redis is away.
    Degraded,
}

/// How many series are in which status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[allow(missing_docs, reason = "the statuses of SeriesStatus")]
pub struct SeriesCounts {
    pub live: usize,
    pub warming: usize,
    pub stale: usize,
    pub dirty: usize,
    pub ended: usize,
    pub stopped: usize,
}

impl SeriesCounts {
    /// The counter of `status`.
    pub fn of(&mut self, status: SeriesStatus) -> &mut usize {
        match status {
            SeriesStatus::Live => &mut self.live,
            SeriesStatus::Warming => &mut self.warming,
            SeriesStatus::Stale => &mut self.stale,
            SeriesStatus::Dirty => &mut self.dirty,
            SeriesStatus::Ended => &mut self.ended,
            SeriesStatus::Stopped => &mut self.stopped,
        }
    }
}

/// What the engine says of the feed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FeedStatus {
    /// How far it can be trusted.
    pub feed: FeedState,
    /// Where results are kept.
    pub store: StoreState,
    /// Series by status.
    pub series: SeriesCounts,
    /// Milliseconds of exchange time from a candle update's event time to its result, last seen; none before the first.
    pub lag_ms: Option<i64>,
    /// How many times as fast as ours the exchange's clock runs: 1 but on a simulated exchange.
    pub speed: f64,
    /// Whether the data is made up: the exchange said that it is a simulator.
    pub simulated: bool,
}
