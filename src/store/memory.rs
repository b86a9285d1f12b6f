//! The store of one process: log and published state in memory, a new epoch at every start.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;

use super::batch::{Batch, Item, Occasion, ResetReason, Write};
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
    changes: Vec<ChangeBody>,
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
            .filter_map(|body| log.append(body))
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
            reset: ResetReason::LogLost,
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
    /// Changes by close time, interval, symbol; the newest result of each series, which keeps its most telling occasion.
    fn sort(writes: Vec<Write>) -> Self {
        let mut burst = Self::default();
        for write in writes {
            match write {
                Write::Change(body) => burst.changes.push(body),
                Write::Result { result, occasion } => burst.add_result(*result, occasion),
                // Memory has one engine and no cache of its own: neither means anything here.
                Write::Technical { .. } | Write::Turn(_) => {}
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
        burst.changes = in_order(burst.changes);
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

/// By close time, interval, symbol; but what one series says stays in the order in which it said it: a correction of an
/// older candle must not come before the newer change it takes back.
fn in_order(changes: Vec<ChangeBody>) -> Vec<ChangeBody> {
    let mut newest: HashMap<SeriesKey, TimeMs> = HashMap::new();
    let mut timed: Vec<(TimeMs, ChangeBody)> = changes
        .into_iter()
        .map(|body| {
            let own = body.candle_close_time();
            let time = newest.entry(body.key().clone()).or_insert(own);
            *time = own.max(*time);
            (*time, body)
        })
        .collect();
    timed.sort_by(|(a_time, a), (b_time, b)| (a_time, a.key()).cmp(&(b_time, b.key())));
    timed.into_iter().map(|(_, body)| body).collect()
}

/// Which occasion of two results of one burst the surviving one tells.
const fn rank(occasion: Occasion) -> u8 {
    match occasion {
        Occasion::Update => 0,
        Occasion::Close => 1,
        Occasion::Sweep => 2,
        Occasion::Status => 3,
        Occasion::FirstLive => 4,
    }
}

/// Eight letters and digits: two starts have the same name once in a million million.
fn random_name() -> String {
    std::iter::repeat_with(fastrand::alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .take(8)
        .collect()
}
