//! A fan-out task: alone owns its connections, their topics and its copy of the series' state.
//! It never waits for a reader: it writes to sockets that take bytes and remembers the rest (`outbox`). Between two
//! turns of its loop everything taken in has been handed on, so whatever a request is answered with is of one moment.
//! It ends when the store's writer is gone, after goodbyes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};

use super::Tables;
use super::close::CloseReason;
use super::demand::Demand;
use super::items;
use super::outbox::Outbox;
use super::session::{Phase, Session, SessionId, Sessions, Wire};
use super::settings::{Connecting, Form, HubSettings};
use super::topic::{STATUS, Topic};
use super::topics::Topics;
use super::world::{News, World};
use super::{build::Builder, frame};
use crate::clock::{ExchangeClock, Mono};
use crate::market::{Interval, SeriesKey};
use crate::store::{Batch, Store};

/// Batches taken in before their news is handed on: under load one write carries many batches.
const BATCHES_A_TURN: usize = 64;

/// Words of connections heard in one turn.
const WORDS_A_TURN: usize = 256;

/// What reading tasks and the hub tell a shard.
#[derive(Debug)]
pub(super) enum Word {
    /// A connection is there; its id is the answer.
    Open {
        wire: Arc<Wire>,
        connecting: Connecting,
        id: oneshot::Sender<SessionId>,
    },
    /// It sent a message.
    Text(SessionId, String),
    /// It sent a ping.
    Ping(SessionId, Bytes),
    /// It said goodbye, or broke a rule.
    Close(SessionId, CloseReason),
    /// Its socket ended.
    Gone(SessionId),
    /// Somebody wants to know how large the tables are.
    Tables(oneshot::Sender<Tables>),
}

/// See the module.
pub(super) struct Shard {
    pub(super) settings: Arc<HubSettings>,
    pub(super) demand: Demand,
    pub(super) store: Store,
    pub(super) clock: ExchangeClock,
    pub(super) world: World,
    pub(super) topics: Topics,
    pub(super) sessions: Sessions,
    pub(super) waiting: FuturesUnordered<BoxFuture<'static, SessionId>>,
    pub(super) replaying: BTreeSet<SessionId>,
    /// Those of them whose cursor the log has not reached.
    pub(super) holding: BTreeSet<SessionId>,
    /// Series with results that `!hama_<interval>@arr` has not told yet.
    pub(super) arrays: BTreeMap<Interval, BTreeSet<SeriesKey>>,
    pub(super) arrays_at: Mono,
    pub(super) status_at: Mono,
    pub(super) beat_at: Mono,
    /// When what is subscribed to is wanted anew.
    pub(super) renew_at: Mono,
    sweep_at: Mono,
    sweep_every: Duration,
}

impl Shard {
    pub(super) fn new(
        settings: Arc<HubSettings>,
        demand: Demand,
        store: Store,
        clock: ExchangeClock,
    ) -> Self {
        let world = World::new(&store.published(), settings.limits.kept_changes);
        let now = Mono::now();
        let timings = &settings.timings;
        let shortest = [
            timings.ping_every,
            timings.pong_within,
            timings.subscribe_within,
            timings.close_within,
            timings.hold_within,
            settings.limits.slow_age,
            store.interest().kept_for() / 2,
        ];
        let shortest = shortest.into_iter().min().unwrap_or_default() / 4;
        Self {
            status_at: later(now, timings.status_every),
            beat_at: later(now, timings.beat_every),
            sweep_every: shortest.clamp(Duration::from_millis(10), Duration::from_secs(1)),
            sweep_at: now,
            renew_at: now,
            arrays_at: now,
            arrays: BTreeMap::new(),
            world,
            topics: Topics::default(),
            sessions: Sessions::default(),
            waiting: FuturesUnordered::new(),
            replaying: BTreeSet::new(),
            holding: BTreeSet::new(),
            settings,
            demand,
            store,
            clock,
        }
    }

    /// Runs until the store's writer is gone.
    pub(super) async fn run(
        mut self,
        mut batches: mpsc::Receiver<Arc<Batch>>,
        mut words: mpsc::Receiver<Word>,
    ) {
        loop {
            let pause = self.pause(Mono::now());
            tokio::select! {
                batch = batches.recv() => match batch {
                    Some(first) => self.take_batches(&first, &mut batches),
                    None => break,
                },
                Some(word) = words.recv() => self.hear_all(word, &mut words),
                Some(id) = self.waiting.next() => self.writable(id),
                () = tokio::time::sleep(pause) => {}
            }
            self.do_what_is_due(Mono::now());
        }
        self.say_goodbye(words).await;
    }

