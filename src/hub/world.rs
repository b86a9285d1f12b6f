//! A shard's own copy of the series' state: newest results, last changes, the newest part of the log.
//! Batches are its only input, so that what a snapshot shows, and which changes follow it, is decided in one place.
//! A change is taken once, by its number; a new epoch empties everything numbered.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::items::{self, At};
use super::topic::Topic;
use crate::market::{Interval, SeriesKey, Symbol, TimeMs};
use crate::signal::{Change, Epoch, FeedStatus, Seq, SignalResult};
use crate::store::{Batch, Item, Occasion, Published};

/// A change with its item, written once for all readers.
#[derive(Debug)]
pub(super) struct Logged {
    pub(super) change: Arc<Change>,
    pub(super) item: Bytes,
}

impl Logged {
    pub(super) fn new(change: Arc<Change>) -> Self {
        let item = items::change(&change);
        Self { change, item }
    }
}

/// The newest result of a series, written at most once however many ask.
#[derive(Debug)]
pub(super) struct Newest {
    result: Arc<SignalResult>,
    body: OnceCell<Bytes>,
}

impl Newest {
    fn new(result: Arc<SignalResult>) -> Self {
        Self {
            result,
            body: OnceCell::new(),
        }
    }

    /// The same, its last change forgotten: that was a number of another epoch.
    fn without_change(&self) -> Self {
        Self::new(Arc::new(self.result.without_change()))
    }

    /// The result's fields as JSON, without the opening brace.
    pub(super) fn body(&self) -> &Bytes {
        self.body.get_or_init(|| items::body(&self.result))
    }
}

/// Something of which subscribers hear in order.
#[derive(Debug)]
pub(super) enum Event {
    Change(Arc<Logged>),
    /// The series became live for the first time: its item is a snapshot.
    FirstLive(SeriesKey, Bytes),
    /// The series is watched no longer although it trades: a snapshot says that nothing is known of it.
    Left(SeriesKey, Bytes),
    Ended(SeriesKey, Bytes),
    Symbols(Bytes),
}

impl Event {
    /// Whether it belongs to the numbering: a change, or a snapshot with the cursor.
    pub(super) const fn is_numbered(&self) -> bool {
        match self {
            Self::Change(_) | Self::FirstLive(..) | Self::Left(..) => true,
            Self::Ended(..) | Self::Symbols(_) => false,
        }
    }

    /// The item to send.
    pub(super) fn item(&self) -> &Bytes {
        match self {
            Self::Change(logged) => &logged.item,
            Self::FirstLive(_, item)
            | Self::Left(_, item)
            | Self::Ended(_, item)
            | Self::Symbols(item) => item,
        }
    }
}

/// What happened since the last flush.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) events: Vec<Event>,
    /// Series with a new result.
    pub(super) results: BTreeSet<SeriesKey>,
    /// Whether the state of the feed is another.
    pub(super) status: bool,
}

/// The state itself.
#[derive(Debug)]
pub(super) struct World {
    epoch: Epoch,
    head: Seq,
    series: BTreeMap<SeriesKey, Newest>,
    last_change: HashMap<SeriesKey, Seq>,
    /// The head when a series became live for the first time in this epoch, or since it came back; the head of the log
    /// as it was loaded, where no change in it tells that.
    begun: BTreeMap<SeriesKey, Seq>,
    recent: VecDeque<Arc<Logged>>,
    kept: usize,
    /// Every perpetual the exchange trades; empty: not known yet.
    tradable: Arc<BTreeSet<Symbol>>,
    pub(super) status: FeedStatus,
    /// Counts batches: what was built from one version holds for it.
    version: u64,
}

impl World {
    /// The published state; batches go on from there.
    pub(super) fn new(published: &Published, kept: usize) -> Self {
        let mut world = Self {
            epoch: published.epoch.clone(),
            head: published.seq,
            series: BTreeMap::new(),
            last_change: HashMap::new(),
            begun: BTreeMap::new(),
            recent: VecDeque::new(),
            kept: kept.max(1),
            tradable: published.tradable.clone(),
            status: published.status,
            version: 0,
        };
        for (key, result) in &published.results {
            world.last_change.insert(key.clone(), result.change_seq);
            world
                .series
                .insert(key.clone(), Newest::new(result.clone()));
        }
        world
    }

