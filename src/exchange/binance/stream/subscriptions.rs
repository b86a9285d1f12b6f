//! What a connection has asked for, what was acknowledged, and what it says next. One request at a time is under way and
//! messages keep their distance, so that no burst is ever sent (hazard 13). Of names that are refused together half are
//! asked for next, down to the one that is the trouble, which is set aside. Pure: told the time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::name::{Name, Names};
use super::plan::NAMES_MAX;
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

/// What follows from a refusal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Nothing: no request of ours was under way.
    Nothing,
    /// Fewer names are asked for at a time.
    Halved,
    /// It is this name, which is not asked about until `ask_again`.
    SetAside(SetAside),
}

/// A name that is not asked about for a while.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SetAside {
    pub(super) name: Name,
    /// It was not refused before, or was accepted since.
    pub(super) is_news: bool,
    /// Its candles come: it was only not left.
    pub(super) is_carried: bool,
    /// Its candles came until it was to be renewed.
    pub(super) was_carried: bool,
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
    /// Not asked about at present, since it was refused.
    aside: BTreeSet<Name>,
    /// Refused, and not accepted since.
    refused: BTreeSet<Name>,
    /// Names in one request.
    most: usize,
    /// Nothing is to be asked for: said so that not every turn compares the sets.
    settled: bool,
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
            aside: BTreeSet::new(),
            refused: BTreeSet::new(),
            most: NAMES_MAX,
            settled: false,
            under_way: None,
            last_id: 0,
            speak_at: Mono::default(),
            put_off: false,
        }
    }

    /// Carries `wanted` from now on.
    pub(super) fn want(&mut self, wanted: Names) {
        self.aside
            .retain(|name| wanted.contains(name) || self.held.contains(name));
        self.refused.retain(|name| wanted.contains(name));
        self.wanted = wanted;
        self.settled = false;
    }

    /// Leaves `keys` and joins them anew: the exchange may have forgotten them (hazard 10).
    pub(super) fn renew(&mut self, keys: &[SeriesKey]) {
        let names = keys.iter().cloned().map(Name::Series);
        let held = names.filter(|name| self.held.contains(name));
        self.renewed.extend(held);
        self.settled = false;
    }

    /// What was set aside is asked for once more.
    pub(super) fn ask_again(&mut self) {
        self.aside.clear();
        self.settled = false;
    }

    /// The series that are wanted and not carried, since they were refused.
    pub(super) fn missing(&self) -> Arc<[SeriesKey]> {
        let aside = self.aside.difference(&self.held);
        series_of(aside.filter(|name| self.wanted.contains(name)))
    }

    /// The series that are acknowledged and still wanted: what a loss takes away.
    pub(super) fn carried(&self) -> Arc<[SeriesKey]> {
        series_of(
            self.held
                .union(&self.renewed)
                .filter(|name| self.wanted.contains(name)),
        )
    }

    /// Whether all that is wanted is acknowledged, but for what was set aside.
    pub(super) fn are_complete(&self) -> bool {
        let mut open = self.wanted.difference(&self.held);
        open.all(|name| self.aside.contains(name))
    }

    /// The next request's text, if one is due. Leaving comes before joining, so that the cap on names holds throughout.
    pub(super) fn next_request(&mut self, now: Mono) -> Option<String> {
        if self.settled || self.under_way.is_some() || now < self.speak_at {
            return None;
        }
        let Some((method, names)) = self.difference() else {
            self.settled = true;
            return None;
        };
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
        self.settled = false;
        self.most = (self.most * 2).min(NAMES_MAX);
        match request.method {
            Method::Subscribe => {
                for name in &request.names {
                    self.renewed.remove(name);
                    self.refused.remove(name);
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

    /// The request `id` was refused; without an id, the one that is under way.
    pub(super) fn refused(&mut self, id: Option<u64>) -> Refused {
        let is_it = |request: &mut Request| id.is_none_or(|id| request.id == id);
        let Some(request) = self.under_way.take_if(is_it) else {
            return Refused::Nothing;
        };
        self.settled = false;
        self.most = (request.names.len() / 2).max(1);
        let [name] = request.names.as_slice() else {
            return Refused::Halved;
        };
        let is_carried = self.held.contains(name);
        let was_renewed = self.renewed.remove(name);
        self.aside.insert(name.clone());
        Refused::SetAside(SetAside {
            name: name.clone(),
            is_news: self.refused.insert(name.clone()),
            is_carried,
            was_carried: was_renewed && !is_carried,
        })
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

    /// Nothing of any kind is said before.
    pub(super) fn speak_at(&self) -> Mono {
        self.speak_at
    }

    /// When to look again, if nothing else happens.
    pub(super) fn look_at(&self) -> Option<Mono> {
        match &self.under_way {
            Some(request) => Some(request.answer_by),
            None => (!self.settled).then_some(self.speak_at),
        }
    }

    fn difference(&self) -> Option<(Method, Vec<Name>)> {
        let leaves = |name: &&Name| !self.wanted.contains(name) || self.renewed.contains(name);
        let some = |method, names: &mut dyn Iterator<Item = &Name>| {
            let asked = names.filter(|name| !self.aside.contains(name));
            let names: Vec<_> = asked.take(self.most).cloned().collect();
            (!names.is_empty()).then_some((method, names))
        };
        some(Method::Unsubscribe, &mut self.held.iter().filter(leaves))
            .or_else(|| some(Method::Subscribe, &mut self.wanted.difference(&self.held)))
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

    /// Answers every request of 200 names as one does who refuses some; returns who is set aside, and how often it was asked.
    fn refusing(subs: &mut Subscriptions, bad: &[&str], from_ms: u64) -> (Vec<SetAside>, usize) {
        let (mut aside, mut asked) = (Vec::new(), 0);
        let mut now = from_ms;
        while asked < 1_000
            && let Some(text) = subs.next_request(Mono::from_ms(now))
        {
            asked += 1;
            now += 250;
            let is_bad = |name: &&str| text.contains(&format!("\"{name}@"));
            if bad.iter().any(is_bad) {
                if let Refused::SetAside(one) = subs.refused(Some(subs.last_id)) {
                    aside.push(one);
                }
            } else {
                subs.accepted(subs.last_id);
            }
        }
        (aside, asked)
    }

    #[test]
    fn h14_of_names_that_are_refused_together_only_the_bad_ones_are_set_aside() {
        let all: Vec<_> = (0..200).map(|n| format!("S{n:03}USDT")).collect();
        let all: Vec<_> = all.iter().map(String::as_str).collect();
        let mut subs = subscriptions(&all);
        let (aside, asked) = refusing(&mut subs, &["s017usdt", "s150usdt"], 0);
        let names: Vec<_> = aside.iter().map(|one| one.name.wire()).collect();
        assert_eq!(names, ["s017usdt@kline_1m", "s150usdt@kline_1m"]);
        assert!(
            aside
                .iter()
                .all(|one| one.is_news && !one.is_carried && !one.was_carried)
        );
        assert!(asked < 50, "{asked}");
        assert!(subs.are_complete() && subs.carried().len() == 198);
        assert_eq!(*subs.missing(), [key("S017USDT"), key("S150USDT")]);
        assert_eq!(subs.look_at(), None, "not asked again by itself");
        subs.ask_again();
        assert!(!subs.are_complete());
        let (aside, _) = refusing(&mut subs, &["s017usdt"], 100_000);
        assert!(aside.len() == 1 && !aside[0].is_news, "told before");
        subs.ask_again();
        assert_eq!(refusing(&mut subs, &[], 200_000), (Vec::new(), 1));
        assert!(subs.missing().is_empty() && subs.carried().len() == 200);
    }

    #[test]
    fn h10_a_name_that_is_refused_when_it_is_renewed_is_carried_no_more() {
        let at = Mono::from_ms;
        let mut subs = subscriptions(&["AUSDT"]);
        subs.next_request(at(0)).unwrap();
        subs.accepted(1);
        subs.renew(&[key("AUSDT"), key("BUSDT")]);
        subs.next_request(at(1_000)).unwrap();
        let Refused::SetAside(not_left) = subs.refused(None) else {
            panic!("one name");
        };
        assert!(not_left.is_carried && subs.carried().len() == 1);
        subs.ask_again();
        subs.renew(&[key("AUSDT")]);
        subs.next_request(at(2_000)).unwrap();
        subs.accepted(3);
        assert_eq!(subs.carried().len(), 1, "a loss takes it away");
        subs.next_request(at(3_000)).unwrap();
        let Refused::SetAside(lost) = subs.refused(Some(4)) else {
            panic!("one name");
        };
        assert!(lost.was_carried && !lost.is_carried && subs.carried().is_empty());
        assert_eq!(subs.refused(None), Refused::Nothing);
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
