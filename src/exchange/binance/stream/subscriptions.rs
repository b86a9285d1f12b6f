//! What a connection has asked for, what was acknowledged, and what it says next. One request at a time is under way and
//! messages keep their distance, so that no burst is ever sent (hazard 13). Pure: told the time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::name::{Name, Names};
use super::whole_ms;
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
    names: Vec<Name>,
    answer_by: Mono,
}

/// The subscriptions of one connection.
#[derive(Debug)]
pub(super) struct Subscriptions {
    gap_ms: u64,
    ack_ms: u64,
    wanted: Names,
    held: BTreeSet<Name>,
    /// To be left and joined anew; carried meanwhile all the same.
    renewed: BTreeSet<Name>,
    under_way: Option<Request>,
    last_id: u64,
    speak_at: Mono,
    /// The turn to speak was already put off for an answer to a ping.
    put_off: bool,
}

impl Subscriptions {
    pub(super) fn new(wanted: Names, message_gap: Duration, ack: Duration) -> Self {
        Self {
            gap_ms: whole_ms(message_gap),
            ack_ms: whole_ms(ack),
            wanted,
            held: BTreeSet::new(),
            renewed: BTreeSet::new(),
            under_way: None,
            last_id: 0,
            speak_at: Mono::default(),
            put_off: false,
        }
    }

    /// Carries `wanted` from now on.
    pub(super) fn want(&mut self, wanted: Names) {
        self.wanted = wanted;
    }

    /// Leaves `keys` and joins them anew: the exchange may have forgotten them (hazard 10).
    pub(super) fn renew(&mut self, keys: &[SeriesKey]) {
        self.renewed.extend(keys.iter().cloned().map(Name::Series));
    }

    /// The series that are acknowledged and still wanted: what a loss takes away.
    pub(super) fn carried(&self) -> Arc<[SeriesKey]> {
        series_of(
            self.held
                .union(&self.renewed)
                .filter(|name| self.wanted.contains(name)),
        )
    }

    /// Whether all that is wanted is acknowledged.
    pub(super) fn are_complete(&self) -> bool {
        self.wanted.is_subset(&self.held)
    }

    /// The next request's text, if one is due. Leaving comes before joining, so that the cap on names holds throughout.
    pub(super) fn next_request(&mut self, now: Mono) -> Option<String> {
        if self.under_way.is_some() || now < self.speak_at {
            return None;
        }
        let (method, names) = self.difference()?;
        self.last_id += 1;
        self.spoke(now);
        let word = match method {
            Method::Subscribe => "SUBSCRIBE",
            Method::Unsubscribe => "UNSUBSCRIBE",
        };
        let params: Vec<_> = names.iter().map(Name::wire).collect();
        let text = serde_json::json!({ "method": word, "params": params, "id": self.last_id });
        self.under_way = Some(Request {
            id: self.last_id,
            method,
            names,
            answer_by: now.plus_ms(self.ack_ms),
        });
        Some(text.to_string())
    }