    fn take_batches(&mut self, first: &Batch, batches: &mut mpsc::Receiver<Arc<Batch>>) {
        let mut news = News::default();
        self.take_batch(first, &mut news);
        for _ in 1..BATCHES_A_TURN {
            let Ok(batch) = batches.try_recv() else { break };
            self.take_batch(&batch, &mut news);
        }
        self.flush(&news);
        self.look_at_all_held();
    }

    fn look_at_all_held(&mut self) {
        for id in self.holding.clone() {
            self.look_at_held(id);
        }
    }

    fn take_batch(&mut self, batch: &Batch, news: &mut News) {
        let traded = self.world.tradable().clone();
        self.take_in(batch, news);
        if !Arc::ptr_eq(&traded, self.world.tradable()) {
            self.note_no_longer_traded(&traded, news);
        }
    }

    fn take_in(&mut self, batch: &Batch, news: &mut News) {
        if batch.epoch == *self.world.epoch() {
            if batch.skips(self.world.head()) {
                self.flush(&std::mem::take(news));
                self.send_away_who_would_miss();
                self.world.forget_recent();
            }
            self.world.apply(batch, news);
            self.note_left(batch, news);
            return;
        }
        self.flush(&std::mem::take(news));
        self.world.apply(batch, news);
        news.events.retain(|event| !event.is_numbered()); // the snapshots show them
        self.reset_all(batch.reset);
    }

    /// Changes were trimmed before this process read them: whoever reads changes comes back with the cursor he has, and is
    /// told then what he has missed.
    fn send_away_who_would_miss(&mut self) {
        let reads_changes = |session: &Session| {
            let topics = session.topics.iter();
            let mut topics = topics.filter_map(|topic| self.topics.entry(*topic));
            session.replay.is_some() || topics.any(|entry| entry.topic.is_numbered())
        };
        let all = self.sessions.iter();
        let readers: Vec<SessionId> = all
            .filter(|(_, session)| reads_changes(session))
            .map(|(id, _)| id)
            .collect();
        for id in readers {
            self.close(id, &CloseReason::Outrun);
        }
    }

    fn hear_all(&mut self, first: Word, words: &mut mpsc::Receiver<Word>) {
        self.hear(first);
        for _ in 1..WORDS_A_TURN {
            let Ok(word) = words.try_recv() else { break };
            self.hear(word);
        }
    }

    pub(super) fn hear(&mut self, word: Word) {
        match word {
            Word::Open {
                wire,
                connecting,
                id,
            } => self.open(wire, &connecting, id),
            Word::Text(id, text) => self.request(id, &text),
            Word::Ping(id, payload) => {
                if let Some(session) = self.open_session(id) {
                    session
                        .outbox
                        .pong(frame::single(frame::Opcode::Pong, &payload));
                    self.drain(id);
                }
            }
            Word::Close(id, reason) => self.close(id, &reason),
            Word::Gone(id) => self.remove(id),
            Word::Tables(answer) => {
                // Nobody waits for it any more: nothing to do.
                let _ = answer.send(self.tables());
            }
        }
    }

    fn open(&mut self, wire: Arc<Wire>, connecting: &Connecting, id: oneshot::Sender<SessionId>) {
        let now = Mono::now();
        let timings = &self.settings.timings;
        let first_ping_ms = fastrand::u64(0..=ms(timings.ping_every));
        let without_streams = connecting.streams.is_empty();
        let session = Session {
            wire,
            asker: connecting.asker,
            form: connecting.mode,
            phase: Phase::Open,
            topics: BTreeSet::new(),
            group: None,
            outbox: Outbox::default(),
            waits: false,
            replay: None,
            held: std::collections::VecDeque::new(),
            subscribe_by: without_streams.then(|| later(now, timings.subscribe_within)),
            ping_at: now.plus_ms(first_ping_ms),
        };
        let session_id = self.sessions.insert(session);
        if id.send(session_id).is_err() {
            self.remove(session_id); // its reading task is gone already
            return;
        }
        if connecting.mode == Form::Wrapped {
            self.welcome(session_id);
        }
        self.regroup(session_id);
        if !without_streams {
            self.subscribe_url(session_id, &connecting.streams);
        }
        self.drain(session_id);
    }

    fn welcome(&mut self, id: SessionId) {
        let at = self.world.at();
        let kept_from = self.store.published().kept_from.min(at.seq.next());
        let item = items::welcome(&self.settings, self.clock.now(), at, kept_from);
        self.push_on_status(id, &item);
    }

