//! Resume: the changes a reader missed, in order, then `live`, then what happened meanwhile, then the common way.
//! A replaying connection is in no group: the log itself is the queue of its live changes, so nothing waits in memory
//! for it however slow its socket, and no number can pass another. Pieces are made as the socket takes them.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::build::{Builder, Joined};
use super::close::CloseReason;
use super::items;
use super::protocol::Cursor;
use super::session::{Session, SessionId};
use super::shard::Shard;
use super::topic::Topic;
use super::topics::{TopicId, Topics};
use super::world::{Event, News};
use crate::market::SeriesKey;
use crate::signal::{Change, Seq};
use crate::store::ChangeFilter;

/// Changes of one piece: about 16 KiB.
const PIECE: usize = 32;

/// A change of the log and, when it is still in the hub's memory, its item.
#[derive(Debug, Clone)]
pub(super) struct Missed {
    change: Arc<Change>,
    item: Option<Bytes>,
}

impl Missed {
    fn item(&self) -> Bytes {
        self.item
            .clone()
            .unwrap_or_else(|| items::change(&self.change))
    }
}

/// How far a replay is.
#[derive(Debug)]
enum Stage {
    /// Changes the new streams missed, up to the head at the SUBSCRIBE.
    Missed { left: VecDeque<Missed>, until: Seq },
    /// Their `live` is sent; what happened since, on all streams, from this number on.
    CatchUp { position: Seq },
}

/// A connection's replay.
#[derive(Debug)]
pub(super) struct Replay {
    stage: Stage,
    /// Streams that resume.
    streams: BTreeSet<TopicId>,
    /// Numbered streams asked for, which get `live`.
    lives: Vec<TopicId>,
    /// Streams asked for with them that have no numbers: their snapshot comes once the log is caught up with.
    later: Vec<Topic>,
    /// Series that became live for the first time meanwhile: their snapshot is owed.
    first_live: BTreeSet<SeriesKey>,
    /// Items that came meanwhile and have no number.
    unnumbered: Vec<(Topic, Bytes)>,
}

impl Replay {
    /// The number up to which everything has been queued; none before `live`.
    pub(super) fn position(&self) -> Option<Seq> {
        match self.stage {
            Stage::Missed { .. } => None,
            Stage::CatchUp { position } => Some(position),
        }
    }
}

/// What becomes of a `since`.
#[derive(Debug)]
pub(super) enum Plan {
    /// The log has not been read that far yet.
    Wait,
    /// Not possible, for this reason: the snapshot is the truth.
    Anew(&'static str),
    /// These changes, oldest first.
    Replay(Vec<Missed>),
}

impl Shard {
    /// Whether and what `topics` can resume from `since`.
    pub(super) fn plan(&self, topics: &[Topic], since: &Cursor) -> Plan {
        let head = self.world.head();
        if since.epoch != *self.world.epoch() {
            return Plan::Anew("epoch");
        }
        if since.seq > head {
            let published = self.store.published();
            let known = published.epoch == since.epoch && since.seq <= published.seq;
            return if known {
                Plan::Wait
            } else {
                Plan::Anew("ahead")
            };
        }
        let newest = topics.iter().map(|topic| self.world.last_change_of(topic));
        if newest.max().unwrap_or(Seq::NONE) <= since.seq {
            return Plan::Replay(Vec::new());
        }
        let matches = |change: &Change| topics.iter().any(|t| t.matches(change.body.key()));
        match self.log_after(since.seq, matches) {
            None => Plan::Anew("too_old"),
            Some(missed) if missed.len() > self.settings.limits.replay_max => {
                Plan::Anew("too_many")
            }
            Some(missed) => Plan::Replay(missed),
        }
    }

    /// Matching changes after `since` up to the head; none when the log does not reach back that far. One more than
    /// a replay may have is enough to know.
    fn log_after(&self, since: Seq, matches: impl Fn(&Change) -> bool) -> Option<Vec<Missed>> {
        let enough = self.settings.limits.replay_max.saturating_add(1);
        if let Some(recent) = self.world.recent_after(since) {
            let matching = recent.filter(|logged| matches(&logged.change));
            let missed = matching.take(enough).map(|logged| Missed {
                change: logged.change.clone(),
                item: Some(logged.item.clone()),
            });
            return Some(missed.collect());
        }
        let page = self
            .store
            .changes(since, usize::MAX, &ChangeFilter::default())
            .ok()?;
        if page.epoch != *self.world.epoch() || since.next() < page.kept_from {
            return None;
        }
        let head = self.world.head();
        let known = page.changes.into_iter().take_while(|c| c.seq <= head);
        let matching = known.filter(|change| matches(change));
        let missed = matching
            .take(enough)
            .map(|change| Missed { change, item: None });
        Some(missed.collect())
    }

