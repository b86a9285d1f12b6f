//! The numbering began anew: what every connection is told. No item of the old epoch comes after it.

use super::build::Builder;
use super::items;
use super::session::{Phase, SessionId};
use super::shard::Shard;
use super::topic::Topic;
use crate::store::ResetReason;

impl Shard {
    /// Every signal stream is told, then gets its snapshot and `live`.
    pub(super) fn reset_all(&mut self, reason: ResetReason) {
        for id in self.sessions.ids() {
            self.reset(id, reason);
        }
    }

    fn reset(&mut self, id: SessionId, reason: ResetReason) {
        self.replaying.remove(&id);
        self.holding.remove(&id);
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        if session.phase != Phase::Open {
            return;
        }
        let replay = session.replay.take();
        let waited = |topic: &Topic| replay.as_ref().is_some_and(|r| r.is_later(topic));
        let entries = session.topics.iter().filter_map(|t| self.topics.entry(*t));
        let topics: Vec<Topic> = entries
            .map(|entry| entry.topic.clone())
            .filter(|topic| topic.is_numbered() || waited(topic))
            .collect();
        let mut builder = Builder::new(&self.topics, session.form);
        for topic in topics.iter().filter(|topic| topic.is_numbered()) {
            if let Some(topic) = self.topics.id(topic) {
                builder.one(topic, &items::reset(self.world.at(), reason.word()));
            }
        }
        let bytes = builder.finish().bytes;
        if let Some(mut replay) = replay {
            self.push_unnumbered(id, &replay);
            if let Some(request) = replay.take_request()
                && let Some(session) = self.open_session(id)
            {
                session.held.push_front(request);
            }
        }
        self.push(id, bytes);
        self.push_snapshots(id, &topics);
        self.regroup(id);
        self.go_on(id);
    }
}