    /// Queues an item on the heartbeat's stream that must come.
    pub(super) fn push_on_status(&mut self, id: SessionId, item: &[u8]) {
        if let Some(session) = self.sessions.get_mut(id) {
            let mut buf = bytes::BytesMut::new();
            frame::push_item(&mut buf, session.form, STATUS, &[item]);
            session.outbox.push(buf.freeze());
        }
    }

    /// The session, when it is not on its way out.
    pub(super) fn open_session(&mut self, id: SessionId) -> Option<&mut Session> {
        self.sessions
            .get_mut(id)
            .filter(|session| session.phase == Phase::Open)
    }

    /// Puts the session into the group of its topics; one that replays stays outside.
    pub(super) fn regroup(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        if let Some(group) = session.group.take() {
            self.topics.leave(id, group);
        }
        if session.replay.is_none() && session.phase == Phase::Open {
            session.group = Some(self.topics.join(id, session.form, &session.topics));
        }
    }

    /// Begins the goodbye: nothing new reaches the connection from here on.
    pub(super) fn close(&mut self, id: SessionId, reason: &CloseReason) {
        let until = later(Mono::now(), self.settings.timings.close_within);
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let peer_left = matches!(reason, CloseReason::Left(_));
        if session.phase != Phase::Open {
            if peer_left {
                self.remove(id); // the answer to our own goodbye
            }
            return;
        }
        session.phase = if peer_left {
            Phase::Echoing { until }
        } else {
            tracing::debug!(code = ?reason.code(), %reason, "closing a connection");
            Phase::Closing { until }
        };
        session.outbox.goodbye(reason);
        self.let_go(id);
        self.drain(id);
    }

    /// Takes the session out of every table but its own.
    fn let_go(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        if let Some(group) = session.group.take() {
            self.topics.leave(id, group);
        }
        session.replay = None;
        session.held.clear();
        let topics = std::mem::take(&mut session.topics);
        self.unsubscribe_from(topics);
        self.replaying.remove(&id);
        self.holding.remove(&id);
    }

    /// Forgets the session and ends its socket.
    pub(super) fn remove(&mut self, id: SessionId) {
        if let Some(session) = self.forget(id) {
            session.wire.shut(std::net::Shutdown::Both);
        }
    }

    /// Forgets the session.
    pub(super) fn forget(&mut self, id: SessionId) -> Option<Session> {
        self.let_go(id);
        self.sessions.remove(id)
    }

    fn pause(&self, now: Mono) -> Duration {
        let mut next = self.sweep_at.min(self.status_at).min(self.beat_at);
        if !self.arrays.is_empty() {
            next = next.min(self.arrays_at);
        }
        Duration::from_millis(next.ms_since(now))
    }

    fn do_what_is_due(&mut self, now: Mono) {
        let arrays = !self.arrays.is_empty() && now >= self.arrays_at;
        if arrays || now >= self.status_at || now >= self.beat_at {
            self.flush(&News::default());
            self.look_at_all_held();
        }
        if now >= self.sweep_at {
            self.sweep_at = later(now, self.sweep_every);
            self.sweep(now);
            self.renew_wants(now);
        }
    }

    fn tables(&self) -> Tables {
        Tables {
            sessions: self.sessions.len(),
            topics: self.topics.len(),
            groups: self.topics.groups.len(),
            waiting: self.waiting.len(),
            replaying: self.replaying.len(),
            queued_bytes: self
                .sessions
                .iter()
                .map(|(_, session)| session.outbox.queued_bytes())
                .sum(),
        }
    }

    /// Bytes of a topic's snapshot and `live`, shared by all who ask before the next batch.
    pub(super) fn snapshot_bytes(&mut self, topic: &Topic, form: Form) -> Bytes {
        let Some(id) = self.topics.id(topic) else {
            return Bytes::new();
        };
        let version = self.world.version();
        let kept = self
            .topics
            .entry(id)
            .and_then(|entry| entry.snapshots[form as usize].as_ref());
        if let Some(kept) = kept.filter(|kept| kept.version == version) {
            return kept.frames.clone();
        }
        let mut builder = Builder::new(&self.topics, form);
        builder.snapshot(id, &self.world, self.clock.now());
        let frames = builder.finish().bytes;
        if let Some(entry) = self.topics.entry_mut(id) {
            let kept = super::topics::Snapshot {
                version,
                frames: frames.clone(),
            };
            entry.snapshots[form as usize] = Some(kept);
        }
        frames
    }
}

/// Whole milliseconds.
pub(super) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// `duration` after `now`.
pub(super) fn later(now: Mono, duration: Duration) -> Mono {
    now.plus_ms(ms(duration))
}
