//! The series that were said to be mute, over all connections: one may fall mute on a connection and be heard again on the
//! next. Each candle asks whether its series is among them, so as long as nobody is, no lock is taken.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::exchange::StreamCounts;
use crate::market::SeriesKey;

/// Who is mute.
#[derive(Debug)]
pub(super) struct Mute {
    counts: Arc<StreamCounts>,
    keys: Mutex<BTreeSet<SeriesKey>>,
}

impl Mute {
    pub(super) fn new(counts: Arc<StreamCounts>) -> Self {
        Self {
            counts,
            keys: Mutex::default(),
        }
    }

    /// `key` has fallen mute; false when that was known.
    pub(super) fn add(&self, key: &SeriesKey) -> bool {
        self.change(|keys| keys.insert(key.clone()))
    }

    /// A candle of `key` has come; true when it was mute.
    pub(super) fn heard(&self, key: &SeriesKey) -> bool {
        self.counts.mute.load(Ordering::Relaxed) > 0 && self.change(|keys| keys.remove(key))
    }

    /// Nobody but `watched` is missed.
    pub(super) fn keep(&self, watched: &BTreeSet<SeriesKey>) {
        self.change(|keys| keys.retain(|key| watched.contains(key)));
    }

    fn change<T>(&self, change: impl FnOnce(&mut BTreeSet<SeriesKey>) -> T) -> T {
        let mut keys = self.lock();
        let changed = change(&mut keys);
        let count = u64::try_from(keys.len()).unwrap_or(u64::MAX);
        self.counts.mute.store(count, Ordering::Relaxed);
        changed
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<SeriesKey>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
