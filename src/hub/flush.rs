//! From news to sockets: which group gets what, one buffer per group, one write per connection.
//! A socket that takes everything costs one system call and no task; the rest of the others goes to their outbox.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;

use super::build::{self, Builder, Built, Chunk, Joined};
use super::items::{self, At};
use super::outbox::CHUNK_BYTES;
use super::session::{Phase, Session, SessionId};
use super::settings::Form;
use super::shard::{Shard, later};
use super::topic::Topic;
use super::topics::{GroupId, TopicId};
use super::world::{Event, News};
use crate::clock::Mono;
use crate::market::{Interval, SeriesKey};

/// Buffers one connection is handed in one turn of the shard: a reader as fast as a replay is made would otherwise keep
/// all others waiting until its end.
const PIECES_A_TURN: usize = 16;

/// What a flush carries beyond the news.
#[derive(Default)]
struct Due {
    status: Option<Vec<u8>>,
    beat: Option<Vec<u8>>,
    arrays: BTreeMap<TopicId, Vec<Chunk>>,
}

impl Shard {
    /// Hands on what happened, and the heartbeats and arrays that are due.
    pub(super) fn flush(&mut self, news: &News) {
        let now = Mono::now();
        self.note_for_replaying(news);
        let mut touched = BTreeSet::new();
        self.touch_events(news, &mut touched);
        self.touch_results(news, &mut touched);
        let due = self.what_is_due(news, now, &mut touched);
        if touched.is_empty() {
            return;
        }
        for (group, built) in self.build_all(news, &due, &touched) {
            let members: Vec<SessionId> = match self.topics.groups.get(&group) {
                Some(group) => group.members.iter().copied().collect(),
                None => continue,
            };
            for id in members {
                self.deliver(id, &built, now);
            }
        }
    }

    fn touch_events(&mut self, news: &News, touched: &mut BTreeSet<GroupId>) {
        for (index, event) in news.events.iter().enumerate() {
            let topics: &[Topic] = &match event {
                Event::Change(logged) => {
                    let key = logged.change.body.key();
                    [Topic::SignalAll(key.interval), Topic::Signal(key.clone())]
                }
                Event::FirstLive(key, _) => {
                    [Topic::SignalAll(key.interval), Topic::Signal(key.clone())]
                }
                Event::Left(key, _) | Event::Ended(key, _) => {
                    [Topic::Signal(key.clone()), Topic::Hama(key.clone())]
                }
                Event::Symbols(_) => {
                    touched.extend(self.status_groups());
                    continue;
                }
            };
            for topic in topics {
                self.topics.touch(topic, touched, |group, id| {
                    group.touches.push((index, id));
                });
            }
        }
    }

    fn touch_results(&mut self, news: &News, touched: &mut BTreeSet<GroupId>) {
        for key in &news.results {
            self.topics
                .touch(&Topic::Hama(key.clone()), touched, |group, id| {
                    group.results.push(id);
                });
            if self.topics.id(&Topic::HamaAll(key.interval)).is_some() {
                let series = self.arrays.entry(key.interval).or_default();
                series.insert(key.clone());
            }
        }
    }

    fn what_is_due(&mut self, news: &News, now: Mono, touched: &mut BTreeSet<GroupId>) -> Due {
        let mut due = Due::default();
        let timings = self.settings.timings.clone();
        if news.status || now >= self.status_at {
            self.status_at = later(now, timings.status_every);
            let at = Some(self.world.at());
            due.status = Some(items::status(&self.world.status, self.clock.now(), at));
            touched.extend(self.status_groups());
            let status = self.topics.id(&Topic::Status);
            self.owe_replaying(|session| {
                session.outbox.owes_status |= session.hears_status(status);
            });
        }
        if now >= self.beat_at {
            self.beat_at = later(now, timings.beat_every);
            due.beat = Some(items::beat(Some(self.world.at())));
            let raw = self.topics.groups.iter();
            touched.extend(
                raw.filter(|(_, g)| g.form() == Form::Raw)
                    .map(|(id, _)| *id),
            );
            self.owe_replaying(|session| session.outbox.owes_beat |= session.form == Form::Raw);
        }
        if !self.arrays.is_empty() && now >= self.arrays_at {
            self.arrays_at = later(now, timings.results_every);
            for (interval, keys) in std::mem::take(&mut self.arrays) {
                self.array_is_due(interval, &keys, &mut due, touched);
            }
        }
        due
    }

    fn array_is_due(
        &mut self,
        interval: Interval,
        keys: &BTreeSet<SeriesKey>,
        due: &mut Due,
        touched: &mut BTreeSet<GroupId>,
    ) {
        let topic = Topic::HamaAll(interval);
        if let Some(id) = self.topics.id(&topic) {
            due.arrays.insert(id, build::chunks(&self.world, keys));
            self.topics.touch(&topic, touched, |_, _| {});
        }
    }

    fn status_groups(&self) -> Vec<GroupId> {
        let groups = self.topics.groups.iter();
        groups
            .filter(|(_, group)| group.wants_status)
            .map(|(id, _)| *id)
            .collect()
    }

