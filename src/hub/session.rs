//! One connection as the shard knows it. A session is a slot and a generation: a late word about a connection whose
//! slot has been given away reaches nobody.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::TcpStream;

use super::demand::Asker;
use super::outbox::Outbox;
use super::protocol::Request;
use super::replay::Replay;
use super::settings::Form;
use super::topics::{GroupId, TopicId};
use crate::clock::Mono;

/// Which connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SessionId {
    slot: u32,
    generation: u32,
}

/// What the reading task and the shard share: the socket, and when the peer was last heard.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) socket: TcpStream,
    heard_ms: AtomicU64,
}

impl Wire {
    pub(super) fn new(socket: TcpStream, now: Mono) -> Self {
        Self {
            socket,
            heard_ms: AtomicU64::new(now.ms()),
        }
    }

    /// The peer sent something.
    pub(super) fn heard(&self, now: Mono) {
        self.heard_ms.store(now.ms(), Ordering::Relaxed);
    }

    /// When the peer last sent something.
    pub(super) fn last_heard(&self) -> Mono {
        Mono::from_ms(self.heard_ms.load(Ordering::Relaxed))
    }

    /// No more bytes in this direction: the peer sees the end after the last frame.
    pub(super) fn shut(&self, how: std::net::Shutdown) {
        if let Err(error) = socket2::SockRef::from(&self.socket).shutdown(how) {
            tracing::trace!(%error, "socket was gone already");
        }
    }
}

/// How far a connection is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// In use.
    Open,
    /// Our close frame is queued or sent; the peer has until then.
    Closing { until: Mono },
    /// The peer said goodbye first: after our echo nothing is left to do.
    Echoing { until: Mono },
}

/// A connection.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) wire: Arc<Wire>,
    pub(super) asker: Asker,
    pub(super) form: Form,
    pub(super) phase: Phase,
    pub(super) topics: BTreeSet<TopicId>,
    /// None while it is replaying, or closing.
    pub(super) group: Option<GroupId>,
    pub(super) outbox: Outbox,
    /// Whether the shard waits for its socket.
    pub(super) waits: bool,
    pub(super) replay: Option<Box<Replay>>,
    /// Requests that wait behind a replay.
    pub(super) held: VecDeque<Request>,
    /// Until when a first SUBSCRIBE must have come.
    pub(super) subscribe_by: Option<Mono>,
    pub(super) ping_at: Mono,
}

impl Session {
    /// Whether the heartbeat comes to it; `status` is the heartbeat's topic, if anybody subscribed to it by name.
    pub(super) fn hears_status(&self, status: Option<TopicId>) -> bool {
        self.form == Form::Wrapped || status.is_some_and(|status| self.topics.contains(&status))
    }
}

/// All connections of a shard.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    slots: Vec<(u32, Option<Session>)>,
    free: Vec<u32>,
}

impl Sessions {
    pub(super) fn insert(&mut self, session: Session) -> SessionId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            (self.slots.len() - 1) as u32
        });
        let (generation, place) = &mut self.slots[slot as usize];
        *place = Some(session);
        SessionId {
            slot,
            generation: *generation,
        }
    }

    pub(super) fn get(&self, id: SessionId) -> Option<&Session> {
        let (generation, session) = self.slots.get(id.slot as usize)?;
        session.as_ref().filter(|_| *generation == id.generation)
    }

    pub(super) fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        let (generation, session) = self.slots.get_mut(id.slot as usize)?;
        session.as_mut().filter(|_| *generation == id.generation)
    }

    pub(super) fn remove(&mut self, id: SessionId) -> Option<Session> {
        self.get_mut(id)?;
        let (generation, session) = &mut self.slots[id.slot as usize];
        *generation = generation.wrapping_add(1);
        self.free.push(id.slot);
        session.take()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(slot, (generation, session))| {
                let id = SessionId {
                    slot: slot as u32,
                    generation: *generation,
                };
                session.as_ref().map(|session| (id, session))
            })
    }

    pub(super) fn ids(&self) -> Vec<SessionId> {
        self.iter().map(|(id, _)| id).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}