    /// The numbering and the newest number taken.
    pub(super) fn at(&self) -> At<'_> {
        At {
            epoch: &self.epoch,
            seq: self.head,
        }
    }

    pub(super) fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    pub(super) fn head(&self) -> Seq {
        self.head
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Whether it is known what is watched and what else trades: before that no name is known to be wrong.
    pub(super) fn is_loaded(&self) -> bool {
        !self.series.is_empty() && !self.tradable.is_empty()
    }

    /// The newest result of a series, none when it is not watched.
    pub(super) fn newest(&self, key: &SeriesKey) -> Option<&Newest> {
        self.series.get(key)
    }

    /// The newest result of a series as JSON without the opening brace; of one that is not watched yet that it warms up.
    pub(super) fn body_of(&self, key: &SeriesKey, now: TimeMs) -> Bytes {
        match self.newest(key) {
            Some(newest) => newest.body().clone(),
            None => items::body(&SignalResult::warming(key, now)),
        }
    }

    /// Whether it may be had beside the watch list: it trades, and the list itself is known.
    pub(super) fn may_be_asked_for(&self, symbol: &Symbol) -> bool {
        self.is_loaded() && self.tradable.contains(symbol)
    }

    /// Every perpetual the exchange trades.
    pub(super) fn tradable(&self) -> &Arc<BTreeSet<Symbol>> {
        &self.tradable
    }

    /// Series that became live for the first time when the head was `since`, or later.
    pub(super) fn begun_since(&self, since: Seq) -> impl Iterator<Item = &SeriesKey> {
        let begun = self.begun.iter().filter(move |(_, at)| **at >= since);
        begun.map(|(key, _)| key)
    }

    /// Every series of an interval, by symbol.
    pub(super) fn of_interval(
        &self,
        interval: Interval,
    ) -> impl Iterator<Item = (&SeriesKey, &Newest)> {
        self.series
            .iter()
            .filter(move |(key, _)| key.interval == interval)
    }

    /// The newest change of the topic's series.
    pub(super) fn last_change_of(&self, topic: &Topic) -> Seq {
        match topic {
            Topic::Signal(key) | Topic::Hama(key) => {
                self.last_change.get(key).copied().unwrap_or(Seq::NONE)
            }
            Topic::SignalAll(_) | Topic::HamaAll(_) => self
                .last_change
                .iter()
                .filter(|(key, _)| topic.matches(key))
                .map(|(_, seq)| *seq)
                .max()
                .unwrap_or(Seq::NONE),
            Topic::Status => Seq::NONE,
        }
    }

    /// The changes after `since`, oldest first; none when they are not all in memory.
    pub(super) fn recent_after(&self, since: Seq) -> Option<impl Iterator<Item = &Arc<Logged>>> {
        let first = self
            .recent
            .front()
            .map_or(self.head.next(), |l| l.change.seq);
        (since.next() >= first || since >= self.head).then(|| {
            let at = self.recent.partition_point(|l| l.change.seq <= since);
            self.recent.range(at..)
        })
    }

    /// The next batch does not go on from here: what is in memory must not be taken for all there is up to the head.
    pub(super) fn forget_recent(&mut self) {
        self.recent.clear();
    }

    /// Takes a batch in. What its readers must hear of is added to `news`.
    pub(super) fn apply(&mut self, batch: &Batch, news: &mut News) {
        self.version += 1;
        if batch.epoch != self.epoch {
            self.epoch = batch.epoch.clone();
            self.head = Seq::NONE;
            self.last_change.clear();
            self.begun.clear();
            self.recent.clear();
            for newest in self.series.values_mut() {
                *newest = newest.without_change();
            }
        }
        for item in &batch.items {
            match item {
                Item::Change(change) => self.take_change(change, news),
                Item::Result { result, occasion } => {
                    self.take_result(result, *occasion, batch.head, news);
                }
                Item::Ended(key) => news
                    .events
                    .push(Event::Ended(key.clone(), items::ended(key))),
                Item::Symbols { added, removed } => self.take_symbols(added, removed, news),
                Item::Tradable(tradable) => self.tradable = tradable.clone(),
                Item::Status(status) => {
                    news.status |= differs(&self.status, status);
                    self.status = *status;
                }
            }
        }
        self.head = self.head.max(batch.head);
    }

    fn take_change(&mut self, change: &Arc<Change>, news: &mut News) {
        if change.seq <= self.head {
            return; // in the published state we began with
        }
        self.head = change.seq;
        self.last_change
            .insert(change.body.key().clone(), change.seq);
        let logged = Arc::new(Logged::new(change.clone()));
        if self.recent.len() >= self.kept {
            self.recent.pop_front();
        }
        self.recent.push_back(logged.clone());
        news.events.push(Event::Change(logged));
    }

    fn take_result(
        &mut self,
        result: &Arc<SignalResult>,
        occasion: Occasion,
        head: Seq,
        news: &mut News,
    ) {
        let key = result.key();
        let newest = Newest::new(result.clone());
        match occasion {
            Occasion::FirstLive => {
                let at = At {
                    seq: head.max(self.head),
                    ..self.at()
                };
                let item = [items::snapshot_head(at).as_bytes(), newest.body()].concat();
                self.begun.insert(key.clone(), at.seq);
                news.events.push(Event::FirstLive(key.clone(), item.into()));
            }
            Occasion::Update | Occasion::Close | Occasion::Status | Occasion::Sweep => {}
        }
        // Whose changes were told before we began to listen is known by its result alone.
        let last = self.last_change.entry(key.clone()).or_default();
        *last = result.change_seq.max(*last);
        self.series.insert(key.clone(), newest);
        news.results.insert(key);
    }

    fn take_symbols(&mut self, added: &[Symbol], removed: &[Symbol], news: &mut News) {
        self.series.retain(|key, _| !removed.contains(&key.symbol));
        self.begun.retain(|key, _| !removed.contains(&key.symbol));
        news.results.retain(|key| !removed.contains(&key.symbol));
        let item = items::symbols(added, removed);
        news.events.push(Event::Symbols(item));
    }
}

