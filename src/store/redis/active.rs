//! The engine that holds the lease: numbers its changes by the log, appends them, and keeps Redis' results fresh.
//! Must hold: a change is numbered once. No answer to an append means that nobody knows: the log is asked which of the
//! numbers it has before anything else is written. A result never goes out before the change it shows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::watch;

use super::cache::Cache;
use super::connect::CommandLink;
use super::error::RedisError;
use super::grant::Grant;
use super::keys;
use super::lease::LeaseState;
use super::log::{self, Entry, EntryId, SeriesEntry};
use super::scripts::{self, Burst, Refusal};
use super::settings::RedisSettings;
use super::wire::{Beat, WatchedSeries};
use crate::clock::Mono;
use crate::market::{SeriesKey, SeriesStatus, TimeMs};
use crate::signal::{Change, ChangeBody, FeedState, FeedStatus, StoreState};
use crate::store::Interest;
use crate::store::batch::{Base, Item, Occasion, Write};
use crate::store::burst::Burst as Said;
use crate::store::ledger::Ledger;

/// A new role's first watch list may wait so long for what readers want: what is forgotten with it begins anew.
const WANTS_WITHIN_MS: u64 = 3_000;

/// Why the role cannot be played on as it was.
#[derive(Debug)]
pub(super) enum Setback {
    /// Redis did not answer, or not in time: what was under way stays to be done.
    Away(RedisError),
    /// The lease is another's, or nobody's.
    Fenced,
    /// The log is not what we wrote: it must be read anew.
    LogDiffers(String),
}

impl From<RedisError> for Setback {
    fn from(error: RedisError) -> Self {
        Self::Away(error)
    }
}

/// What the holder of the lease knows and has still to write.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) grant: Grant,
    pub(super) ledger: Ledger,
    pub(super) cache: Cache,
    pub(super) series: BTreeMap<SeriesKey, SeriesEntry>,
    /// Computed and not yet numbered.
    waiting: Vec<ChangeBody>,
    /// Numbered and perhaps appended.
    unanswered: Vec<Arc<Change>>,
    /// Entries of `series` that Redis does not have yet, and those it must forget.
    stale_entries: BTreeSet<SeriesKey>,
    gone_entries: BTreeSet<SeriesKey>,
    status: Option<FeedStatus>,
    /// When the role began.
    since: Mono,
    /// When the engine first had a list in it.
    list_at: Option<Mono>,
    universe: u64,
    /// The series on the list that was written last.
    listed: BTreeSet<SeriesKey>,
}

impl Active {
    pub(super) fn new(
        grant: Grant,
        ledger: Ledger,
        cache: Cache,
        series: BTreeMap<SeriesKey, SeriesEntry>,
        since: Mono,
    ) -> Self {
        Self {
            grant,
            ledger,
            cache,
            series,
            waiting: Vec::new(),
            unanswered: Vec::new(),
            stale_entries: BTreeSet::new(),
            gone_entries: BTreeSet::new(),
            status: None,
            since,
            list_at: None,
            universe: 0,
            listed: BTreeSet::new(),
        }
    }

    /// Takes a burst in; nothing is written yet. True: the state of the feed is another.
    pub(super) fn take(&mut self, writes: Vec<Write>, now: Mono) -> bool {
        let burst = Said::sort(writes);
        self.waiting.extend(burst.changes);
        for item in burst.symbols {
            if let Item::Symbols { removed, .. } = item {
                self.ledger.forget(&removed);
                self.forget(|key| removed.contains(&key.symbol));
            }
        }
        for (symbol, technical) in burst.technical {
            self.cache.take_technical(symbol, technical);
        }
        for (key, (result, occasion)) in burst.results {
            // The engine may know what was told of a series that was forgotten here meanwhile.
            let begins = occasion == Occasion::FirstLive
                || result.status == SeriesStatus::Live && self.ledger.base_of(&key).is_none();
            if begins && let Some(base) = Base::of(&result) {
                self.ledger.begin(&key, base);
                self.stale_entries.insert(key.clone());
            }
            self.note_status(&key, result.status);
            self.cache.offer(result, occasion, now);
        }
        let mut turned = false;
        for item in burst.rest {
            if let Item::Status(status) = item {
                turned |= self.status.is_none_or(|told| told.feed != status.feed);
                self.status = Some(status);
            }
        }
        let stopped = self.status.is_some_and(|s| s.feed == FeedState::Stopped);
        self.cache.freeze(stopped);
        turned
    }

    /// Version of the watch list that was last written.
    pub(super) fn universe(&self) -> u64 {
        self.universe
    }

