//! The log of changes: numbered from 1 without a hole, each identity once, the newest kept.

use std::collections::VecDeque;
use std::sync::Arc;

use super::ledger::Ledger;
use crate::market::{Interval, SeriesKey, Symbol};
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

/// The log itself; the store guards it.
#[derive(Debug)]
pub(super) struct ChangeLog {
    pub(super) ledger: Ledger,
    kept: VecDeque<Arc<Change>>,
    max_kept: usize,
}

impl ChangeLog {
    pub(super) fn new(epoch: Epoch, max_kept: usize) -> Self {
        Self {
            ledger: Ledger::new(epoch),
            kept: VecDeque::new(),
            max_kept,
        }
    }

    /// An empty log that goes on by `ledger`.
    pub(super) fn begin_again(&mut self, ledger: Ledger) {
        self.ledger = ledger;
        self.kept.clear();
    }

    pub(super) fn epoch(&self) -> &Epoch {
        self.ledger.epoch()
    }

    pub(super) fn head(&self) -> Seq {
        self.ledger.head()
    }

    pub(super) fn kept_from(&self) -> Seq {
        self.kept
            .front()
            .map_or(self.head().next(), |oldest| oldest.seq)
    }

    /// Gives `body` the next number. None when its identity has a number already.
    pub(super) fn append(&mut self, body: ChangeBody) -> Option<Arc<Change>> {
        let change = self.ledger.number(body)?;
        self.keep(change.clone());
        Some(change)
    }

    /// Takes in a change that was numbered elsewhere. False: it is known already.
    pub(super) fn follow(&mut self, change: &Arc<Change>) -> bool {
        if change.seq <= self.head() {
            return false;
        }
        self.ledger.note(change);
        self.keep(change.clone());
        true
    }

    fn keep(&mut self, change: Arc<Change>) {
        if self.kept.len() == self.max_kept {
            self.kept.pop_front();
        }
        self.kept.push_back(change);
    }

    pub(super) fn page(
        &self,
        since: Seq,
        limit: usize,
        filter: &ChangeFilter,
    ) -> Result<ChangesPage, Gone> {
        let kept_from = self.kept_from();
        let trimmed = since != Seq::NONE && since.next() < kept_from;
        if trimmed || since > self.head() {
            return Err(Gone {
                since,
                epoch: self.epoch().clone(),
                seq: self.head(),
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
            self.head()
        };
        Ok(ChangesPage {
            epoch: self.epoch().clone(),
            seq: self.head(),
            kept_from,
            changes,
            next,
        })
    }
}
