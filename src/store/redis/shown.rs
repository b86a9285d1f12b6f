//! What the follower shows of what it reads: the log as it stands, results in the order of their revisions and never before
//! the change they know of, the watch list with who came and who left.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::dial::Position;
use super::follower::Follower;
use super::wire::{Rev, WatchedSeries};
use crate::market::{SeriesKey, SeriesStatus, TimeMs};
use crate::signal::{Change, Seq, SignalResult};
use crate::store::batch::{Batch, ResetReason};
use crate::store::mirror::{Heard, Loaded};

impl Follower {
    /// Begins anew with the log as it was read, and what else there is.
    pub(super) fn load(
        &mut self,
        mut loaded: Loaded,
        watched: WatchedSeries,
        results: BTreeMap<SeriesKey, (Rev, SignalResult)>,
    ) -> Batch {
        let held = self.held.as_ref();
        if held.is_none_or(|held| held.epoch != loaded.epoch) {
            // Terms may have begun again with it: whoever beats first is the one.
            (self.term, self.term_at) = (0, None);
        }
        self.held = Some(Position {
            epoch: loaded.epoch.clone(),
            seq: Seq::NONE,
            id: None,
        });
        self.note_changes(&loaded.changes);
        self.revs.clear();
        self.early.clear();
        if !watched.series.is_empty() {
            self.shared.watched.send_replace(Arc::new(watched.clone()));
            self.watched = watched;
        }
        for key in &self.watched.series {
            loaded.series.entry(key.clone()).or_default(); // told before its first status was kept
        }
        let loaded = Loaded {
            results: self.fresh(results),
            tradable: self.watched.tradable.clone(),
            at: self.shown_at(),
            ..loaded
        };
        let reset = std::mem::replace(&mut self.reset, ResetReason::LogLost);
        let batch = self.shared.view.load(loaded, reset);
        self.revs.append(&mut self.offered);
        batch
    }

    /// When what is shown was computed.
    fn shown_at(&self) -> TimeMs {
        let published = self.shared.view.published();
        let first = published.results.values().next();
        first.map_or_else(crate::clock::wall, |result| result.event_time)
    }

    /// Lets the view take in what was heard; of the results it took, the revision counts from now on.
    pub(super) fn hear(&mut self, heard: Heard) -> Batch {
        let said = heard.results.iter();
        let said: Vec<_> = said.map(|r| (r.key(), r.change_seq)).collect();
        let batch = self.shared.view.hear(heard);
        for (key, change_seq) in said {
            let rev = self.offered.remove(&key);
            if let Some(rev) = rev.filter(|_| self.shared.view.takes(&key, change_seq)) {
                self.revs.insert(key, rev);
            }
        }
        batch
    }

    /// Of some results those that are newer than what is shown; one that knows of a change to come waits for it.
    pub(super) fn fresh(
        &mut self,
        results: BTreeMap<SeriesKey, (Rev, SignalResult)>,
    ) -> Vec<SignalResult> {
        let head = self.held.as_ref().map_or(Seq::NONE, |held| held.seq);
        let mut fresh = Vec::with_capacity(results.len());
        let nobody_computes = self.nobody_computes();
        for (key, (rev, mut result)) in results {
            let is_left = self.is_left_behind(rev);
            if (nobody_computes || is_left) && result.status == SeriesStatus::Live {
                result.status = SeriesStatus::Stale;
            }
            let waits = self.early.get(&key).map(|(early, _)| early);
            if self.revs.get(&key).max(waits) >= Some(&rev) {
                continue;
            }
            if result.change_seq > head {
                self.early.insert(key, (rev, result));
            } else {
                self.early.remove(&key);
                self.offered.insert(key, rev);
                fresh.push(result);
            }
        }
        fresh
    }

    pub(super) fn no_longer_early(&mut self) -> Vec<SignalResult> {
        let head = self.held.as_ref().map_or(Seq::NONE, |held| held.seq);
        let there = self
            .early
            .extract_if(.., |_, (_, result)| result.change_seq <= head);
        let there = there.map(|(key, (rev, result))| {
            self.offered.insert(key, rev);
            result
        });
        there.collect()
    }

    pub(super) fn note_changes(&mut self, changes: &[Arc<Change>]) {
        let Some(last) = changes.last() else { return };
        self.held = Some(Position {
            epoch: last.epoch.clone(),
            seq: last.seq,
            id: Some(last.body.id()),
        });
        self.shared.note_position(self.held.as_ref());
    }

    /// The watch list, and with it who came and went. There is always one: an empty one was lost, and comes again.
    pub(super) fn note_watched(&mut self, watched: WatchedSeries) -> Heard {
        if watched.series.is_empty() {
            return Heard::default();
        }
        let symbols = |watched: &WatchedSeries| {
            let keys = watched.series.iter();
            keys.map(|key| key.symbol.clone())
                .collect::<std::collections::BTreeSet<_>>()
        };
        let (before, now) = (symbols(&self.watched), symbols(&watched));
        self.watched = watched;
        self.shared
            .watched
            .send_replace(Arc::new(self.watched.clone()));
        let added: Vec<_> = now.difference(&before).cloned().collect();
        let removed: Vec<_> = before.difference(&now).cloned().collect();
        let changed = !added.is_empty() || !removed.is_empty();
        let tradable = &self.watched.tradable;
        // An engine that has just begun does not know it yet.
        let is_other = !tradable.is_empty() && *tradable != *self.shared.view.published().tradable;
        Heard {
            symbols: changed.then_some((added, removed)),
            tradable: is_other.then(|| Arc::new(tradable.clone())),
            ..Heard::default()
        }
    }
}
