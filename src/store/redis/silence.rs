//! What the follower makes of silence: a connection that is alive and says nothing is opened anew, readers are told that
//! Redis is away, and when no engine has been heard for 5 s nothing is shown as live any more.

use super::follower::Follower;
use crate::clock::Mono;
use crate::market::SeriesStatus;
use crate::signal::{FeedState, SignalResult, StoreState};
use crate::store::mirror::Heard;

/// Without a beat for so long the connections are opened anew: alive and silent is the commonest real failure.
const BEAT_WITHIN_MS: u64 = 3_000;

/// Without a beat for so long nobody computes: what we show is no longer up to date.
const FEED_SILENT_MS: u64 = 5_000;

/// How long the log may take to reach the number a beat has told.
const REACH_WITHIN_MS: u64 = 1_000;

/// A connection that is back within this was only a hiccup.
const HICCUP_MS: u64 = 1_000;

impl Follower {
    /// Looks at every deadline of the reading side.
    pub(super) async fn look_at_deadlines(&mut self) {
        let now = Mono::now();
        if self.is_alone {
            return;
        }
        let silent_ms = now.ms_since(self.beat_at);
        let unreached = self
            .behind
            .is_some_and(|(_, since)| now.ms_since(since) >= REACH_WITHIN_MS);
        let silent = silent_ms.min(now.ms_since(self.dialed_at)) >= BEAT_WITHIN_MS;
        if self.session.is_some() && (silent || unreached) {
            tracing::info!(
                silent_ms,
                unreached,
                "no sign of an engine: connecting anew"
            );
            self.hang_up(Some(now));
            self.redial_later();
        }
        self.tell_whether_away(now).await;
        if self.nobody_computes() {
            self.say_that_nobody_computes().await;
        }
    }

    /// Tells readers when Redis, or any engine behind it, is gone, and when it is back.
    pub(super) async fn tell_whether_away(&mut self, now: Mono) {
        let lost = self.lost_at.is_some_and(|at| now.ms_since(at) >= HICCUP_MS);
        let is_away = lost || now.ms_since(self.beat_at) >= BEAT_WITHIN_MS;
        if is_away == self.shared.health().away_since.is_some() {
            return;
        }
        let away_since = is_away.then_some(now);
        self.shared
            .change_health(|health| health.away_since = away_since);
        self.shared.view.set_state(if is_away {
            StoreState::Degraded
        } else {
            StoreState::Redis
        });
        let heard = Heard {
            status: Some(self.shared.view.published().status),
            ..Heard::default()
        };
        let batch = self.shared.view.hear(heard);
        self.send(batch).await;
    }

    pub(super) fn nobody_computes(&self) -> bool {
        Mono::now().ms_since(self.beat_at) >= FEED_SILENT_MS
    }

    /// No engine speaks: every live series is stale, and the feed is down.
    async fn say_that_nobody_computes(&mut self) {
        let published = self.shared.view.published();
        if self.session.is_none() && !self.shared.health().is_loaded {
            return; // nothing has ever been shown
        }
        let live = published
            .results
            .values()
            .filter(|result| result.status == SeriesStatus::Live);
        let results: Vec<SignalResult> = live
            .map(|result| SignalResult {
                status: SeriesStatus::Stale,
                ..(**result).clone()
            })
            .collect();
        let mut status = published.status;
        if results.is_empty() && status.feed == FeedState::Down {
            return;
        }
        if status.feed != FeedState::Stopped {
            status.feed = FeedState::Down;
        }
        status.series.stale += status.series.live;
        status.series.live = 0;
        let batch = self.shared.view.hear(Heard {
            results,
            status: Some(status),
            ..Heard::default()
        });
        self.send(batch).await;
    }
}
