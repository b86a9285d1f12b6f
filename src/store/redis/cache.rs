//! Results on their way into Redis: which is written when. An open candle's result at most once per interval, a closed
//! one's at once; the compatible form less often; and every key again long before it expires. Knows no Redis and no
//! clock: moments come in, writes go out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::keys;
use super::wire::{Rev, result_json};
use crate::clock::Mono;
use crate::market::{Interval, SeriesKey, SeriesStatus, Symbol};
use crate::signal::{GainerAnalysis, SignalResult, Technical};
use crate::store::Occasion;
use crate::store::ledger::Ledger;

/// The compatible form follows an open candle at most so often.
const COMPATIBLE_EVERY_MS: u64 = 1_000;

/// One thing to do in Redis.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum CacheWrite {
    /// SET with the time to live.
    Set { key: String, json: Arc<str> },
    /// PUBLISH.
    Publish { channel: String, json: Arc<str> },
}

/// Limits of the cache.
#[derive(Debug, Clone, Copy)]
pub(super) struct CacheSettings {
    pub(super) ttl_ms: u64,
    /// Between two results of one open candle.
    pub(super) interval_ms: u64,
    /// The interval whose results are also kept in the compatible form.
    pub(super) primary: Interval,
    /// Number of the database: said in what is published, which every database of the server hears.
    pub(super) db: i64,
}

/// What is kept of one series.
#[derive(Debug)]
struct Slot {
    result: Arc<SignalResult>,
    json: Arc<str>,
    /// Whether `result` is newer than `json`.
    unwritten: bool,
    written_at: Option<Mono>,
    /// When the compatible form was last written.
    compatible_at: Option<Mono>,
    /// When it must be looked at next: its place in the queue.
    due: Mono,
}

/// The results of every series and when each is due.
#[derive(Debug)]
pub(super) struct Cache {
    settings: CacheSettings,
    term: u64,
    /// Of the whole process: the role may be taken anew under the same term, and its results must be the newer.
    revs: Arc<AtomicU64>,
    slots: BTreeMap<SeriesKey, Slot>,
    queue: BTreeSet<(Mono, SeriesKey)>,
    technical: BTreeMap<Symbol, Technical>,
    /// The operator stopped the engine: what is cached expires.
    frozen: bool,
}

impl Cache {
    pub(super) fn new(settings: CacheSettings, term: u64, revs: Arc<AtomicU64>) -> Self {
        Self {
            settings,
            term,
            revs,
            slots: BTreeMap::new(),
            queue: BTreeSet::new(),
            technical: BTreeMap::new(),
            frozen: false,
        }
    }

    /// Figures beside HAMA for the compatible form of the next result of the contract.
    pub(super) fn take_technical(&mut self, symbol: Symbol, technical: Technical) {
        self.technical.insert(symbol, technical);
    }

    /// Takes a result in; of those that wait the newest wins.
    pub(super) fn offer(&mut self, result: SignalResult, occasion: Occasion, now: Mono) {
        let key = result.key();
        let held_until = self.slots.get(&key).and_then(|slot| {
            let written_at = slot.written_at?;
            Some(written_at.plus_ms(self.settings.interval_ms))
        });
        let due = match occasion {
            Occasion::Update => held_until.map_or(now, |until| until.max(now)),
            Occasion::Close | Occasion::Status | Occasion::Sweep | Occasion::FirstLive => now,
        };
        let is_telling = occasion != Occasion::Update;
        let slot = self.slots.entry(key.clone()).or_insert_with(|| Slot {
            result: Arc::new(result.clone()),
            json: "".into(),
            unwritten: true,
            written_at: None,
            compatible_at: None,
            due,
        });
        // What already waits for an earlier moment keeps it.
        let due = if slot.unwritten && slot.written_at.is_some() {
            due.min(slot.due)
        } else {
            due
        };
        self.queue.remove(&(slot.due, key.clone()));
        slot.result = Arc::new(result);
        slot.unwritten = true;
        slot.due = due;
        if is_telling {
            slot.compatible_at = None; // written with it
        }
        self.queue.insert((due, key));
    }

    /// The operator stopped the engine, or started it again.
    pub(super) fn freeze(&mut self, frozen: bool) {
        self.frozen = frozen;
    }

