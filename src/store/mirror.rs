//! A store whose changes are numbered elsewhere: it follows the log that another process writes.
//! Must hold: what it shows at head H has every change up to H and none above; a result that knows more waits outside.
//! While the log is away it may number by itself, in an epoch of its own, and forgets nothing that was told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::batch::{Base, Batch, Item, Occasion, ResetReason};
use super::ledger::Ledger;
use super::memory::{Inner, MemoryStore, random_name};
use crate::market::{SeriesKey, SeriesStatus, Symbol, TimeMs};
use crate::signal::{Change, Epoch, FeedStatus, Seq, SignalResult, StoreState};

/// A log as it was read, with what else is kept beside it.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) epoch: Epoch,
    /// The changes still kept, oldest first.
    pub(super) changes: Vec<Arc<Change>>,
    /// Every watched series.
    pub(super) series: BTreeMap<SeriesKey, Account>,
    /// The newest results that could be had.
    pub(super) results: Vec<SignalResult>,
    /// Every perpetual the exchange trades; empty: not known.
    pub(super) tradable: BTreeSet<Symbol>,
    /// When this was read, by the exchange's clock.
    pub(super) at: TimeMs,
}

/// What is kept of a series beside the log.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// None: nothing was kept of it yet.
    pub(super) status: Option<SeriesStatus>,
    /// Number of its last change.
    pub(super) last: Seq,
    /// Up to where the log is complete.
    pub(super) base: Option<Base>,
}

impl Account {
    /// How a result stands that is not the one the status was kept with: no longer so live.
    fn status_of(&self, result: &SignalResult) -> SeriesStatus {
        let kept = self.status.filter(|kept| *kept != SeriesStatus::Live);
        kept.unwrap_or(result.status)
    }
}

/// What was heard since the last time.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// New entries of the log, oldest first.
    pub(super) changes: Vec<Arc<Change>>,
    /// Results none of which knows of a change above the log's head.
    pub(super) results: Vec<SignalResult>,
    /// Contracts that came and went.
    pub(super) symbols: Option<(Vec<Symbol>, Vec<Symbol>)>,
    /// Every perpetual the exchange trades, when that is another set.
    pub(super) tradable: Option<Arc<BTreeSet<Symbol>>>,
    pub(super) status: Option<FeedStatus>,
}

impl MemoryStore {
    /// The numbering as it stands, to number on from.
    pub(super) fn ledger(&self) -> Ledger {
        self.inner().log.ledger.clone()
    }

    /// Takes in what was heard of the log it follows.
    pub(super) fn hear(&self, heard: Heard) -> Batch {
        let mut inner = self.inner();
        let held = self.published();
        let mut items = Vec::new();
        let mut results: BTreeMap<SeriesKey, Arc<SignalResult>> = BTreeMap::new();
        for change in heard.changes {
            if !inner.log.follow(&change) {
                continue;
            }
            let key = change.body.key();
            if let Some(result) = results.get(key).or_else(|| held.results.get(key)) {
                results.insert(key.clone(), Arc::new(result.after(&change)));
            }
            items.push(Item::Change(change));
        }
        if let Some((added, removed)) = heard.symbols {
            results.retain(|key, _| !removed.contains(&key.symbol));
            items.push(Item::Symbols { added, removed });
        }
        for result in heard.results {
            let key = result.key();
            // Computed before a change that is here already: the next one will show it.
            if result.change_seq >= inner.log.ledger.last_of(&key).0 {
                results.insert(key, Arc::new(result));
            }
        }
        for (key, result) in results {
            let before = held.results.get(&key);
            tell(&mut inner, before.map(Arc::as_ref), result, &mut items);
        }
        items.extend(heard.tradable.map(Item::Tradable));
        items.extend(heard.status.map(Item::Status));
        drop(held); // else the published state would be copied as a whole
        self.publish(&mut inner, ResetReason::LogLost, items)
    }

