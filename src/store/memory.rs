//! The store of one process: log and published state in memory, a new epoch at every start.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;

use super::batch::{Batch, Item, Occasion, Write};
use super::log::{ChangeFilter, ChangeLog, ChangesPage, Gone};
use super::published::Published;
use crate::market::{SeriesKey, Symbol, TimeMs};
use crate::signal::{ChangeBody, Epoch, FeedStatus, Seq, SignalResult};

/// Results, log and published state of one process.
#[derive(Debug)]
pub struct MemoryStore {
    log: RwLock<ChangeLog>,
    published: watch::Sender<Arc<Published>>,
}

/// A burst of writes, sorted into what must come first.
#[derive(Default)]
struct Burst {
    /// With the close time they are ordered by.
    changes: Vec<(TimeMs, ChangeBody)>,
    results: BTreeMap<SeriesKey, (SignalResult, Occasion)>,
    rest: Vec<Item>,
    removed: Vec<Symbol>,
    status: Option<FeedStatus>,
}

impl MemoryStore {
    /// An empty store that keeps the last `max_kept` changes, in an epoch with a name drawn by lot.
    pub fn new(max_kept: usize) -> Self {
        let epoch = Epoch::new(&random_name());
        let (published, _) = watch::channel(Arc::new(Published::empty(epoch.clone())));
        Self {
            log: RwLock::new(ChangeLog::new(epoch, max_kept)),
            published,
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
        self.log
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .page(since, limit, filter)
    }

    /// Numbers the burst's changes, publishes the new state and tells what readers must see.
    pub fn write(&self, writes: Vec<Write>) -> Batch {
        let burst = Burst::sort(writes);
        let mut log = self.log.write().unwrap_or_else(PoisonError::into_inner);
        let mut items: Vec<Item> = burst
            .changes
            .into_iter()
            .filter_map(|(_, body)| log.append(body))
            .map(Item::Change)
            .collect();
        for (key, (mut result, occasion)) in burst.results {
            (result.change_seq, result.changed_at) = log.last_of(&key);
            items.push(Item::Result {
                result: Arc::new(result),
                occasion,
            });
        }
        items.extend(burst.rest);
        let batch = Batch {
            epoch: log.epoch().clone(),
            head: log.head(),
            items,
        };
        let kept_from = log.kept_from();
        // The state is published while the log is still held: who reads the log never finds more in it than REST shows.
        self.published.send_modify(|published| {
            let published = Arc::make_mut(published);
            published.seq = batch.head;
            published.kept_from = kept_from;
            published.take(&batch.items);
            published
                .results
                .retain(|key, _| !burst.removed.contains(&key.symbol));
            published.status = burst.status.unwrap_or(published.status);
        });
        batch
    }
}

impl Published {
    fn take(&mut self, items: &[Item]) {
        for item in items {
            if let Item::Result { result, .. } = item {
                self.results.insert(result.key(), result.clone());
            }
        }
    }
}

impl Burst {
    /// Changes by close time, interval, symbol, those of one series in the order they were written: a correction of an
    /// older candle comes after what it takes back. The newest result of each series keeps its most telling occasion.
    fn sort(writes: Vec<Write>) -> Self {
        let mut burst = Self::default();
        let mut newest = BTreeMap::new();
        for write in writes {
            match write {
                Write::Change(body) => {
                    let place = newest
                        .entry(body.key().clone())
                        .or_insert(body.candle_close_time());
                    *place = body.candle_close_time().max(*place);
                    burst.changes.push((*place, body));
                }
                Write::Result { result, occasion } => burst.add_result(*result, occasion),
                Write::Ended(key) => burst.rest.push(Item::Ended(key)),
                Write::Symbols { added, removed } => {
                    burst
                        .results
                        .retain(|key, _| !removed.contains(&key.symbol));
                    burst.removed.retain(|symbol| !added.contains(symbol));
                    burst.removed.extend(removed.iter().cloned());
                    burst.rest.push(Item::Symbols { added, removed });
                }
                Write::Status(status) => {
                    burst.status = Some(status);
                    burst.rest.push(Item::Status(status));
                }
            }
        }
        burst
            .changes
            .sort_by(|(a_place, a), (b_place, b)| (a_place, a.key()).cmp(&(b_place, b.key())));
        burst
    }

    fn add_result(&mut self, result: SignalResult, occasion: Occasion) {
        let key = result.key();
        let occasion = match self.results.get(&key) {
            Some((_, earlier)) if rank(*earlier) > rank(occasion) => *earlier,
            Some(_) | None => occasion,
        };
        self.results.insert(key, (result, occasion));
    }
}

/// Which occasion of two results of one burst the surviving one tells.
const fn rank(occasion: Occasion) -> u8 {
    match occasion {
        Occasion::Update => 0,
        Occasion::Close => 1,
        Occasion::Status => 2,
        Occasion::FirstLive => 3,
    }
}

/// Eight letters and digits: two starts have the same name once in a million million.
fn random_name() -> String {
    std::iter::repeat_with(fastrand::alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .take(8)
        .collect()
}
