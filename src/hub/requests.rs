//! What a shard does with a client's requests, each of them in one step. While a replay runs, requests that would change
//! the connection's streams or form wait behind it. What a SUBSCRIBE does stands in `subscribe`.

use std::collections::BTreeSet;

use super::close::CloseReason;
use super::flush::cursor;
use super::frame;
use super::items;
use super::names::{quoted, unknown_stream};
use super::protocol::{self, Ask, Refusal, Request, RequestId};
use super::session::SessionId;
use super::settings::Form;
use super::shard::Shard;
use super::topic::Topic;
use super::topics::TopicId;

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
        self.unsubscribe_from(had);
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
}
