//! What a SUBSCRIBE does, in one step: checked, registered, answered and given its snapshots or its replay, without a
//! pause in which something could happen.

use bytes::Bytes;

use super::close::CloseReason;
use super::items;
use super::protocol::{self, Ask, Cursor, Refusal, Request, RequestId};
use super::read_log::Plan;
use super::replay::Resumed;
use super::session::SessionId;
use super::shard::Shard;
use super::topic::Topic;

impl Shard {
    /// Streams named in the URL: an error cannot be answered by id, so it closes.
    pub(super) fn subscribe_url(&mut self, id: SessionId, names: &[String]) {
        match self.admit(id, names) {
            Ok(topics) => {
                self.register(id, &topics);
                self.push_snapshots(id, &topics);
                self.regroup(id);
            }
            Err(refusal) => {
                self.answer(id, &refusal.answer(&RequestId::null()));
                let reason = match refusal {
                    // The same URL is right some time later.
                    Refusal::NotLoaded => CloseReason::NotReady(refusal.to_string()),
                    Refusal::Denied(ref denied) if denied.retry_after_s().is_some() => {
                        CloseReason::NotReady(refusal.to_string())
                    }
                    Refusal::UnknownProperty(_)
                    | Refusal::WrongValue
                    | Refusal::Invalid(_)
                    | Refusal::NotJson(_)
                    | Refusal::TooMany(_)
                    | Refusal::Denied(_) => CloseReason::Rule(refusal.to_string()),
                };
                self.close(id, &reason);
            }
        }
    }

    /// A SUBSCRIBE whose turn has come.
    pub(super) fn subscribe(
        &mut self,
        id: SessionId,
        names: Vec<String>,
        since: Option<Cursor>,
        request: RequestId,
    ) {
        let topics = match self.admit(id, &names) {
            Ok(topics) => topics,
            Err(refusal) => return self.answer(id, &refusal.answer(&request)),
        };
        let Some(since) = since else {
            self.register(id, &topics);
            self.answer(id, &protocol::answer("null", &request));
            self.push_snapshots(id, &topics);
            return self.regroup(id);
        };
        let ask = Ask::Subscribe {
            names,
            since: Some(since.clone()),
        };
        self.resume(id, topics, &since, Request { id: request, ask });
    }

    fn resume(&mut self, id: SessionId, topics: Vec<Topic>, since: &Cursor, request: Request) {
        let Some(session) = self.sessions.get(id) else {
            return;
        };
        // Only a cursor that was held finds a replay here. What the connection's own streams missed meanwhile comes
        // after the `live`, so `live` must not be beyond the first of it: it is a cursor of all streams.
        let held_at = session.replay.as_ref().map(|replay| replay.stopped_at());
        let until = held_at.map_or(self.world.head(), |at| self.quiet_until(id, at));
        let new = self.new_of(id, &topics);
        match self.plan(&new, since, until) {
            Plan::Wait => self.hold(id, request, since.clone()),
            Plan::Anew(_) if held_at.is_some() => {
                // The snapshots would be ahead of what the own streams missed: its turn comes after that.
                if let Some(session) = self.open_session(id) {
                    session.held.push_front(request);
                }
            }
            Plan::Anew(reason) => self.begin_anew(id, &topics, reason, &request.id),
            Plan::Replay(missed) => {
                self.register(id, &topics);
                let epoch = self.world.epoch();
                let result = format!(
                    r#"{{"resumed":true,"replayed":{missed},"epoch":"{epoch}","seq":{until}}}"#
                );
                self.answer(id, &protocol::answer(&result, &request.id));
                let (numbered, later): (Vec<_>, Vec<_>) =
                    topics.into_iter().partition(Topic::is_numbered);
                let resumed = Resumed {
                    streams: new.iter().filter_map(|t| self.topics.id(t)).collect(),
                    since: since.seq,
                    owed: self.untold_by_replay(&new, since.seq),
                    lives: numbered.iter().filter_map(|t| self.topics.id(t)).collect(),
                    later,
                };
                self.begin_replay(id, resumed, missed, until);
            }
        }
    }

