//! What a shard does with a client's requests. Each is one step: checked, registered, answered and given its snapshots
//! without a pause in which something could happen. While a replay runs, requests that would change the connection's
//! streams or form wait behind it.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use super::build::Builder;
use super::close::CloseReason;
use super::flush::cursor;
use super::frame;
use super::items;
use super::protocol::{self, Ask, Cursor, Refusal, Request, RequestId, shorten};
use super::replay::Plan;
use super::session::{Phase, SessionId};
use super::settings::Form;
use super::shard::{Shard, later};
use super::topic::Topic;
use super::topics::TopicId;
use crate::clock::Mono;

/// How long the log may take to reach a cursor that is known to the store: it is a batch away.
const HOLD_WITHIN: Duration = Duration::from_secs(5);

/// Requests that may wait behind a replay.
const HELD: usize = 64;

impl Shard {
    /// A message of the client.
    pub(super) fn request(&mut self, id: SessionId, text: &str) {
        let Some(session) = self.open_session(id) else {
            return;
        };
        match protocol::parse(text) {
            Err((refusal, request)) => self.answer(id, &refusal.answer(&request)),
            Ok(request) => {
                if matches!(request.ask, Ask::Subscribe { .. }) {
                    session.subscribe_by = None;
                }
                self.act(id, request);
            }
        }
        self.drain(id);
    }

    fn act(&mut self, id: SessionId, request: Request) {
        let Some(session) = self.open_session(id) else {
            return;
        };
        let busy = session.replay.is_some() || !session.held.is_empty();
        match request.ask {
            Ask::Ping => {
                let now = self.clock.now();
                let open = self.sessions.get_mut(id);
                let at = open.and_then(|session| cursor(session, self.world.at()));
                let result = items::pong(now, at);
                self.answer(id, &protocol::answer(&result, &request.id));
            }
            Ask::Auth => self.answer(id, &protocol::answer("null", &request.id)),
            Ask::GetCombined => {
                let combined = session.form == Form::Wrapped;
                self.answer(id, &protocol::answer(&combined.to_string(), &request.id));
            }
            Ask::Subscribe { since: Some(_), .. } if busy => {
                let words =
                    "one SUBSCRIBE with since at a time: wait for the live of the one before";
                let refusal = Refusal::Invalid(words.into());
                self.answer(id, &refusal.answer(&request.id));
            }
            Ask::Subscribe { .. }
            | Ask::Unsubscribe { .. }
            | Ask::ListSubscriptions
            | Ask::SetCombined(_)
                if busy =>
            {
                if session.held.len() >= HELD {
                    let words = format!("more than {HELD} requests while a replay runs");
                    return self.close(id, &CloseReason::Rule(words));
                }
                session.held.push_back(request);
            }
            Ask::Subscribe { names, since } => self.subscribe(id, names, since, request.id),
            Ask::Unsubscribe { names } => self.unsubscribe(id, &names, &request.id),
            Ask::ListSubscriptions => self.list(id, &request.id),
            Ask::SetCombined(combined) => {
                session.form = if combined { Form::Wrapped } else { Form::Raw };
                self.answer(id, &protocol::answer("null", &request.id));
                self.regroup(id);
            }
        }
    }

    /// Takes up what was held, until something has to wait again.
    pub(super) fn go_on(&mut self, id: SessionId) {
        let Some(session) = self.open_session(id) else {
            return;
        };
        let mut held = std::mem::take(&mut session.held);
        while let Some(request) = held.pop_front() {
            self.act(id, request);
            let Some(session) = self.open_session(id) else {
                return;
            };
            if session.replay.is_some() || !session.held.is_empty() {
                session.held.append(&mut held);
            }
        }
        self.drain(id);
    }

    pub(super) fn answer(&mut self, id: SessionId, text: &str) {
        if let Some(session) = self.open_session(id) {
            session.outbox.push(frame::text(text.as_bytes()));
        }
    }