    /// Begins: the session leaves its group until the log is caught up with.
    pub(super) fn begin_replay(
        &mut self,
        id: SessionId,
        missed: Vec<Missed>,
        topics: Vec<Topic>,
        streams: BTreeSet<TopicId>,
    ) {
        let (numbered, later): (Vec<_>, Vec<_>) = topics.into_iter().partition(Topic::is_numbered);
        let replay = Replay {
            stage: Stage::Missed {
                left: missed.into(),
                until: self.world.head(),
            },
            streams,
            lives: numbered.iter().filter_map(|t| self.topics.id(t)).collect(),
            later,
            first_live: BTreeSet::new(),
            unnumbered: Vec::new(),
        };
        if let Some(session) = self.sessions.get_mut(id) {
            session.replay = Some(Box::new(replay));
            self.replaying.insert(id);
            self.regroup(id);
        }
    }

    /// Makes the replay's next piece, or ends it. False: the session is gone.
    pub(super) fn replay_on(&mut self, id: SessionId) -> bool {
        let Some(session) = self.sessions.get_mut(id) else {
            return false;
        };
        let Some(replay) = session.replay.as_mut() else {
            return false;
        };
        match &mut replay.stage {
            Stage::Missed { left, until } => {
                let until = *until;
                let piece: Vec<Missed> = left.drain(..left.len().min(PIECE)).collect();
                if piece.is_empty() {
                    self.send_lives(id, until);
                    return true;
                }
                let streams = replay.streams.intersection(&session.topics).copied();
                let streams: BTreeSet<TopicId> = streams.collect();
                let bytes = piece_bytes(&self.topics, session, &piece, &streams);
                session.outbox.next(bytes);
                true
            }
            Stage::CatchUp { position } if *position < self.world.head() => {
                let position = *position;
                self.catch_up(id, position);
                true
            }
            Stage::CatchUp { .. } => {
                self.end_replay(id);
                true
            }
        }
    }

    fn send_lives(&mut self, id: SessionId, until: Seq) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let Some(replay) = session.replay.as_mut() else {
            return;
        };
        let at = items::At {
            seq: until,
            ..self.world.at()
        };
        let mut builder = Builder::new(&self.topics, session.form);
        for topic in replay.lives.iter().filter(|t| session.topics.contains(t)) {
            builder.one(*topic, &items::live(at));
        }
        replay.stage = Stage::CatchUp { position: until };
        session.outbox.next(builder.finish().bytes);
    }

    fn catch_up(&mut self, id: SessionId, position: Seq) {
        let piece: Option<Vec<Missed>> = match self.world.recent_after(position) {
            Some(recent) => Some(
                recent
                    .take(PIECE)
                    .map(|logged| Missed {
                        change: logged.change.clone(),
                        item: Some(logged.item.clone()),
                    })
                    .collect(),
            ),
            None => self.page_after(position),
        };
        let reached = piece.as_ref().and_then(|piece| piece.last());
        let (Some(piece), Some(reached)) = (&piece, reached.map(|last| last.change.seq)) else {
            // Even the store's log has forgotten what this reader has not taken yet.
            let slow = CloseReason::Slow {
                bytes: 0,
                oldest_ms: 0,
            };
            return self.close(id, &slow);
        };
        if let Some(session) = self.sessions.get_mut(id)
            && let Some(replay) = session.replay.as_mut()
        {
            replay.stage = Stage::CatchUp { position: reached };
            let bytes = piece_bytes(&self.topics, session, piece, &session.topics);
            session.outbox.next(bytes);
        }
    }