    /// The request `id` was accepted. Returns the series that are carried since, when it was a SUBSCRIBE.
    pub(super) fn accepted(&mut self, id: u64) -> Option<Arc<[SeriesKey]>> {
        let request = self.under_way.take_if(|request| request.id == id)?;
        match request.method {
            Method::Subscribe => {
                for name in &request.names {
                    self.renewed.remove(name);
                    self.held.insert(name.clone());
                }
                let wanted = request.names.iter();
                let up = series_of(wanted.filter(|name| self.wanted.contains(name)));
                Some(up).filter(|keys| !keys.is_empty())
            }
            Method::Unsubscribe => {
                for name in &request.names {
                    self.held.remove(name);
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
        self.put_off = false;
    }

    /// A ping was answered: that is a message too. It puts our turn off once, lest a stream of pings keep us from speaking.
    pub(super) fn answered_ping(&mut self, now: Mono) {
        if !self.put_off {
            self.spoke(now.max(self.speak_at));
            self.put_off = true;
        }
    }

    /// When to look again, if nothing else happens.
    pub(super) fn look_at(&self) -> Option<Mono> {
        match &self.under_way {
            Some(request) => Some(request.answer_by),
            None => self.difference().map(|_| self.speak_at),
        }
    }

    fn difference(&self) -> Option<(Method, Vec<Name>)> {
        let leaves = |name: &&Name| !self.wanted.contains(name) || self.renewed.contains(name);
        let leave: Vec<_> = self.held.iter().filter(leaves).cloned().collect();
        if !leave.is_empty() {
            return Some((Method::Unsubscribe, leave));
        }
        let join: Vec<_> = self.wanted.difference(&self.held).cloned().collect();
        (!join.is_empty()).then_some((Method::Subscribe, join))
    }
}

fn series_of<'a>(names: impl Iterator<Item = &'a Name>) -> Arc<[SeriesKey]> {
    names.filter_map(Name::series).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::super::name::names_for;
    use super::*;
    use crate::market::{Interval, Symbol};

    fn key(name: &str) -> SeriesKey {
        SeriesKey::new(Symbol::parse(name).unwrap(), Interval::M1)
    }

    fn names(names: &[&str]) -> Names {
        Arc::new(names.iter().map(|name| Name::Series(key(name))).collect())
    }

    fn subscriptions(of: &[&str]) -> Subscriptions {
        Subscriptions::new(
            names(of),
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
        subs.want(names(&["AUSDT", "BUSDT"]));
        assert_eq!(subs.next_request(at(5_000)), None, "unanswered");
        assert!(subs.accepted(9).is_none(), "another's answer");
        assert_eq!(subs.accepted(1).unwrap().len(), 1, "one is not wanted now");
        subs.spoke(at(5_000)); // a ping
        assert_eq!(subs.next_request(at(5_249)), None, "too soon");
        assert!(subs.next_request(at(5_250)).unwrap().contains("UNSUB"));
        assert!(subs.accepted(2).is_none());
        assert!(subs.next_request(at(5_500)).unwrap().contains("busdt"));
        assert!(!subs.are_complete());
        subs.accepted(3);
        assert!(subs.are_complete());
        assert_eq!(subs.carried().len(), 2);
        assert_eq!(subs.next_request(at(60_000)), None, "nothing to say");
        assert_eq!(subs.look_at(), None);
    }

    /// A ping of the exchange every two seconds, a change of the set at every turn: what we say within a second, the
    /// answers included, stays under the exchange's patience. Pings without end do not keep us from speaking.
    #[test]
    fn h13_answers_to_pings_count_and_do_not_keep_us_from_speaking() {
        let mut subs = subscriptions(&["AUSDT"]);
        let mut said = Vec::new();
        for ms in (0..10_000).step_by(50) {
            let now = Mono::from_ms(ms);
            if ms % 2_000 == 0 {
                subs.answered_ping(now);
                said.push(ms);
            }
            if subs.next_request(now).is_some() {
                said.push(ms);
                subs.accepted(subs.last_id);
            }
            if subs.are_complete() {
                let other = if subs.last_id % 4 == 1 {
                    "BUSDT"
                } else {
                    "AUSDT"
                };
                subs.want(names(&[other]));
            }
        }
        let most = said
            .iter()
            .map(|from| {
                said.iter()
                    .filter(|at| (*from..from + 1_000).contains(*at))
                    .count()
            })
            .max();
        assert!(said.len() > 30 && most <= Some(5), "{most:?} of {said:?}");
        subs.spoke(Mono::from_ms(20_000));
        for ms in (20_010..20_500).step_by(10) {
            subs.answered_ping(Mono::from_ms(ms));
        }
        assert!(subs.speak_at <= Mono::from_ms(20_500), "pings starve us");
        let mut answering = subscriptions(&["AUSDT"]);
        answering.answered_ping(Mono::from_ms(1_000));
        assert_eq!(answering.next_request(Mono::from_ms(1_249)), None);
        assert!(answering.next_request(Mono::from_ms(1_250)).is_some());
    }

    #[test]
    fn h10_a_renewed_name_is_left_and_joined_again() {
        let at = Mono::from_ms;
        let mut subs = subscriptions(&["AUSDT", "BUSDT"]);
        subs.next_request(at(0)).unwrap();
        subs.accepted(1);
        subs.renew(&[key("BUSDT")]);
        let leave = subs.next_request(at(1_000)).unwrap();
        assert!(
            leave.contains(r#""UNSUBSCRIBE","params":["busdt@kline_1m"]"#),
            "{leave}"
        );
        subs.accepted(2);
        assert_eq!(subs.carried().len(), 2, "a loss takes both away");
        let join = subs.next_request(at(2_000)).unwrap();
        assert!(
            join.contains(r#""SUBSCRIBE","params":["busdt@kline_1m"]"#),
            "{join}"
        );
        assert_eq!(*subs.accepted(3).unwrap(), [key("BUSDT")]);
        assert_eq!(subs.next_request(at(9_000)), None, "once");
    }

    #[test]
    fn news_of_contracts_are_subscribed_and_are_no_series() {
        let wanted = Arc::new(names_for(&BTreeSet::from([key("AUSDT")])));
        let mut subs = Subscriptions::new(wanted, Duration::ZERO, Duration::from_secs(10));
        let text = subs.next_request(Mono::default()).unwrap();
        assert!(
            text.contains(r#"["!contractInfo","ausdt@kline_1m"]"#),
            "{text}"
        );
        assert_eq!(*subs.accepted(1).unwrap(), [key("AUSDT")]);
        assert_eq!(names_for(&BTreeSet::new()).len(), 0);
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