    /// Streams named in the URL: an error cannot be answered by id, so it closes.
    pub(super) fn subscribe_url(&mut self, id: SessionId, names: &[String]) {
        let topics = self
            .resolve(names)
            .and_then(|topics| self.within_limit(id, topics));
        match topics {
            Ok(topics) => {
                self.register(id, &topics);
                self.push_snapshots(id, &topics);
                self.regroup(id);
            }
            Err(refusal) => {
                self.answer(id, &refusal.answer(&RequestId::null()));
                self.close(id, &CloseReason::Rule(refusal.to_string()));
            }
        }
    }

    fn subscribe(
        &mut self,
        id: SessionId,
        names: Vec<String>,
        since: Option<Cursor>,
        request: RequestId,
    ) {
        let topics = self
            .resolve(&names)
            .and_then(|topics| self.within_limit(id, topics));
        let topics = match topics {
            Ok(topics) => topics,
            Err(refusal) => return self.answer(id, &refusal.answer(&request)),
        };
        let Some(since) = since else {
            self.register(id, &topics);
            self.answer(id, &protocol::answer("null", &request));
            self.push_snapshots(id, &topics);
            return self.regroup(id);
        };
        self.resume(id, names, topics, since, request);
    }

    fn resume(
        &mut self,
        id: SessionId,
        names: Vec<String>,
        topics: Vec<Topic>,
        since: Cursor,
        request: RequestId,
    ) {
        let new = self.new_of(id, &topics);
        let at = (self.world.epoch().clone(), self.world.head());
        let now = Mono::now();
        match self.plan(&new, &since) {
            Plan::Wait => {
                let ask = Ask::Subscribe {
                    names,
                    since: Some(since),
                };
                if let Some(session) = self.open_session(id) {
                    session.held.push_front(Request { id: request, ask });
                    session.held_until.get_or_insert(later(now, HOLD_WITHIN));
                    self.holding.insert(id);
                }
            }
            Plan::Anew(reason) => {
                self.register(id, &topics);
                let result = format!(
                    r#"{{"resumed":false,"reason":"{reason}","epoch":"{}","seq":{}}}"#,
                    at.0, at.1
                );
                self.answer(id, &protocol::answer(&result, &request));
                self.push_snapshots(id, &topics);
                self.regroup(id);
            }
            Plan::Replay(missed) => {
                self.register(id, &topics);
                let result = format!(
                    r#"{{"resumed":true,"replayed":{},"epoch":"{}","seq":{}}}"#,
                    missed.len(),
                    at.0,
                    at.1
                );
                self.answer(id, &protocol::answer(&result, &request));
                let streams = new.iter().filter_map(|t| self.topics.id(t)).collect();
                self.begin_replay(id, missed, topics, streams);
            }
        }
    }

