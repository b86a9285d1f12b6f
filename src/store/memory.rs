//! The store of one process: log and published state in memory, a new epoch at every start.

use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};
use std::time::Duration;

use tokio::sync::watch;

use super::batch::{Base, Batch, Item, Occasion, ResetReason, ToldOfAll, Write};
use super::burst::Burst;
use super::interest::Interest;
use super::log::{ChangeFilter, ChangeLog, ChangesPage, Gone};
use super::published::Published;
use crate::market::SeriesKey;
use crate::signal::{Epoch, Seq, StoreState};

/// Results, log and published state of one process.
#[derive(Debug)]
pub struct MemoryStore {
    inner: RwLock<Inner>,
    published: watch::Sender<Arc<Published>>,
    interest: Interest,
}

/// What is guarded.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) log: ChangeLog,
    /// Where results are kept, as readers are told.
    pub(super) state: StoreState,
}

impl MemoryStore {
    /// An empty store that keeps the last `max_kept` changes, in an epoch with a name drawn by lot.
    pub fn new(max_kept: usize) -> Self {
        let epoch = Epoch::new(&random_name());
        let (published, _) = watch::channel(Arc::new(Published::empty(epoch.clone())));
        Self {
            inner: RwLock::new(Inner {
                log: ChangeLog::new(epoch, max_kept),
                state: StoreState::Memory,
            }),
            published,
            interest: Interest::default(),
        }
    }

    /// The state as last published.
    pub fn published(&self) -> Arc<Published> {
        self.published.borrow().clone()
    }

    /// Follows the published state.
    pub fn follow(&self) -> watch::Receiver<Arc<Published>> {
        self.published.subscribe()
    }

    /// As new, a want of its readers holding for `kept_for`.
    #[must_use]
    pub fn wanted_for(self, kept_for: Duration) -> Self {
        Self {
            interest: Interest::new(kept_for),
            ..self
        }
    }

    /// What readers of this process want watched, and what it heard of others.
    pub fn interest(&self) -> &Interest {
        &self.interest
    }

    /// The logged changes after `since` that match, oldest first, at most `limit`.
    ///
    /// # Errors
    /// `Gone` when `since` was trimmed, or lies above the newest number.
    pub fn changes(
        &self,
        since: Seq,
        limit: usize,
        filter: &ChangeFilter,
    ) -> Result<ChangesPage, Gone> {
        self.inner
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .log
            .page(since, limit, filter)
    }

    /// Numbers the burst's changes, publishes the new state and tells what readers must see.
    pub fn write(&self, writes: Vec<Write>) -> Batch {
        let burst = Burst::sort(writes);
        let mut inner = self.inner();
        let mut items: Vec<Item> = burst
            .changes
            .into_iter()
            .filter_map(|body| inner.log.append(body))
            .map(Item::Change)
            .collect();
        items.extend(burst.symbols);
        for (key, (mut result, occasion)) in burst.results {
            if occasion == Occasion::FirstLive
                && let Some(base) = Base::of(&result)
            {
                inner.log.ledger.begin(&key, base);
            }
            (result.change_seq, result.changed_at) = inner.log.ledger.last_of(&key);
            items.push(Item::Result {
                result: Arc::new(result),
                occasion,
            });
        }
        items.extend(burst.rest);
        self.publish(&mut inner, ResetReason::LogLost, items)
    }

    /// Whether a result with this last change is not older than what the log says of the series.
    pub(super) fn takes(&self, key: &SeriesKey, change_seq: Seq) -> bool {
        change_seq >= self.inner().log.ledger.last_of(key).0
    }

    /// What readers were told of every series that has been live in this epoch.
    pub fn told(&self) -> ToldOfAll {
        self.inner().log.ledger.told()
    }

    pub(super) fn inner(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes what `items` say. The log is still held meanwhile: who reads it never finds more in it than REST shows.
    pub(super) fn publish(
        &self,
        inner: &mut Inner,
        reset: ResetReason,
        mut items: Vec<Item>,
    ) -> Batch {
        for item in &mut items {
            match item {
                Item::Status(status) => status.store = inner.state,
                Item::Symbols { removed, .. } => inner.log.ledger.forget(removed),
                Item::Change(_) | Item::Result { .. } | Item::Ended(_) | Item::Tradable(_) => {}
            }
        }
        let batch = Batch {
            reset,
            epoch: inner.log.epoch().clone(),
            head: inner.log.head(),
            items,
        };
        let kept_from = inner.log.kept_from();
        self.published.send_modify(|published| {
            let published = Arc::make_mut(published);
            published.epoch = batch.epoch.clone();
            published.seq = batch.head;
            published.kept_from = kept_from;
            published.take(&batch.items);
        });
        batch
    }
}

impl Published {
    fn take(&mut self, items: &[Item]) {
        for item in items {
            match item {
                Item::Result { result, .. } => {
                    self.results.insert(result.key(), result.clone());
                }
                Item::Symbols { removed, .. } => {
                    self.results.retain(|key, _| !removed.contains(&key.symbol));
                }
                Item::Tradable(tradable) => self.tradable = tradable.clone(),
                Item::Status(status) => self.status = *status,
                Item::Change(_) | Item::Ended(_) => {}
            }
        }
    }
}

/// Eight letters and digits: two starts have the same name once in a million million.
pub(super) fn random_name() -> String {
    std::iter::repeat_with(fastrand::alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .take(8)
        .collect()
}