    /// What was missed cannot be told: the snapshot is the truth.
    fn begin_anew(&mut self, id: SessionId, topics: &[Topic], reason: &str, request: &RequestId) {
        self.register(id, topics);
        let (epoch, seq) = (self.world.epoch(), self.world.head());
        let result =
            format!(r#"{{"resumed":false,"reason":"{reason}","epoch":"{epoch}","seq":{seq}}}"#);
        self.answer(id, &protocol::answer(&result, request));
        self.push_snapshots(id, topics);
        self.regroup(id);
    }

    /// The log went on, or a heartbeat is due: what was held may go on.
    pub(super) fn look_at_held(&mut self, id: SessionId) {
        let held = self
            .sessions
            .get(id)
            .and_then(|s| s.replay.as_ref()?.held());
        let may_go_on = held.is_some_and(|since| {
            let reached = since.epoch == *self.world.epoch() && since.seq <= self.world.head();
            reached || self.store.tail_reads().is_some() && self.is_sure(since)
        });
        let replay = self.sessions.get_mut(id).and_then(|s| s.replay.as_mut());
        if let Some(request) = replay
            .filter(|_| may_go_on)
            .and_then(|replay| replay.take_request())
        {
            self.holding.remove(&id);
            if let Ask::Subscribe { names, since } = request.ask {
                self.subscribe(id, names, since, request.id);
            }
        }
        self.drain(id);
    }

    /// The log did not reach the cursor in time: the client is told, and what waited goes on.
    pub(super) fn give_up_holding(&mut self, id: SessionId) {
        self.holding.remove(&id);
        let replay = self.sessions.get_mut(id).and_then(|s| s.replay.as_mut());
        if let Some(request) = replay.and_then(|replay| replay.take_request()) {
            let words = "the log has not been read up to this number; try again";
            let refusal = Refusal::Invalid(words.into());
            self.answer(id, &refusal.answer(&request.id));
        }
        self.drain(id);
    }

    /// Those numbered topics the session does not have yet.
    fn new_of(&self, id: SessionId, topics: &[Topic]) -> Vec<Topic> {
        let ids = &self.topics;
        let Some(session) = self.sessions.get(id) else {
            return Vec::new();
        };
        let is_new = |topic: &&Topic| {
            topic.is_numbered() && ids.id(topic).is_none_or(|t| !session.topics.contains(&t))
        };
        topics.iter().filter(is_new).cloned().collect()
    }

    fn register(&mut self, id: SessionId, topics: &[Topic]) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        session.subscribe_by = None;
        for topic in topics {
            let has = self
                .topics
                .id(topic)
                .is_some_and(|topic| session.topics.contains(&topic));
            if !has {
                session.topics.insert(self.topics.subscribe(topic));
            }
        }
    }

    /// Queues snapshot and `live` of each; the heartbeat last, because it carries the cursor.
    pub(super) fn push_snapshots(&mut self, id: SessionId, topics: &[Topic]) {
        let Some(form) = self.open_session(id).map(|session| session.form) else {
            return;
        };
        let with_status = topics.contains(&Topic::Status);
        for topic in topics.iter().filter(|topic| **topic != Topic::Status) {
            let bytes = self.snapshot_bytes(topic, form);
            self.push(id, bytes);
        }
        if with_status {
            let at = Some(self.world.at());
            let item = items::status(&self.world.status, self.clock.now(), at);
            self.push_on_status(id, &item);
            let live = items::live(self.world.at());
            self.push_on_status(id, &live);
        }
    }

    /// Queues frames that must come.
    pub(super) fn push(&mut self, id: SessionId, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        if let Some(session) = self.open_session(id) {
            session.outbox.push(bytes);
        }
    }

    /// Whether the session may have so many streams.
    pub(super) fn within_limit(&self, id: SessionId, topics: &[Topic]) -> Result<(), Refusal> {
        let max = self.settings.limits.max_streams;
        let ids = &self.topics;
        let Some(session) = self.sessions.get(id) else {
            return Ok(());
        };
        let is_new = |topic: &&Topic| ids.id(topic).is_none_or(|t| !session.topics.contains(&t));
        let more = topics.iter().filter(is_new).count();
        if session.topics.len() + more > max {
            return Err(Refusal::TooMany(max));
        }
        Ok(())
    }
}
