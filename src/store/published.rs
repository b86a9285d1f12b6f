//! The state as readers see it: one moment of everything, replaced as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::market::{SeriesKey, Symbol};
use crate::signal::{Epoch, FeedState, FeedStatus, Seq, SeriesCounts, SignalResult, StoreState};

/// Epoch, head and every result of one moment: every change up to `seq` shows in the results, and none above it.
#[derive(Debug, Clone)]
pub struct Published {
    /// The numbering in force.
    pub epoch: Epoch,
    /// Number of the newest change.
    pub seq: Seq,
    /// Oldest number still in the log; `seq + 1` when the log is empty.
    pub kept_from: Seq,
    /// Newest result of every watched series.
    pub results: BTreeMap<SeriesKey, Arc<SignalResult>>,
    /// Every perpetual the exchange trades, watched or not; empty: not known yet.
    pub tradable: Arc<BTreeSet<Symbol>>,
    /// State of the feed.
    pub status: FeedStatus,
}

impl Published {
    /// Nothing yet: no result, feed down.
    pub fn empty(epoch: Epoch) -> Self {
        let status = FeedStatus {
            feed: FeedState::Down,
            store: StoreState::Memory,
            series: SeriesCounts::default(),
            lag_ms: None,
            speed: 1.0,
            simulated: false,
        };
        Self {
            epoch,
            seq: Seq::NONE,
            kept_from: Seq::new(1),
            results: BTreeMap::new(),
            tradable: Arc::default(),
            status,
        }
    }
}
