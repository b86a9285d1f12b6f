//! From the exchange's connections to the engine. At most one open candle per series waits (newest wins), at most
//! `CLOSED_MAX` closed ones. Closed candles and what became of connections are read first, in the order they came.
//! News of contracts and the last word on a mute series wait until they are read, one of each.
//! Full: a closed candle is refused and its series marked, so that the engine reads it from REST (hazard 34).
//! Ends when every sender is gone and nothing waits.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::FeedEvent;
use crate::market::{Candle, SeriesKey, TimeMs};

/// Closed candles that may wait: three times the 2,400 that close together at the top of an hour with 600 contracts at
/// 4 intervals.
pub const CLOSED_MAX: usize = 7_200;
/// `Up`s that may wait. An `Up` beyond is refused; a `Down` or `Left` always fits, since there is one at
/// most per taken `Up` and series.
pub const LINKS_MAX: usize = 1_024;

/// What became of an offered event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    /// It waits.
    Queued,
    /// It took the place of an older one: an open candle, or a word, of its series; or news of another contract.
    Replaced,
    /// It is older than the open candle of its series that already waits, and was dropped.
    Outdated,
    /// The queue was full. A closed candle's series is marked and will be read as `Refused`; an `Up` is lost, and
    /// whoever offered it must give up the connection.
    Refused,
    /// Nobody reads any more.
    Gone,
}

#[derive(Debug, Default)]
struct Waiting {
    ordered: VecDeque<FeedEvent>,
    closed: usize,
    ups: usize,
    refused: BTreeSet<SeriesKey>,
    listing: Option<FeedEvent>,
    /// The last word on a series that is, or was, mute.
    mute: BTreeMap<SeriesKey, FeedEvent>,
    open: BTreeMap<SeriesKey, (Candle, TimeMs)>,
    senders: usize,
    reader_gone: bool,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    ready: Notify,
}

/// The engine's end: the only reader.
#[derive(Debug)]
pub struct FeedQueue(Arc<Shared>);

/// A connection's end; clones are cheap and feed the same queue.
#[derive(Debug)]
pub struct FeedSender(Arc<Shared>);

/// An empty queue and its first sender.
pub fn feed_queue() -> (FeedSender, FeedQueue) {
    let shared = Arc::new(Shared::default());
    shared.lock().senders = 1;
    (FeedSender(Arc::clone(&shared)), FeedQueue(shared))
}

impl Shared {
    /// Held for a few map operations, never over an await.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FeedSender {
    /// Hands `event` over, never waits. What became of it is the answer.
    pub fn offer(&self, event: FeedEvent) -> Offered {
        let offered = self.0.lock().take_in(event);
        self.0.ready.notify_one();
        offered
    }
}

impl Clone for FeedSender {
    fn clone(&self) -> Self {
        self.0.lock().senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl Drop for FeedSender {
    fn drop(&mut self) {
        self.0.lock().senders -= 1;
        self.0.ready.notify_one();
    }
}

impl FeedQueue {
    /// Everything that waits, at least one event: first `Up`, `Down` and closed candles in the order they came, then
    /// the `Refused` series, news of contracts, who is mute, then one open candle per series. `None` when every sender is gone and nothing waits.
    pub async fn next_batch(&mut self) -> Option<Vec<FeedEvent>> {
        loop {
            {
                let mut waiting = self.0.lock();
                let batch = waiting.take_out();
                if !batch.is_empty() {
                    return Some(batch);
                }
                if waiting.senders == 0 {
                    return None;
                }
            }
            self.0.ready.notified().await;
        }
    }
}

impl Drop for FeedQueue {
    fn drop(&mut self) {
        self.0.lock().reader_gone = true;
    }
}

impl Waiting {
    fn take_in(&mut self, event: FeedEvent) -> Offered {
        if self.reader_gone {
            return Offered::Gone;
        }
        match event {
            FeedEvent::Open {
                key,
                candle,
                event_time,
            } => self.take_open(key, candle, event_time),
            FeedEvent::Closed { .. }
            | FeedEvent::Up { .. }
            | FeedEvent::Down { .. }
            | FeedEvent::Left { .. }
            | FeedEvent::Refused { .. } => self.take_ordered(event),
            FeedEvent::Listing { .. } => replaced(self.listing.replace(event)),
            FeedEvent::Mute { ref key } | FeedEvent::Heard { ref key } => {
                replaced(self.mute.insert(key.clone(), event))
            }
        }
    }

    fn take_open(&mut self, key: SeriesKey, candle: Candle, event_time: TimeMs) -> Offered {
        match self.open.entry(key) {
            Entry::Vacant(free) => {
                free.insert((candle, event_time));
                Offered::Queued
            }
            Entry::Occupied(mut taken) => {
                let (waiting, waiting_since) = taken.get();
                if (candle.open_time, event_time) < (waiting.open_time, *waiting_since) {
                    return Offered::Outdated;
                }
                taken.insert((candle, event_time));
                Offered::Replaced
            }
        }
    }

    fn take_ordered(&mut self, event: FeedEvent) -> Offered {
        match &event {
            FeedEvent::Closed { key, .. } if self.closed >= CLOSED_MAX => {
                self.refused.insert(key.clone());
                return Offered::Refused;
            }
            FeedEvent::Closed { key, candle, .. } => {
                self.closed += 1;
                self.forget_open(key, candle);
            }
            FeedEvent::Up { .. } if self.ups >= LINKS_MAX => return Offered::Refused,
            FeedEvent::Up { .. } => self.ups += 1,
            FeedEvent::Down { keys, .. } => {
                for key in keys.iter() {
                    self.open.remove(key); // nothing of a lost connection is read after its `Down`
                }
            }
            FeedEvent::Refused { key } => {
                self.refused.insert(key.clone());
                return Offered::Queued;
            }
            FeedEvent::Open { .. }
            | FeedEvent::Left { .. }
            | FeedEvent::Listing { .. }
            | FeedEvent::Mute { .. }
            | FeedEvent::Heard { .. } => {}
        }
        self.ordered.push_back(event);
        Offered::Queued
    }

    /// An open candle that has closed since is old news; a newer one stays.
    fn forget_open(&mut self, key: &SeriesKey, closed: &Candle) {
        if let Some((open, _)) = self.open.get(key)
            && open.open_time <= closed.open_time
        {
            self.open.remove(key);
        }
    }

    fn take_out(&mut self) -> Vec<FeedEvent> {
        self.closed = 0;
        self.ups = 0;
        let mut batch: Vec<_> = std::mem::take(&mut self.ordered).into();
        let refused = std::mem::take(&mut self.refused);
        batch.extend(refused.into_iter().map(|key| FeedEvent::Refused { key }));
        batch.extend(self.listing.take());
        batch.extend(std::mem::take(&mut self.mute).into_values());
        let open = std::mem::take(&mut self.open);
        batch.extend(
            open.into_iter()
                .map(|(key, (candle, event_time))| FeedEvent::Open {
                    key,
                    candle,
                    event_time,
                }),
        );
        batch
    }
}

fn replaced(older: Option<FeedEvent>) -> Offered {
    older.map_or(Offered::Queued, |_| Offered::Replaced)
}

#[cfg(test)]
mod tests;