/// Whether readers are told at once: the lag moves all the time and waits for the next heartbeat.
fn differs(a: &FeedStatus, b: &FeedStatus) -> bool {
    (a.feed, a.store, a.series, a.simulated) != (b.feed, b.store, b.series, b.simulated)
        || a.speed.to_bits() != b.speed.to_bits()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::{SeriesStatus, TimeMs};
    use crate::store::ResetReason;

    #[test]
    fn a_log_read_as_a_whole_tells_by_its_results_who_has_missed_something() {
        let key = SeriesKey::new(Symbol::parse("BTCUSDT").unwrap(), Interval::M15);
        let mut world = World::new(&Published::empty(Epoch::new("before")), 10);
        let result = SignalResult {
            status: SeriesStatus::Live,
            change_seq: Seq::new(7),
            ..SignalResult::warming(&key, TimeMs::new(0))
        };
        let item = Item::Result {
            result: Arc::new(result),
            occasion: Occasion::Status,
        };
        let loaded = Batch {
            reset: ResetReason::LogLost,
            epoch: Epoch::new("now"),
            head: Seq::new(9),
            items: vec![item],
        };
        world.apply(&loaded, &mut News::default());
        for topic in [Topic::Signal(key), Topic::SignalAll(Interval::M15)] {
            assert_eq!(world.last_change_of(&topic), Seq::new(7));
        }
        assert_eq!(world.begun_since(Seq::new(0)).count(), 0);
    }

    #[test]
    fn what_began_untold_before_the_log_was_loaded_is_owed_to_every_cursor_in_it() {
        let key = SeriesKey::new(Symbol::parse("BTCUSDT").unwrap(), Interval::M15);
        let mut world = World::new(&Published::empty(Epoch::new("before")), 10);
        let loaded = Batch {
            reset: ResetReason::LogLost,
            epoch: Epoch::new("now"),
            head: Seq::new(9),
            items: vec![Item::Result {
                result: Arc::new(SignalResult::warming(&key, TimeMs::new(0))),
                occasion: Occasion::FirstLive,
            }],
        };
        let mut news = News::default();
        world.apply(&loaded, &mut news);
        for since in [1, 9] {
            let begun: Vec<_> = world.begun_since(Seq::new(since)).collect();
            assert_eq!(begun, [&key], "since {since}");
        }
        assert_eq!(world.begun_since(Seq::new(10)).count(), 0);
        let item = String::from_utf8_lossy(news.events[0].item()).into_owned();
        assert!(item.contains(r#""seq":9"#), "{item}");
    }
}
