//! The log of changes: numbered from 1 without a hole, each identity once, the newest kept.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::market::{Interval, SeriesKey, Symbol, TimeMs};
use crate::signal::{Change, ChangeBody, Epoch, Seq};

/// Which changes a reader asks for; a missing part matches everything.
#[derive(Debug, Clone, Default)]
pub struct ChangeFilter {
    /// Only this contract.
    pub symbol: Option<Symbol>,
    /// Only this interval.
    pub interval: Option<Interval>,
}

impl ChangeFilter {
    fn matches(&self, key: &SeriesKey) -> bool {
        self.symbol
            .as_ref()
            .is_none_or(|symbol| *symbol == key.symbol)
            && self
                .interval
                .is_none_or(|interval| interval == key.interval)
    }
}

/// A page of the log.
#[derive(Debug, Clone)]
pub struct ChangesPage {
    /// The numbering.
    pub epoch: Epoch,
    /// Number of the newest change in the log.
    pub seq: Seq,
    /// Oldest number still kept.
    pub kept_from: Seq,
    /// The changes, oldest first.
    pub changes: Vec<Arc<Change>>,
    /// The `since` of the next call.
    pub next: Seq,
}

/// The numbers asked for are not in the log; the present cursor is where to start anew.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "changes after {since} are not in the log of epoch {epoch}, which holds {kept_from} to {seq}"
)]
pub struct Gone {
    /// What was asked.
    pub since: Seq,
    /// The numbering in force.
    pub epoch: Epoch,
    /// Number of the newest change.
    pub seq: Seq,
    /// Oldest number kept.
    pub kept_from: Seq,
}

#[derive(Debug, Clone)]
struct LastOfSeries {
    seq: Seq,
    close_time: TimeMs,
}

/// The log itself; the store guards it.
#[derive(Debug)]
pub(super) struct ChangeLog {
    epoch: Epoch,
    kept: VecDeque<Arc<Change>>,
    max_kept: usize,
    head: Seq,
    last: HashMap<SeriesKey, LastOfSeries>,
    /// Corrections given per candle, so that one identity is never numbered twice.
    revisions: HashMap<SeriesKey, HashMap<TimeMs, u32>>,
}

impl ChangeLog {
    pub(super) fn new(epoch: Epoch, max_kept: usize) -> Self {
        Self {
            epoch,
            kept: VecDeque::new(),
            max_kept,
            head: Seq::NONE,
            last: HashMap::new(),
            revisions: HashMap::new(),
        }
    }

    pub(super) fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    pub(super) fn head(&self) -> Seq {
        self.head
    }

    pub(super) fn kept_from(&self) -> Seq {
        self.kept
            .front()
            .map_or(self.head.next(), |oldest| oldest.seq)
    }

    /// Number and close time of the series' last change.
    pub(super) fn last_of(&self, key: &SeriesKey) -> (Seq, Option<TimeMs>) {
        self.last
            .get(key)
            .map_or((Seq::NONE, None), |last| (last.seq, Some(last.close_time)))
    }

    /// Gives `body` the next number. None when its identity has a number already.
    pub(super) fn append(&mut self, body: ChangeBody) -> Option<Arc<Change>> {
        let key = body.key().clone();
        let (prev_seq, last_close) = self.last_of(&key);
        let (close_time, corrects) = match &body {
            ChangeBody::Signal(change) => {
                if last_close.is_some_and(|last| change.candle_close_time <= last) {
                    return None;
                }
                (change.candle_close_time, Vec::new())
            }
            ChangeBody::Correction(correction) => {
                let told = self.revisions.entry(key.clone()).or_default();
                if told
                    .get(&correction.candle_close_time)
                    .is_some_and(|last| correction.revision <= *last)
                {
                    return None;
                }
                told.insert(correction.candle_close_time, correction.revision);
                let newest = correction
                    .stands
                    .last()
                    .map(|stand| stand.candle_close_time);
                let corrects = self.numbers_of(&key, &correction.corrects);
                let stands = last_close.filter(|last| !correction.corrects.contains(last));
                let close_time = newest.max(stands).or(last_close);
                (close_time.unwrap_or(correction.candle_close_time), corrects)
            }
        };
        self.head = self.head.next();
        let change = Arc::new(Change {
            seq: self.head,
            prev_seq,
            epoch: self.epoch.clone(),
            corrects,
            body,
        });
        self.last.insert(
            key,
            LastOfSeries {
                seq: self.head,
                close_time,
            },
        );
        if self.kept.len() == self.max_kept {
            self.kept.pop_front();
        }
        self.kept.push_back(change.clone());
        Some(change)
    }

    pub(super) fn page(
        &self,
        since: Seq,
        limit: usize,
        filter: &ChangeFilter,
    ) -> Result<ChangesPage, Gone> {
        let kept_from = self.kept_from();
        let trimmed = since != Seq::NONE && since.next() < kept_from;
        if trimmed || since > self.head {
            return Err(Gone {
                since,
                epoch: self.epoch.clone(),
                seq: self.head,
                kept_from,
            });
        }
        let first = self.kept.partition_point(|change| change.seq <= since);
        let changes: Vec<_> = self
            .kept
            .range(first..)
            .filter(|change| filter.matches(change.body.key()))
            .take(limit)
            .cloned()
            .collect();
        let next = if changes.len() == limit {
            changes.last().map_or(since, |last| last.seq)
        } else {
            self.head
        };
        Ok(ChangesPage {
            epoch: self.epoch.clone(),
            seq: self.head,
            kept_from,
            changes,
            next,
        })
    }

    /// Numbers of the series' changes at these closes, as far as they are kept.
    fn numbers_of(&self, key: &SeriesKey, closes: &[TimeMs]) -> Vec<Seq> {
        self.kept
            .iter()
            .filter(|change| {
                change.body.key() == key && closes.contains(&change.body.candle_close_time())
            })
            .map(|change| change.seq)
            .collect()
    }
}