    /// Those numbered topics the session does not have yet.
    fn new_of(&mut self, id: SessionId, topics: &[Topic]) -> Vec<Topic> {
        let ids = &self.topics;
        let Some(session) = self.sessions.get_mut(id) else {
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
        session.held_until = None;
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

    fn push(&mut self, id: SessionId, bytes: Bytes) {
        if let Some(session) = self.open_session(id) {
            session.outbox.push(bytes);
        }
    }

    fn unsubscribe(&mut self, id: SessionId, names: &[String], request: &RequestId) {
        let parsed: Vec<_> = names
            .iter()
            .map(|name| (name, Topic::parse(name)))
            .collect();
        let bad = parsed.iter().filter(|(_, topic)| topic.is_none());
        let bad: Vec<String> = bad.map(|(name, _)| quoted(name)).collect();
        if !bad.is_empty() {
            let refusal = Refusal::Invalid(unknown_stream(&bad));
            return self.answer(id, &refusal.answer(request));
        }
        let topics = parsed.into_iter().filter_map(|(_, topic)| topic);
        let ids: Vec<TopicId> = topics.filter_map(|topic| self.topics.id(&topic)).collect();
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let had: Vec<TopicId> = ids
            .into_iter()
            .filter(|t| session.topics.remove(t))
            .collect();
        for topic in &had {
            session.outbox.forget(*topic);
        }
        self.regroup(id); // leaves the old group before its topics may end
        for topic in had {
            self.topics.unsubscribe(topic);
        }
        self.answer(id, &protocol::answer("null", request));
    }

    fn list(&mut self, id: SessionId, request: &RequestId) {
        let topics = &self.topics;
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let entries = session.topics.iter().filter_map(|t| topics.entry(*t));
        let names: BTreeSet<String> = entries.map(|entry| format!("\"{}\"", entry.name)).collect();
        let names: Vec<String> = names.into_iter().collect();
        let result = format!("[{}]", names.join(","));
        self.answer(id, &protocol::answer(&result, request));
    }

    /// The topics of these names, each once; all or none.
    fn resolve(&self, names: &[String]) -> Result<Vec<Topic>, Refusal> {
        let mut topics = Vec::with_capacity(names.len());
        let mut seen = BTreeSet::new();
        let (mut unknown, mut unwatched, mut symbols) = (Vec::new(), Vec::new(), Vec::new());
        let mut unloaded = false;
        for name in names {
            let Some(topic) = Topic::parse(name) else {
                unknown.push(quoted(name));
                continue;
            };
            let watched = &self.settings.intervals;
            if topic.interval().is_some_and(|i| !watched.contains(&i)) {
                unwatched.push(quoted(name));
                continue;
            }
            if let Topic::Signal(key) | Topic::Hama(key) = &topic
                && self.world.newest(key).is_none()
            {
                unloaded |= !self.world.is_loaded();
                symbols.push(quoted(key.symbol.as_str()));
                continue;
            }
            if seen.insert(topic.clone()) {
                topics.push(topic);
            }
        }
        let mut words = Vec::new();
        if unloaded {
            words.push("the watch list is not loaded yet; try again in a few seconds".into());
        } else if !symbols.is_empty() {
            let list = symbols.join(", ");
            words.push(format!("unknown symbol {list}; see /api/v1/symbols"));
        }
        if !unwatched.is_empty() {
            let watched: Vec<_> = self.settings.intervals.iter().map(|i| i.name()).collect();
            words.push(format!(
                "interval of {} is not watched; watched: {}",
                unwatched.join(", "),
                watched.join(", ")
            ));
        }
        if !unknown.is_empty() {
            words.push(unknown_stream(&unknown));
        }
        if words.is_empty() {
            Ok(topics)
        } else {
            Err(Refusal::Invalid(words.join("; ")))
        }
    }

    fn within_limit(&mut self, id: SessionId, topics: Vec<Topic>) -> Result<Vec<Topic>, Refusal> {
        let max = self.settings.limits.max_streams;
        let ids = &self.topics;
        let Some(session) = self.sessions.get_mut(id) else {
            return Ok(topics);
        };
        let is_new = |topic: &&Topic| ids.id(topic).is_none_or(|t| !session.topics.contains(&t));
        let more = topics.iter().filter(is_new).count();
        if session.topics.len() + more > max {
            return Err(Refusal::TooMany(max));
        }
        Ok(topics)
    }

    /// The numbering began anew: every signal stream is told, then gets its snapshot and `live`.
    pub(super) fn reset_all(&mut self) {
        for id in self.sessions.ids() {
            self.replaying.remove(&id);
            let topics = &self.topics;
            let Some(session) = self.sessions.get_mut(id).filter(|s| s.phase == Phase::Open) else {
                continue;
            };
            let replay = session.replay.take();
            let entries = session.topics.iter().filter_map(|t| topics.entry(*t));
            let numbered: Vec<Topic> = entries
                .map(|entry| entry.topic.clone())
                .filter(|topic| topic.is_numbered() || replay.is_some())
                .collect();
            let mut builder = Builder::new(&self.topics, session.form);
            for topic in numbered.iter().filter(|topic| topic.is_numbered()) {
                if let Some(topic) = self.topics.id(topic) {
                    builder.one(topic, &items::reset(self.world.at(), "log_lost"));
                }
            }
            let bytes = builder.finish().bytes;
            self.push(id, bytes);
            self.push_snapshots(id, &numbered);
            self.regroup(id);
            self.go_on(id);
        }
    }
}

fn quoted(name: &str) -> String {
    format!("'{}'", shorten(name))
}

fn unknown_stream(names: &[String]) -> String {
    format!(
        "unknown stream {}; names are lower case, as btcusdt@signal_15m, btcusdt@hama_15m, !signal_15m@arr, !hama_15m@arr, !status",
        names.join(", ")
    )
}
