//! What is said of the feed as a whole: how many series are in which state, and how far it can be trusted.

use std::collections::BTreeMap;

use super::moment::Moment;
use super::watched::Watched;
use crate::clock::Mono;
use crate::market::{SeriesKey, SeriesStatus, TimeMs};
use crate::signal::{FeedState, FeedStatus, SeriesCounts, StoreState};

use super::settings::Operation;

/// The feed's status is written again after so long, for its lag.
const STATUS_EVERY_MS: u64 = 1_000;

/// What was last told of the feed, and what the streams said beside candles.
#[derive(Debug, Default)]
pub(super) struct Feed {
    pub(super) simulated: bool,
    lag_ms: Option<i64>,
    told: Option<(FeedStatus, Mono)>,
}

impl Feed {
    pub(super) fn note_lag(&mut self, event_time: TimeMs, now: &Moment) {
        self.lag_ms = Some(now.exchange.ms_since(event_time).max(0));
    }

    /// Whatever was told, it is to be told again.
    pub(super) fn forget(&mut self) {
        self.told = None;
    }

    /// The status when it is to be written: it changed, or its lag is old.
    pub(super) fn due(
        &mut self,
        watched: &BTreeMap<SeriesKey, Watched>,
        operation: Operation,
        now: &Moment,
    ) -> Option<FeedStatus> {
        let status = self.status(watched, operation, now);
        let due = self.told.as_ref().is_none_or(|(told, at)| {
            FeedStatus {
                lag_ms: told.lag_ms,
                ..status
            } != *told
                || now.mono.ms_since(*at) >= STATUS_EVERY_MS
        });
        if !due {
            return None;
        }
        if self
            .told
            .as_ref()
            .is_none_or(|(told, _)| told.feed != status.feed)
        {
            tracing::info!(feed = ?status.feed, series = ?status.series, "feed");
        }
        self.told = Some((status, now.mono));
        Some(status)
    }

    fn status(
        &self,
        watched: &BTreeMap<SeriesKey, Watched>,
        operation: Operation,
        now: &Moment,
    ) -> FeedStatus {
        let mut series = SeriesCounts::default();
        let mut all_up = true;
        for watched in watched.values() {
            *series.of(watched.status()) += 1;
            all_up &= watched.connection().is_some() || watched.status() == SeriesStatus::Ended;
        }
        let feed = if operation == Operation::Stopped {
            series = SeriesCounts {
                stopped: watched.len(),
                ..SeriesCounts::default()
            };
            FeedState::Stopped
        } else if series.live == 0 {
            FeedState::Down
        } else if series.stale + series.dirty > 0 || !all_up {
            FeedState::Degraded
        } else {
            FeedState::Live
        };
        FeedStatus {
            feed,
            store: StoreState::Memory,
            series,
            lag_ms: self.lag_ms,
            speed: now.speed,
            simulated: self.simulated,
        }
    }
}