    /// Begins anew with a log that was read as a whole.
    pub(super) fn load(&self, loaded: Loaded, reset: ResetReason) -> Batch {
        let mut inner = self.inner();
        inner.log.begin_again(Ledger::new(loaded.epoch));
        let held = self.published();
        // No result of these may be kept any more: of a series that stopped it expires.
        let known = |(key, account): (&SeriesKey, &Account)| {
            let result = match held.results.get(key) {
                Some(result) => result.without_change(),
                None => SignalResult::warming(key, loaded.at),
            };
            let status = account.status_of(&result);
            (key.clone(), SignalResult { status, ..result })
        };
        let mut results: BTreeMap<_, _> = loaded.series.iter().map(known).collect();
        for result in loaded.results {
            results.insert(result.key(), result);
        }
        for change in &loaded.changes {
            inner.log.follow(change);
            if let Some(result) = results.get_mut(change.body.key()) {
                *result = result.after(change);
            }
        }
        // A series that left and came back has a newer base than its last change.
        for (key, account) in &loaded.series {
            let (last, base) = (account.last, account.base);
            inner.log.ledger.restore(key, last, base);
            if let Some(result) = results.get_mut(key) {
                result.change_seq = result.change_seq.max(last); // what is trimmed shows in no result
            }
        }
        if loaded.series.is_empty() {
            // The numbering has just begun: what is watched is still what was watched, and so are its results.
            results.extend(held.results.iter().map(|(key, result)| {
                let result = result.without_change();
                (key.clone(), result)
            }));
        }
        let gone = |key: &&SeriesKey| !results.contains_key(key);
        let removed: Vec<_> = held.results.keys().filter(gone).collect();
        let mut items = Vec::new();
        if !removed.is_empty() {
            let mut removed: Vec<_> = removed.into_iter().map(|key| key.symbol.clone()).collect();
            removed.dedup();
            removed.retain(|symbol| !results.keys().any(|key| key.symbol == *symbol));
            let added = Vec::new();
            items.push(Item::Symbols { added, removed });
        }
        items.extend(results.into_values().map(|result| {
            let began_untold = began_untold(&inner.log.ledger, &result.key());
            Item::Result {
                result: Arc::new(result),
                occasion: if began_untold {
                    Occasion::FirstLive
                } else {
                    Occasion::Status
                },
            }
        }));
        if !loaded.tradable.is_empty() {
            items.push(Item::Tradable(Arc::new(loaded.tradable)));
        }
        self.publish(&mut inner, reset, items)
    }

    /// Numbers by itself from now on, in an epoch of its own; what was told is not told again.
    pub(super) fn number_alone(&self) -> Batch {
        let mut inner = self.inner();
        let epoch = format!("{}.{}", inner.log.epoch(), random_name());
        let ledger = inner.log.ledger.renumbered(Epoch::new(&epoch));
        inner.log.begin_again(ledger);
        let held = self.published();
        let results = held.results.values().map(|result| Item::Result {
            result: Arc::new(result.without_change()),
            occasion: Occasion::Status,
        });
        let items = results.collect();
        self.publish(&mut inner, ResetReason::StoreAway, items)
    }

    /// Where results are kept from now on; readers are told with the next state of the feed.
    pub(super) fn set_state(&self, state: StoreState) {
        self.inner().state = state;
    }
}

/// Whether no change in the log tells that the series became live: its base is newer than its last one.
fn began_untold(ledger: &Ledger, key: &SeriesKey) -> bool {
    let base = ledger.base_of(key).map(|base| base.close_time);
    base.is_some() && base > ledger.last_of(key).1
}

/// Tells a result, and what its coming means: the first live one of a series sets its base.
fn tell(
    inner: &mut Inner,
    before: Option<&SignalResult>,
    result: Arc<SignalResult>,
    items: &mut Vec<Item>,
) {
    let key = result.key();
    let ledger = &mut inner.log.ledger;
    let is_live = result.status == SeriesStatus::Live;
    let first = ledger.base_of(&key).is_none() && is_live;
    if first && let Some(base) = Base::of(&result) {
        ledger.begin(&key, base);
    }
    let ended = result.status == SeriesStatus::Ended
        && before.is_some_and(|before| before.status != SeriesStatus::Ended);
    let occasion = match before {
        _ if first => Occasion::FirstLive,
        Some(before) if before.status != result.status => Occasion::Status,
        Some(before) if before.candle_close_time == result.candle_close_time => Occasion::Update,
        Some(_) | None => Occasion::Close,
    };
    items.push(Item::Result { result, occasion });
    if ended {
        items.push(Item::Ended(key));
    }
}
