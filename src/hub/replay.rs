//! Resume: the changes a reader missed, in order, then `live`, then what happened meanwhile, then the common way.
//! A replaying connection is in no group: the log itself is the queue of its live changes, so nothing waits in memory
//! for it however slow its socket, and no number can pass another. Pieces are read and made as the socket takes them.
//! A cursor the log has not reached yet is held the same way: nothing with a number is sent meanwhile.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::build::Builder;
use super::close::CloseReason;
use super::items;
use super::protocol::{Ask, Cursor, Request};
use super::read_log::Piece;
use super::session::{Session, SessionId};
use super::shard::{Shard, later};
use super::topic::Topic;
use super::topics::{TopicId, Topics};
use super::world::{Event, News};
use crate::clock::Mono;
use crate::market::SeriesKey;
use crate::signal::Seq;

/// How far a replay is.
#[derive(Debug)]
enum Stage {
    /// The log has not been read up to the request's cursor. The connection's own streams stopped at `position`.
    Ahead {
        request: Request,
        since: Cursor,
        position: Seq,
        give_up_at: Mono,
    },
    /// Changes the new streams missed, after `position`.
    Missed { position: Seq, until: Seq },
    /// Their `live` is sent; what happened since, on all streams, after `position`.
    CatchUp { position: Seq },
}

/// A connection's replay.
#[derive(Debug)]
pub(super) struct Replay {
    stage: Stage,
    resumed: Resumed,
    /// Series that became live for the first time, meanwhile or since the cursor: their snapshot is owed.
    first_live: BTreeSet<SeriesKey>,
    /// Items that came meanwhile and have no number.
    unnumbered: Vec<(Topic, Bytes)>,
}

/// What a SUBSCRIBE with a cursor asked for.
#[derive(Debug, Default)]
pub(super) struct Resumed {
    /// Streams that resume: their changes up to `since` were had before.
    pub(super) streams: BTreeSet<TopicId>,
    pub(super) since: Seq,
    /// Series of them whose state the changes after `since` do not tell: their snapshot is owed.
    pub(super) owed: BTreeSet<SeriesKey>,
    /// Numbered streams asked for, which get `live`.
    pub(super) lives: Vec<TopicId>,
    /// Streams asked for with them that have no numbers: their snapshot comes once the log is caught up with.
    pub(super) later: Vec<Topic>,
}

impl Replay {
    fn new(stage: Stage, mut resumed: Resumed) -> Self {
        Self {
            stage,
            first_live: std::mem::take(&mut resumed.owed),
            resumed,
            unnumbered: Vec::new(),
        }
    }

    /// The number up to which everything has been queued; none before the last `live`.
    pub(super) fn position(&self) -> Option<Seq> {
        match self.stage {
            Stage::Ahead { .. } | Stage::Missed { .. } => None,
            Stage::CatchUp { position } => self.resumed.later.is_empty().then_some(position),
        }
    }

    /// Where the connection's own streams stopped when its cursor began to be held.
    pub(super) fn stopped_at(&self) -> Seq {
        match self.stage {
            Stage::Ahead { position, .. }
            | Stage::Missed { position, .. }
            | Stage::CatchUp { position } => position,
        }
    }

    /// The cursor that is held.
    pub(super) fn held(&self) -> Option<&Cursor> {
        match &self.stage {
            Stage::Ahead { since, .. } => Some(since),
            Stage::Missed { .. } | Stage::CatchUp { .. } => None,
        }
    }

    /// Whether the log should have reached the held cursor by `now`.
    pub(super) fn is_overdue(&self, now: Mono) -> bool {
        match self.stage {
            Stage::Ahead { give_up_at, .. } => now >= give_up_at,
            Stage::Missed { .. } | Stage::CatchUp { .. } => false,
        }
    }

    /// The request whose cursor is held. From here on the connection's own streams are caught up with.
    pub(super) fn take_request(&mut self) -> Option<Request> {
        let position = self.stopped_at();
        match std::mem::replace(&mut self.stage, Stage::CatchUp { position }) {
            Stage::Ahead { request, .. } => Some(request),
            other @ (Stage::Missed { .. } | Stage::CatchUp { .. }) => {
                self.stage = other;
                None
            }
        }
    }

    /// Whether the stream waits for its snapshot behind this replay.
    pub(super) fn is_later(&self, topic: &Topic) -> bool {
        self.resumed.later.contains(topic)
    }
}

impl Shard {
    /// The log has not reached the request's cursor: until it has, the connection gets nothing with a number.
    pub(super) fn hold(&mut self, id: SessionId, mut request: Request, mut since: Cursor) {
        since.held_at_read = since.held_at_read.or(self.store.tail_reads());
        if let Ask::Subscribe { since: asked, .. } = &mut request.ask {
            *asked = Some(since.clone());
        }
        let stage = Stage::Ahead {
            request,
            since,
            position: self.world.head(),
            give_up_at: later(Mono::now(), self.settings.timings.hold_within),
        };
        if let Some(session) = self.sessions.get_mut(id) {
            session.replay = Some(Box::new(Replay::new(stage, Resumed::default())));
            self.holding.insert(id);
            self.replaying.insert(id);
            self.regroup(id);
        }
    }

