//! Opening the reading side: subscribe first, then read the log and every result, so that nothing falls between.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::answers::Answers;
use super::bus::Bus;
use super::connect::{BlockingLink, CommandLink, PubSubLink};
use super::error::RedisError;
use super::keys;
use super::log::{self, Entry, EntryId, SeriesEntry};
use super::settings::RedisSettings;
use super::wire::{Rev, WatchedSeries, read_result};
use crate::market::{SeriesKey, TimeMs};
use crate::signal::{Change, ChangeId, Epoch, Seq, SignalResult};
use crate::store::mirror::{Account, Loaded};
use crate::tasks::Tasks;

/// Results asked for in one MGET.
const RESULTS_AT_ONCE: usize = 500;

/// Where a reader of the log stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Position {
    pub(super) epoch: Epoch,
    pub(super) seq: Seq,
    /// Identity of the change with that number; none for 0.
    pub(super) id: Option<ChangeId>,
}

/// How the log compares with what we hold.
#[derive(Debug)]
pub(super) enum Log {
    /// It goes on from there.
    Same(Vec<Arc<Change>>),
    /// It is another, or all too far ahead.
    Anew(Loaded),
    /// There is none yet.
    Missing,
    /// It ends before what we hold, or says something else there: its tail was lost.
    TailLost { tail: Seq },
}

impl Log {
    /// Where its tail is to be followed from; none when there is nothing to follow.
    fn read_up_to(&self, held: Option<Position>) -> Option<(Epoch, Seq)> {
        match self {
            Self::Same(changes) => changes
                .last()
                .map(|change| (change.epoch.clone(), change.seq))
                .or(held.map(|held| (held.epoch, held.seq))),
            Self::Anew(loaded) => {
                let seq = loaded.changes.last().map_or(Seq::NONE, |change| change.seq);
                Some((loaded.epoch.clone(), seq))
            }
            Self::Missing | Self::TailLost { .. } => None,
        }
    }
}

/// An open reading side.
pub(super) struct Dialed {
    pub(super) log: Log,
    pub(super) results: BTreeMap<SeriesKey, (Rev, SignalResult)>,
    pub(super) watched: WatchedSeries,
    pub(super) entries: mpsc::Receiver<LogNews>,
    pub(super) bus: Arc<Bus>,
    pub(super) link: CommandLink,
    /// Ends the tasks behind it, also where nobody takes what was dialed.
    pub(super) stop: DropGuard,
}

/// What the tail of the log says.
#[derive(Debug)]
pub(super) enum LogNews {
    /// A read of the tail came back, with these.
    Read(Vec<Arc<Change>>),
    /// The connection is gone, or the log is another one.
    Over,
}

/// What dialing needs.
#[derive(Debug, Clone)]
pub(super) struct Dialer {
    pub(super) settings: RedisSettings,
    pub(super) answers: Arc<Answers>,
    pub(super) tasks: Tasks,
}

/// Bursts of entries that may wait: full, the reader of the log waits, and Redis keeps the rest.
const ENTRIES_QUEUE: usize = 16;

impl Dialer {
    /// Opens the three links, reads what there is, and starts the tasks that go on reading.
    pub(super) async fn dial(&self, held: Option<Position>) -> Result<Dialed, RedisError> {
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        let bus_link = PubSubLink::open(
            &self.settings,
            &[keys::UPDATES_OF_ALL],
            &[keys::BEAT, self.answers.channel()],
        )
        .await?;
        let bus = Arc::new(Bus::new(self.settings.db()));
        let drain = bus
            .clone()
            .drain(bus_link, self.answers.clone(), stop.clone());
        self.tasks.spawn_short("redis bus", drain);
        let mut link = CommandLink::open(&self.settings).await?;
        if held.is_none() {
            for warning in link.warnings().await? {
                tracing::warn!(redis = %self.settings.at(), %warning, "this Redis may lose signals");
            }
        }
        let series = log::read_series(&mut link).await?;
        let log = read_log(&mut link, held.as_ref(), &series).await?;
        let mut results = read_results(&mut link, series.keys()).await?;
        for (key, (_, result)) in &mut results {
            if let Some(entry) = series.get(key) {
                result.status = entry.status; // of a series that stopped no result is kept
            }
        }
        let watched = match link.get(keys::UNIVERSE).await? {
            Some(json) => serde_json::from_slice(&json).unwrap_or_default(),
            None => WatchedSeries::default(),
        };
        let from = log.read_up_to(held);
        let (sender, entries) = mpsc::channel(ENTRIES_QUEUE);
        if let Some((epoch, seq)) = from {
            let reader = LogReader {
                link: link.clone(),
                epoch,
                seq,
                sender,
            };
            let blocking = BlockingLink::open(&self.settings).await?;
            let stop = stop.clone();
            self.tasks.spawn_short("redis log", async move {
                tokio::select! {
                    () = reader.run(blocking) => {}
                    () = stop.cancelled() => {}
                }
            });
        }
        Ok(Dialed {
            log,
            results,
            watched,
            entries,
            bus,
            link,
            stop: guard,
        })
    }
}