    /// Forgets series that are no longer watched; their keys expire.
    pub(super) fn forget(&mut self, gone: impl Fn(&SeriesKey) -> bool) {
        self.slots.retain(|key, _| !gone(key));
        self.queue.retain(|(_, key)| !gone(key));
        let slots = &self.slots;
        self.technical
            .retain(|symbol, _| slots.keys().any(|key| key.symbol == *symbol));
    }

    /// Nobody knows what of this Redis has: all of it is due.
    pub(super) fn write_all_again(&mut self, now: Mono) {
        self.queue.clear();
        for (key, slot) in &mut self.slots {
            (slot.unwritten, slot.due, slot.compatible_at) = (true, now, None);
            self.queue.insert((now, key.clone()));
        }
    }

    /// When the next write is due.
    pub(super) fn next_due(&self) -> Option<Mono> {
        self.queue.first().map(|(due, _)| *due)
    }

    /// The writes that are due at `now`; `ledger` says which change each result shows.
    pub(super) fn take_due(&mut self, now: Mono, ledger: &Ledger) -> Vec<CacheWrite> {
        let mut writes = Vec::new();
        while let Some((due, key)) = self.queue.first().cloned() {
            if due > now {
                break;
            }
            self.queue.remove(&(due, key.clone()));
            self.write(&key, now, ledger, &mut writes);
        }
        writes
    }

    fn write(&mut self, key: &SeriesKey, now: Mono, ledger: &Ledger, writes: &mut Vec<CacheWrite>) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        let is_news = std::mem::take(&mut slot.unwritten);
        if is_news {
            let rev = Rev(self.term, self.revs.fetch_add(1, Ordering::Relaxed) + 1);
            let result = Arc::make_mut(&mut slot.result);
            (result.change_seq, result.changed_at) = ledger.last_of(key);
            match result_json(&slot.result, rev, self.settings.db) {
                Ok(json) => slot.json = json.into(),
                Err(error) => {
                    tracing::error!(series = %key, %error, "a result cannot be written as JSON");
                    return;
                }
            }
        }
        // A stopped engine caches nothing: what stands expires. That it stopped is said, not kept.
        let cached = !self.frozen && slot.result.status != SeriesStatus::Stopped;
        if cached {
            writes.push(CacheWrite::Set {
                key: keys::result(key),
                json: slot.json.clone(),
            });
            compatible(slot, key, &self.settings, &self.technical, now, writes);
        }
        if is_news {
            writes.push(CacheWrite::Publish {
                channel: keys::updates(&key.symbol),
                json: slot.json.clone(),
            });
        }
        slot.written_at = Some(now);
        slot.due = now.plus_ms(self.settings.rewrite_ms());
        self.queue.insert((slot.due, key.clone()));
    }
}

impl CacheSettings {
    /// No key gets older than this, or it might expire under a running engine.
    const fn rewrite_ms(&self) -> u64 {
        self.ttl_ms / 3
    }
}

/// The compatible form of the primary interval's result, when it is due.
fn compatible(
    slot: &mut Slot,
    key: &SeriesKey,
    settings: &CacheSettings,
    technical: &BTreeMap<Symbol, Technical>,
    now: Mono,
    writes: &mut Vec<CacheWrite>,
) {
    let every_ms = COMPATIBLE_EVERY_MS.min(settings.rewrite_ms());
    let is_due = slot
        .compatible_at
        .is_none_or(|at| now.ms_since(at) >= every_ms);
    if key.interval != settings.primary || !is_due {
        return;
    }
    let Some(technical) = technical.get(&key.symbol) else {
        return; // not live yet: there is nothing to analyse
    };
    let analysis = GainerAnalysis::of(slot.result.clone(), technical, slot.result.event_time);
    match serde_json::to_string(&analysis) {
        Ok(json) => {
            slot.compatible_at = Some(now);
            writes.push(CacheWrite::Set {
                key: keys::analysis(&key.symbol),
                json: json.into(),
            });
        }
        Err(error) => {
            tracing::error!(symbol = %key.symbol, %error, "an analysis cannot be written as JSON");
        }
    }
}
