//! What a connection has asked for, what was acknowledged, and what it says next. One request at a time is under way and
//! messages keep their distance, so that no burst is ever sent (hazard 13). Pure: told the time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::{Keys, whole_ms};
use crate::clock::Mono;
use crate::market::SeriesKey;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Subscribe,
    Unsubscribe,
}

#[derive(Debug)]
struct Request {
    id: u64,
    method: Method,
    keys: Vec<SeriesKey>,
    answer_by: Mono,
}

/// The subscriptions of one connection.
#[derive(Debug)]
pub(super) struct Subscriptions {
    gap_ms: u64,
    ack_ms: u64,
    wanted: Keys,
    held: BTreeSet<SeriesKey>,
    under_way: Option<Request>,
    last_id: u64,
    speak_at: Mono,
}

/// A series' name on the wire. Upper case would be acknowledged and stay silent (hazard 27).
pub(super) fn stream_name(key: &SeriesKey) -> String {
    format!("{}@kline_{}", key.symbol.lower(), key.interval)
}

impl Subscriptions {
    pub(super) fn new(wanted: Keys, message_gap: Duration, ack: Duration) -> Self {
        Self {
            gap_ms: whole_ms(message_gap),
            ack_ms: whole_ms(ack),
            wanted,
            held: BTreeSet::new(),
            under_way: None,
            last_id: 0,
            speak_at: Mono::default(),
        }
    }

    /// Carries `wanted` from now on.
    pub(super) fn want(&mut self, wanted: Keys) {
        self.wanted = wanted;
    }

    /// Whether `key` is still to be carried.
    pub(super) fn wants(&self, key: &SeriesKey) -> bool {
        self.wanted.contains(key)
    }

    /// The series that are acknowledged and still wanted: what a loss takes away.
    pub(super) fn carried(&self) -> Arc<[SeriesKey]> {
        self.held.intersection(&self.wanted).cloned().collect()
    }

    /// The next request's text, if one is due. Leaving comes before joining, so that the cap on names holds throughout.
    pub(super) fn next_request(&mut self, now: Mono) -> Option<String> {
        if self.under_way.is_some() || now < self.speak_at {
            return None;
        }
        let (method, keys) = self.difference()?;
        self.last_id += 1;
        self.spoke(now);
        let names: Vec<_> = keys.iter().map(stream_name).collect();
        let word = match method {
            Method::Subscribe => "SUBSCRIBE",
            Method::Unsubscribe => "UNSUBSCRIBE",
        };
        let text = serde_json::json!({ "method": word, "params": names, "id": self.last_id });
        self.under_way = Some(Request {
            id: self.last_id,
            method,
            keys,
            answer_by: now.plus_ms(self.ack_ms),
        });
        Some(text.to_string())
    }

    /// The request `id` was accepted. Returns the series that are carried since, when it was a SUBSCRIBE.
    pub(super) fn accepted(&mut self, id: u64) -> Option<Arc<[SeriesKey]>> {
        let request = self.under_way.take_if(|request| request.id == id)?;
        match request.method {
            Method::Subscribe => {
                self.held.extend(request.keys.iter().cloned());
                let up = request.keys.into_iter().filter(|key| self.wants(key));
                Some(up.collect::<Arc<[_]>>()).filter(|keys| !keys.is_empty())
            }
            Method::Unsubscribe => {
                for key in &request.keys {
                    self.held.remove(key);
                }
                None
            }
        }
    }

    /// Whether an answer is overdue.
    pub(super) fn is_overdue(&self, now: Mono) -> bool {
        self.under_way
            .as_ref()
            .is_some_and(|request| now >= request.answer_by)
    }

    /// A message of any kind was sent.
    pub(super) fn spoke(&mut self, now: Mono) {
        self.speak_at = now.plus_ms(self.gap_ms);
    }

    /// When to look again, if nothing else happens.
    pub(super) fn look_at(&self) -> Option<Mono> {
        match &self.under_way {
            Some(request) => Some(request.answer_by),
            None => self.difference().map(|_| self.speak_at),
        }
    }

    fn difference(&self) -> Option<(Method, Vec<SeriesKey>)> {
        let leave: Vec<_> = self.held.difference(&self.wanted).cloned().collect();
        if !leave.is_empty() {
            return Some((Method::Unsubscribe, leave));
        }
        let join: Vec<_> = self.wanted.difference(&self.held).cloned().collect();
        (!join.is_empty()).then_some((Method::Subscribe, join))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::{Interval, Symbol};

    fn keys(names: &[&str]) -> Keys {
        let key = |name: &&str| SeriesKey::new(Symbol::parse(name).unwrap(), Interval::M1);
        Arc::new(names.iter().map(key).collect())
    }

    fn subscriptions(names: &[&str]) -> Subscriptions {
        Subscriptions::new(
            keys(names),
            Duration::from_millis(250),
            Duration::from_secs(10),
        )
    }

    #[test]
    fn h13_messages_wait_for_their_turn_and_for_the_answer_before() {
        let at = Mono::from_ms;
        let mut subs = subscriptions(&["AUSDT", "币USDT"]);
        let text = subs.next_request(at(1_000)).unwrap();
        assert_eq!(
            text,
            r#"{"id":1,"method":"SUBSCRIBE","params":["ausdt@kline_1m","币usdt@kline_1m"]}"#
        );
        subs.want(keys(&["AUSDT", "BUSDT"]));
        assert_eq!(subs.next_request(at(5_000)), None, "unanswered");
        assert!(subs.accepted(9).is_none(), "another's answer");
        assert_eq!(subs.accepted(1).unwrap().len(), 1, "one is not wanted now");
        subs.spoke(at(5_000)); // a ping
        assert_eq!(subs.next_request(at(5_249)), None, "too soon");
        assert!(subs.next_request(at(5_250)).unwrap().contains("UNSUB"));
        assert!(subs.accepted(2).is_none());
        assert!(subs.next_request(at(5_500)).unwrap().contains("busdt"));
        subs.accepted(3);
        assert_eq!(subs.carried().len(), 2);
        assert_eq!(subs.next_request(at(60_000)), None, "nothing to say");
        assert_eq!(subs.look_at(), None);
    }

    #[test]
    fn an_answer_that_does_not_come_is_noticed() {
        let mut subs = subscriptions(&["AUSDT"]);
        subs.next_request(Mono::from_ms(0)).unwrap();
        assert_eq!(subs.look_at(), Some(Mono::from_ms(10_000)));
        assert!(!subs.is_overdue(Mono::from_ms(9_999)));
        assert!(subs.is_overdue(Mono::from_ms(10_000)));
    }
}