    /// Begins: the session leaves its group until the log is caught up with. One whose cursor was held has left it.
    pub(super) fn begin_replay(
        &mut self,
        id: SessionId,
        resumed: Resumed,
        missed: usize,
        until: Seq,
    ) {
        // Where nothing matches, the log need not even reach back that far.
        let position = if missed == 0 { until } else { resumed.since };
        let stage = Stage::Missed { position, until };
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        match &mut session.replay {
            Some(replay) => {
                replay.first_live.extend(resumed.owed.iter().cloned());
                (replay.stage, replay.resumed) = (stage, resumed);
            }
            None => session.replay = Some(Box::new(Replay::new(stage, resumed))),
        }
        self.replaying.insert(id);
        self.regroup(id);
    }

    /// Makes the replay's next piece, or ends it. False: there is nothing to make.
    pub(super) fn replay_on(&mut self, id: SessionId) -> bool {
        let Some(session) = self.sessions.get(id) else {
            return false;
        };
        let Some(replay) = session.replay.as_ref() else {
            return false;
        };
        let (resumed, form, head) = (&replay.resumed, session.form, self.world.head());
        match replay.stage {
            Stage::Ahead { .. } => return false,
            Stage::Missed { position, until } if position >= until => self.send_lives(id, until),
            Stage::Missed { position, until } => {
                let wanted = |topic: TopicId, _| resumed.streams.contains(&topic);
                let piece = self.piece(position, until, form, wanted);
                self.send_piece(id, piece, |position| Stage::Missed { position, until });
            }
            Stage::CatchUp { position } if position < head => {
                let wanted = |topic: TopicId, seq| {
                    let had = seq <= resumed.since && resumed.streams.contains(&topic);
                    !had && session.topics.contains(&topic)
                };
                let piece = self.piece(position, head, form, wanted);
                self.send_piece(id, piece, |position| Stage::CatchUp { position });
            }
            Stage::CatchUp { .. } => self.end_replay(id),
        }
        true
    }

    fn send_piece(&mut self, id: SessionId, piece: Option<Piece>, next: impl Fn(Seq) -> Stage) {
        let Some(piece) = piece else {
            return self.close(id, &CloseReason::Outrun);
        };
        if let Some(session) = self.sessions.get_mut(id)
            && let Some(replay) = session.replay.as_mut()
        {
            replay.stage = next(piece.reached);
            session.outbox.next(piece.bytes);
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
        for topic in &replay.resumed.lives {
            builder.one(*topic, &items::live(at));
        }
        replay.stage = Stage::CatchUp { position: until };
        session.outbox.next(builder.finish().bytes);
    }

    /// The log is caught up with: what is owed, then the common way, then what waited behind the replay.
    fn end_replay(&mut self, id: SessionId) {
        self.replaying.remove(&id);
        let Some(replay) = self.sessions.get_mut(id).and_then(|s| s.replay.take()) else {
            return;
        };
        self.push_first_snapshots(id, &replay.first_live);
        self.push_unnumbered(id, &replay);
        self.push_snapshots(id, &replay.resumed.later);
        self.regroup(id);
        self.go_on(id);
    }

    /// Snapshots of the series whose state the replay did not tell.
    fn push_first_snapshots(&mut self, id: SessionId, first_live: &BTreeSet<SeriesKey>) {
        let Some(session) = self.sessions.get(id) else {
            return;
        };
        let mut builder = Builder::new(&self.topics, session.form);
        for key in first_live {
            let head = items::snapshot_head(self.world.at());
            let body = self.world.body_of(key, self.clock.now());
            let item = [head.as_bytes(), &body].concat();
            for topic in signal_topics(&self.topics, key) {
                if session.topics.contains(&topic) {
                    builder.one(topic, &item);
                }
            }
        }
        let bytes = builder.finish().bytes;
        self.push(id, bytes);
    }

    /// Items without a number that came while the session replayed.
    pub(super) fn push_unnumbered(&mut self, id: SessionId, replay: &Replay) {
        let Some(session) = self.sessions.get(id) else {
            return;
        };
        let mut builder = Builder::new(&self.topics, session.form);
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
        let bytes = builder.finish().bytes;
        self.push(id, bytes);
    }

    /// What has no number and happens while sessions replay is remembered for them.
    pub(super) fn note_for_replaying(&mut self, news: &News) {
        let topics = &self.topics;
        for id in &self.replaying {
            let Some(session) = self.sessions.get_mut(*id) else {
                continue;
            };
            note_results(topics, session, news);
            if let Some(replay) = session.replay.as_mut() {
                note_events(replay, &news.events);
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

fn note_events(replay: &mut Replay, events: &[Event]) {
    for event in events {
        match event {
            Event::Change(_) => {}
            Event::FirstLive(key, _) => {
                replay.first_live.insert(key.clone());
            }
            Event::Left(key, item) => {
                replay.first_live.insert(key.clone());
                let hama = Topic::Hama(key.clone());
                replay.unnumbered.push((hama, item.clone()));
            }
            Event::Ended(key, item) => replay.unnumbered.extend([
                (Topic::Signal(key.clone()), item.clone()),
                (Topic::Hama(key.clone()), item.clone()),
            ]),
            Event::Symbols(item) => replay.unnumbered.push((Topic::Status, item.clone())),
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

/// The numbered streams of a series that have subscribers.
pub(super) fn signal_topics(topics: &Topics, key: &SeriesKey) -> impl Iterator<Item = TopicId> {
    let both = [Topic::SignalAll(key.interval), Topic::Signal(key.clone())];
    both.map(|topic| topics.id(&topic)).into_iter().flatten()
}