/// Reads the results of all these series; keys that expired are left out.
pub(super) async fn read_results<'a>(
    link: &mut CommandLink,
    series: impl Iterator<Item = &'a SeriesKey>,
) -> Result<BTreeMap<SeriesKey, (Rev, SignalResult)>, RedisError> {
    let keys: Vec<String> = series.map(keys::result).collect();
    let mut results = BTreeMap::new();
    for chunk in keys.chunks(RESULTS_AT_ONCE) {
        for json in link.mget(chunk).await?.into_iter().flatten() {
            match read_result(&json) {
                Ok((rev, result)) => {
                    results.insert(result.key(), (rev, result));
                }
                Err(error) => tracing::warn!(%error, "a cached result cannot be read"),
            }
        }
    }
    Ok(results)
}

async fn read_log(
    link: &mut CommandLink,
    held: Option<&Position>,
    series: &BTreeMap<SeriesKey, SeriesEntry>,
) -> Result<Log, RedisError> {
    let Some(tail) = log::tail(link).await? else {
        return Ok(Log::Missing);
    };
    if let Some(held) = held.filter(|held| held.epoch == tail.epoch) {
        if tail.seq < held.seq {
            return Ok(Log::TailLost { tail: tail.seq });
        }
        let there = match held.seq {
            Seq::NONE => None,
            seq => log::entry_at(link, EntryId::Change(seq)).await?,
        };
        let same = there.as_ref().and_then(|entry| match entry {
            Entry::Change { change, .. } => Some(change.body.id()),
            Entry::Mark { .. } => None,
        });
        if same == held.id {
            let after = EntryId::before(held.seq.next());
            let changes = read_all(link, after).await?;
            // Before the first change there is no entry whose absence would tell that more are gone.
            let goes_on = |first: &Arc<Change>| first.seq == held.seq.next();
            if changes.first().is_none_or(goes_on) {
                return Ok(Log::Same(changes));
            }
        } else if there.is_some() {
            return Ok(Log::TailLost { tail: tail.seq });
        }
        // Trimmed meanwhile: we were away for more changes than are kept.
    }
    let changes = read_all(link, EntryId::Start).await?;
    let series = series.iter().map(|(key, entry)| {
        let account = Account {
            status: Some(entry.status),
            last: entry.change_seq,
            base: entry.base,
        };
        (key.clone(), account)
    });
    Ok(Log::Anew(Loaded {
        epoch: tail.epoch,
        changes,
        series: series.collect(),
        results: Vec::new(),
        tradable: BTreeSet::new(),
        at: TimeMs::default(),
    }))
}

/// Every change after `after`, oldest first.
pub(super) async fn read_all(
    link: &mut CommandLink,
    mut after: EntryId,
) -> Result<Vec<Arc<Change>>, RedisError> {
    let mut changes = Vec::new();
    loop {
        let page = log::read_page(link, after).await?;
        let Some(last) = page.last() else {
            return Ok(changes);
        };
        after = last.id();
        changes.extend(page.into_iter().filter_map(change_of));
    }
}

fn change_of(entry: Entry) -> Option<Arc<Change>> {
    match entry {
        Entry::Change { change, .. } => Some(change),
        Entry::Mark { .. } => None,
    }
}

/// Follows the tail of the log on a connection of its own.
struct LogReader {
    link: CommandLink,
    epoch: Epoch,
    seq: Seq,
    sender: mpsc::Sender<LogNews>,
}

impl LogReader {
    async fn run(mut self, mut blocking: BlockingLink) {
        while let Ok((link, entries)) =
            log::read_after(blocking, EntryId::before(self.seq.next())).await
        {
            blocking = link;
            let Some(changes) = self.next(entries).await else {
                break;
            };
            if self.sender.send(LogNews::Read(changes)).await.is_err() {
                return;
            }
        }
        // Who works may be gone already.
        let _ = self.sender.send(LogNews::Over).await;
    }

    /// The changes that were read; none when the log is another one.
    async fn next(&mut self, entries: Vec<Entry>) -> Option<Vec<Arc<Change>>> {
        let changes: Vec<_> = entries.into_iter().filter_map(change_of).collect();
        for change in &changes {
            if change.epoch != self.epoch || change.seq != self.seq.next() {
                return None;
            }
            self.seq = change.seq;
        }
        if changes.is_empty() {
            // Silence may also mean that the log was begun anew below our number.
            let tail = log::tail(&mut self.link).await.ok()??;
            let same = tail.epoch == self.epoch && tail.seq >= self.seq;
            return same.then_some(changes);
        }
        Some(changes)
    }
}