    fn build_all(
        &mut self,
        news: &News,
        due: &Due,
        touched: &BTreeSet<GroupId>,
    ) -> Vec<(GroupId, Built)> {
        let mut joined = Joined::new();
        let mut all = Vec::with_capacity(touched.len());
        for id in touched {
            let Some(group) = self.topics.groups.get_mut(id) else {
                continue;
            };
            let touches = std::mem::take(&mut group.touches);
            let results = std::mem::take(&mut group.results);
            let Some(group) = self.topics.groups.get(id) else {
                continue;
            };
            let mut builder = Builder::new(&self.topics, group.form());
            let item = |index: usize| news.events[index].item();
            builder.changes(&touches, item, &mut joined);
            for topic in results {
                builder.result(topic, &self.world);
            }
            for (topic, chunks) in &due.arrays {
                if group.has(*topic) {
                    builder.results(*topic, chunks);
                }
            }
            if group.wants_status {
                for event in &news.events {
                    if let Event::Symbols(item) = event {
                        builder.symbols(item);
                    }
                }
                due.status.iter().for_each(|item| builder.status(item));
            }
            if group.form() == Form::Raw {
                due.beat.iter().for_each(|item| builder.beat(item));
            }
            if builder.len() > 0 {
                all.push((*id, builder.finish()));
            }
        }
        all
    }

    /// Writes to a socket that takes bytes; what it does not take waits.
    fn deliver(&mut self, id: SessionId, built: &Built, now: Mono) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let mut sent = 0;
        if session.outbox.is_empty() {
            match session.wire.socket.try_write(&built.bytes) {
                Ok(taken) => sent = taken,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return self.remove(id),
            }
            if sent == built.bytes.len() {
                return;
            }
        }
        session.outbox.absorb(built, sent, now);
        let slow = session.outbox.verdict(&self.settings.limits, now);
        match slow {
            Some(slow) => self.close(id, &slow),
            None => self.wait_for(id),
        }
    }

    /// Hands the socket what waits for it, until it takes no more or nothing is left.
    pub(super) fn drain(&mut self, id: SessionId) {
        for _ in 0..PIECES_A_TURN {
            let Some(session) = self.sessions.get_mut(id) else {
                return;
            };
            if !session.outbox.advance() {
                if session.phase == Phase::Open && self.make_next(id) {
                    continue;
                }
                return self.settle(id);
            }
            match session.wire.socket.try_write(session.outbox.current()) {
                Ok(taken) => session.outbox.took(taken),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return self.wait_for(id),
                Err(_) => return self.remove(id),
            }
        }
        self.wait_for(id); // the others' turn
    }

    /// The socket takes bytes again.
    pub(super) fn writable(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.waits = false;
            self.drain(id);
        }
    }

    fn wait_for(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        if session.waits {
            return;
        }
        session.waits = true;
        let wire = session.wire.clone();
        self.waiting.push(Box::pin(async move {
            // An error shows at the write that follows.
            let _ = wire.socket.writable().await;
            id
        }));
    }

    /// Everything is written. After an echoed goodbye that was all.
    fn settle(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        match session.phase {
            Phase::Open => {}
            Phase::Closing { .. } => session.wire.shut(std::net::Shutdown::Write),
            Phase::Echoing { .. } => {
                // Only our half: ending both would answer bytes still on their way with a reset, which can overtake
                // the echo. The reading task reads on until the peer is gone.
                session.wire.shut(std::net::Shutdown::Write);
                self.forget(id);
            }
        }
    }

    /// Makes what is owed from the newest state. False: nothing is owed.
    fn make_next(&mut self, id: SessionId) -> bool {
        let Some(session) = self.sessions.get_mut(id) else {
            return false;
        };
        if std::mem::take(&mut session.outbox.owes_status) {
            let at = cursor(session, self.world.at());
            let item = items::status(&self.world.status, self.clock.now(), at);
            self.push_on_status(id, &item);
            return true;
        }
        if std::mem::take(&mut session.outbox.owes_beat) {
            let item = items::beat(cursor(session, self.world.at()));
            self.push_on_status(id, &item);
            return true;
        }
        if session.replay.is_some() {
            return self.replay_on(id);
        }
        let mut builder = Builder::new(&self.topics, session.form);
        while builder.len() < CHUNK_BYTES {
            if let Some(topic) = session.outbox.results.pop_first() {
                builder.result(topic, &self.world);
            } else if let Some((topic, keys)) = session.outbox.arrays.pop_first() {
                builder.results(topic, &build::chunks(&self.world, &keys));
            } else {
                break;
            }
        }
        let bytes = builder.finish().bytes;
        let made = !bytes.is_empty();
        session.outbox.next(bytes);
        made
    }
}

/// The cursor a heartbeat may carry: everything up to it has been queued before. None while a subscription has not had
/// its `live`.
pub(super) fn cursor<'a>(session: &Session, head: At<'a>) -> Option<At<'a>> {
    if !session.held.is_empty() {
        return None;
    }
    match &session.replay {
        None => Some(head),
        Some(replay) => replay.position().map(|seq| At { seq, ..head }),
    }
}