    fn page_after(&self, position: Seq) -> Option<Vec<Missed>> {
        let page = self
            .store
            .changes(position, PIECE, &ChangeFilter::default())
            .ok()?;
        let missed = page.changes.into_iter();
        Some(missed.map(|change| Missed { change, item: None }).collect())
    }

    /// The log is caught up with: what is owed, then the common way, then what waited behind the replay.
    fn end_replay(&mut self, id: SessionId) {
        self.replaying.remove(&id);
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let Some(replay) = session.replay.take() else {
            return;
        };
        let form = session.form;
        let mut builder = Builder::new(&self.topics, form);
        for key in &replay.first_live {
            let Some(newest) = self.world.newest(key) else {
                continue;
            };
            let head = items::snapshot_head(self.world.at());
            let item = [head.as_bytes(), newest.body()].concat();
            for topic in signal_topics(&self.topics, key) {
                if session.topics.contains(&topic) {
                    builder.one(topic, &item);
                }
            }
        }
        let hears_status = session.hears_status(self.topics.id(&Topic::Status));
        for (topic, item) in &replay.unnumbered {
            if *topic == Topic::Status {
                if hears_status {
                    builder.symbols(item);
                }
            } else if let Some(topic) = self.topics.id(topic)
                && session.topics.contains(&topic)
            {
                builder.one(topic, item);
            }
        }
        let owed = builder.finish().bytes;
        if !owed.is_empty() {
            session.outbox.push(owed);
        }
        self.push_snapshots(id, &replay.later);
        self.regroup(id);
        self.go_on(id);
    }

    /// What has no number and happens while sessions replay is remembered for them.
    pub(super) fn note_for_replaying(&mut self, news: &News) {
        if self.replaying.is_empty() {
            return;
        }
        let topics = &self.topics;
        for id in &self.replaying {
            let Some(session) = self.sessions.get_mut(*id) else {
                continue;
            };
            note_results(topics, session, news);
            let Some(replay) = session.replay.as_mut() else {
                continue;
            };
            for event in &news.events {
                match event {
                    Event::Change(_) => {}
                    Event::FirstLive(key, _) => {
                        replay.first_live.insert(key.clone());
                    }
                    Event::Ended(key, item) => replay.unnumbered.extend([
                        (Topic::Signal(key.clone()), item.clone()),
                        (Topic::Hama(key.clone()), item.clone()),
                    ]),
                    Event::Symbols(item) => {
                        replay.unnumbered.push((Topic::Status, item.clone()));
                    }
                }
            }
        }
    }

    /// Marks something on every replaying session.
    pub(super) fn owe_replaying(&mut self, mark: impl Fn(&mut Session)) {
        for id in &self.replaying {
            if let Some(session) = self.sessions.get_mut(*id) {
                mark(session);
            }
        }
    }
}

fn note_results(topics: &Topics, session: &mut Session, news: &News) {
    for key in &news.results {
        let own = topics.id(&Topic::Hama(key.clone()));
        if let Some(topic) = own.filter(|topic| session.topics.contains(topic)) {
            session.outbox.results.insert(topic);
        }
        let all = topics.id(&Topic::HamaAll(key.interval));
        if let Some(topic) = all.filter(|topic| session.topics.contains(topic)) {
            let keys = session.outbox.arrays.entry(topic).or_default();
            keys.insert(key.clone());
        }
    }
}

fn signal_topics(topics: &Topics, key: &SeriesKey) -> impl Iterator<Item = TopicId> {
    let both = [Topic::SignalAll(key.interval), Topic::Signal(key.clone())];
    both.map(|topic| topics.id(&topic)).into_iter().flatten()
}

/// The changes of a piece, framed for those of the session's streams.
fn piece_bytes(
    topics: &Topics,
    session: &Session,
    piece: &[Missed],
    streams: &BTreeSet<TopicId>,
) -> Bytes {
    let items: Vec<Bytes> = piece.iter().map(Missed::item).collect();
    let mut touches = Vec::new();
    for (index, missed) in piece.iter().enumerate() {
        let of_change = signal_topics(topics, missed.change.body.key());
        touches.extend(
            of_change
                .filter(|t| streams.contains(t))
                .map(|t| (index, t)),
        );
    }
    let mut builder = Builder::new(topics, session.form);
    builder.changes(&touches, |index| &items[index], &mut Joined::new());
    builder.finish().bytes
}
