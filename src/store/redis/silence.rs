//! What the follower makes of silence: a connection that is alive and says nothing is opened anew, readers are told that
//! Redis is away, and when no engine has been heard for 6.5 s nothing is shown as live any more.

use super::follower::Follower;
use super::wire::Rev;
use crate::clock::Mono;
use crate::market::SeriesStatus;
use crate::signal::{FeedState, Seq, SignalResult, StoreState};
use crate::store::mirror::Heard;

/// Without a beat for so long the connections are opened anew: alive and silent is the commonest real failure.
const BEAT_WITHIN_MS: u64 = 3_000;

/// Without a beat for so long nobody computes: what we show is no longer up to date. A takeover takes at most 6 s.
const FEED_SILENT_MS: u64 = 6_500;

/// After a takeover the new engine says every series it follows within this.
const RENEWED_WITHIN_MS: u64 = 2_000;

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
        let head = self.held.as_ref().map_or(Seq::NONE, |held| held.seq);
        let unreached = self
            .behind
            .is_some_and(|(seq, since)| seq > head && now.ms_since(since) >= REACH_WITHIN_MS);
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
        } else if self
            .term_at
            .is_some_and(|at| now.ms_since(at) >= RENEWED_WITHIN_MS)
        {
            self.term_at = None;
            self.say_what_was_left_behind().await;
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
        if is_away {
            let silent_ms = now.ms_since(self.beat_at);
            tracing::warn!(
                silent_ms,
                "redis is away, or no engine speaks: readers are told"
            );
        } else {
            tracing::info!("redis is there, and what it has was read");
        }
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

    /// Whether a result is of an engine that is no more, though its successor has had time to say it anew.
    pub(super) fn is_left_behind(&self, rev: Rev) -> bool {
        self.term_at.is_none() && rev.0 < self.term
    }

    /// The new engine does not say these series: nobody computes them.
    async fn say_what_was_left_behind(&mut self) {
        let published = self.shared.view.published();
        let left = published.results.iter().filter(|(key, result)| {
            let rev = self.revs.get(*key).copied().unwrap_or_default();
            result.status == SeriesStatus::Live && self.is_left_behind(rev)
        });
        let results: Vec<_> = left.map(|(_, result)| stale(result)).collect();
        if results.is_empty() {
            return;
        }
        let batch = self.shared.view.hear(Heard {
            results,
            ..Heard::default()
        });
        self.send(batch).await;
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
        let results: Vec<SignalResult> = live.map(|result| stale(result)).collect();
        for result in &results {
            self.revs.remove(&result.key()); // read again, it holds again
        }
        let mut status = published.status;
        if results.is_empty() && matches!(status.feed, FeedState::Down | FeedState::Stopped) {
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

fn stale(result: &SignalResult) -> SignalResult {
    SignalResult {
        status: SeriesStatus::Stale,
        ..result.clone()
    }
}