    /// Whether `list` is the engine's own by now. It has none before it has read what the exchange lists, and of what the
    /// engine before it watched, that which readers want comes onto it once their wants were read anew.
    pub(super) fn may_tell(
        &mut self,
        list: &WatchedSeries,
        interest: &Interest,
        now: Mono,
    ) -> bool {
        if list.series.is_empty() {
            return false;
        }
        let list_at = *self.list_at.get_or_insert(now);
        if self.universe > 0 || now.ms_since(list_at) >= WANTS_WITHIN_MS {
            return true;
        }
        if interest.heard_at().is_none_or(|at| at < self.since) {
            return false;
        }
        let wanted = interest.wanted(now);
        let mut known = self.series.keys();
        known.all(|key| list.series.contains(key) || !wanted.contains(&key.symbol))
    }

    /// Writes the watch list for the hubs; what is no longer on it is forgotten. What is written anew for another reason
    /// forgets nothing: the engine may have begun meanwhile what comes onto the next list.
    pub(super) async fn watch_only(
        &mut self,
        watched: &WatchedSeries,
        version: u64,
        link: &mut CommandLink,
    ) -> Result<(), Setback> {
        let json = serde_json::to_string(watched).unwrap_or_default();
        link.set(keys::UNIVERSE, &json).await?;
        self.universe = version;
        if watched.series != self.listed {
            self.forget(|key| !watched.series.contains(key));
            self.listed.clone_from(&watched.series);
        }
        Ok(())
    }

    /// Appends what waits, then writes the results that are due.
    pub(super) async fn write(
        &mut self,
        link: &mut CommandLink,
        settings: &RedisSettings,
        lease: &watch::Receiver<LeaseState>,
    ) -> Result<(), Setback> {
        if !self.unanswered.is_empty() {
            self.ask_what_was_appended(link).await?;
        }
        self.append(link, settings).await?;
        // Results are not fenced by Redis: the lease must still be surely ours.
        let now = Mono::now();
        if lease.borrow().may_write(now).is_none() {
            return Ok(());
        }
        let writes = self.cache.take_due(now, &self.ledger);
        if !writes.is_empty() {
            link.write_results(&writes, settings.cache_ttl_secs).await?;
        }
        Ok(())
    }

    /// The link is new: whatever the old one was asked to write may be missing.
    pub(super) fn begin_again(&mut self, now: Mono) {
        self.cache.write_all_again(now);
        self.stale_entries.extend(self.series.keys().cloned());
    }

    /// Says that it is there.
    pub(super) async fn beat(
        &self,
        link: &mut CommandLink,
        settings: &RedisSettings,
        time: TimeMs,
        leaving: bool,
    ) -> Result<(), Setback> {
        let beat = Beat {
            engine: self.grant.engine.to_string(),
            epoch: self.ledger.epoch().clone(),
            term: self.grant.term.get(),
            seq: self.ledger.head(),
            time,
            leaving,
            status: self.status.map(|status| FeedStatus {
                store: StoreState::Redis,
                ..status
            }),
            universe: self.universe,
            db: Some(settings.db()),
        };
        let json = serde_json::to_string(&beat).unwrap_or_default();
        link.publish(keys::BEAT, &json).await?;
        Ok(())
    }
}

impl Active {
    fn note_status(&mut self, key: &SeriesKey, status: SeriesStatus) {
        self.gone_entries.remove(key);
        let known = self.series.get(key).map(|entry| entry.status);
        if known == Some(status) {
            return;
        }
        let (change_seq, _) = self.ledger.last_of(key);
        let entry = self.series.entry(key.clone()).or_insert(SeriesEntry {
            status,
            change_seq,
            base: None,
        });
        entry.status = status;
        self.stale_entries.insert(key.clone());
    }

    fn forget(&mut self, gone: impl Fn(&SeriesKey) -> bool) {
        self.cache.forget(&gone);
        let keys: Vec<_> = self
            .series
            .keys()
            .filter(|key| gone(key))
            .cloned()
            .collect();
        for key in keys {
            self.series.remove(&key);
            self.stale_entries.remove(&key);
            self.gone_entries.insert(key);
        }
    }

    /// Numbers what waits and appends it, with the entries of the series that changed.
    async fn append(
        &mut self,
        link: &mut CommandLink,
        settings: &RedisSettings,
    ) -> Result<(), Setback> {
        let bodies = std::mem::take(&mut self.waiting);
        for body in bodies {
            // What came back under a new leave to speak may be told already.
            if let Some(change) = self.ledger.number(body) {
                self.stale_entries.insert(change.body.key().clone());
                self.unanswered.push(change);
            }
        }
        if self.unanswered.is_empty()
            && self.stale_entries.is_empty()
            && self.gone_entries.is_empty()
        {
            return Ok(());
        }
        for key in &self.stale_entries {
            if let Some(entry) = self.series.get_mut(key) {
                entry.change_seq = self.ledger.last_of(key).0;
                entry.base = self.ledger.base_of(key);
            }
        }
        let told: Vec<_> = self
            .stale_entries
            .iter()
            .filter_map(|key| Some((key.clone(), self.series.get(key)?.clone())))
            .collect();
        let forgotten: Vec<_> = self.gone_entries.iter().cloned().collect();
        let burst = Burst {
            epoch: self.ledger.epoch(),
            changes: &self.unanswered,
            told: &told,
            forgotten: &forgotten,
        };
        match scripts::append(link, &self.grant, burst).await? {
            Ok(_tail) => {
                if settings.wait_replicas > 0 && !self.unanswered.is_empty() {
                    link.wait_replicas(settings.wait_replicas).await?;
                }
                self.unanswered.clear();
                self.stale_entries.clear();
                self.gone_entries.clear();
                Ok(())
            }
            Err(Refusal::Fenced { .. }) => Err(Setback::Fenced),
            Err(
                other
                @ (Refusal::OtherEpoch { .. } | Refusal::NotNext { .. } | Refusal::LogMissing),
            ) => Err(Setback::LogDiffers(format!("{other:?}"))),
        }
    }

    /// Which of the numbers that were not answered for are in the log.
    async fn ask_what_was_appended(&mut self, link: &mut CommandLink) -> Result<(), Setback> {
        let Some(first) = self.unanswered.first().map(|change| change.seq) else {
            return Ok(());
        };
        let mut after = EntryId::before(first);
        while !self.unanswered.is_empty() {
            let page = log::read_page(link, after).await?;
            if page.is_empty() {
                break;
            }
            for entry in page {
                after = entry.id();
                self.note_appended(&entry)?;
            }
        }
        Ok(())
    }

    /// One entry at the number of our first change without an answer: ours, or the log is not what we think.
    fn note_appended(&mut self, entry: &Entry) -> Result<(), Setback> {
        let ours = match (entry, self.unanswered.first()) {
            (Entry::Change { term, change, .. }, Some(first)) => {
                *term == self.grant.term && change.body.id() == first.body.id()
            }
            (Entry::Change { .. }, None) | (Entry::Mark { .. }, _) => false,
        };
        if !ours {
            let id = entry.id();
            return Err(Setback::LogDiffers(format!("entry {id} is not ours")));
        }
        self.unanswered.remove(0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::{Interval, Symbol};
    use crate::signal::{Epoch, Seq};
    use crate::store::redis::cache::CacheSettings;
    use crate::store::redis::grant::{EngineId, Term};

    fn key(name: &str) -> SeriesKey {
        SeriesKey::new(Symbol::parse(name).unwrap(), Interval::M15)
    }

    fn list(names: &[&str]) -> WatchedSeries {
        WatchedSeries {
            series: names.iter().map(|name| key(name)).collect(),
            ..WatchedSeries::default()
        }
    }

    /// A role that begins at 10 s, after one whose engine watched A and B.
    fn active() -> Active {
        let grant = Grant {
            engine: EngineId::random(),
            term: Term::new(2),
        };
        let settings = CacheSettings {
            ttl_ms: 300_000,
            interval_ms: 250,
            primary: Interval::M15,
            db: 0,
        };
        let entry = SeriesEntry {
            status: SeriesStatus::Live,
            change_seq: Seq::NONE,
            base: None,
        };
        let series = [key("A"), key("B")].map(|key| (key, entry.clone()));
        let ledger = Ledger::new(Epoch::new("e"));
        Active::new(
            grant,
            ledger,
            Cache::new(settings, 2, Arc::default()),
            BTreeMap::from(series),
            at(10_000),
        )
    }

    fn at(ms: u64) -> Mono {
        Mono::from_ms(ms)
    }

    #[test]
    fn the_first_list_of_a_role_waits_for_what_readers_want_and_not_for_ever() {
        let mut active = active();
        let interest = Interest::default();
        let until = at(600_000);
        interest.hear([], at(9_999));
        let now = at(11_000);
        assert!(!active.may_tell(&list(&[]), &interest, now), "nothing read");
        assert!(
            !active.may_tell(&list(&["A"]), &interest, now),
            "not heard since"
        );
        interest.hear([(key("B"), until)], at(11_500));
        let now = at(12_000);
        assert!(
            !active.may_tell(&list(&["A"]), &interest, now),
            "B is on its way"
        );
        assert!(active.may_tell(&list(&["A", "B"]), &interest, now));
        assert!(
            active.may_tell(&list(&["B"]), &interest, now),
            "nobody wants A"
        );
        assert!(!active.may_tell(&list(&["A"]), &interest, at(13_999)));
        assert!(active.may_tell(&list(&["A"]), &interest, at(14_000)), "3 s");
    }

    #[test]
    fn a_list_that_was_read_late_has_the_same_time_for_what_readers_want() {
        let mut active = active();
        let interest = Interest::default();
        assert!(!active.may_tell(&list(&[]), &interest, at(30_000)));
        assert!(!active.may_tell(&list(&["A"]), &interest, at(40_000)));
        assert!(active.may_tell(&list(&["A"]), &interest, at(43_000)));
    }
}
