//! Watching on demand, as readers may ask for it over any door: what trades and is not watched becomes wanted
//! (`store::Interest`), within limits, so that no stranger spends the exchange's request weight. Asking for what is
//! watched, or wanted already, is free and renews the want. Bounded in memory; addresses are forgotten after an hour.
//! Whether a name trades at all the caller has asked before; who is exempt from the limits HTTP says.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Mono;
use crate::market::{SeriesKey, SeriesStatus, Symbol};
use crate::store::{Noted, Published, Store};

/// How long it is remembered that a contract was asked for: longer than anybody waits for its first result.
const ASKED_LATELY_MS: u64 = 60_000;

/// What `new_contracts_per_hour` counts over.
const HOUR_MS: u64 = 3_600_000;

/// Who is told that the list is full comes back after so long: wants end all the time.
const FULL_FOR_S: u64 = 60;

/// Addresses remembered at a time, about 2 MB; a new one above it is refused until one is forgotten.
const MAX_ADDRESSES: usize = 10_000;

/// So much of an IPv6 address names a customer; the rest is his to choose.
const NETWORK_BITS: u32 = 64;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// Somebody at this machine: nothing is counted.
    Exempt,
    /// Anybody at this address.
    Address(IpAddr),
}

/// Why a contract that trades is not watched for who asks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// His address has asked for too many new ones.
    #[error(
        "not allowed: at most {per_hour} contracts an hour that nobody watches yet; try again in {retry_after_s} s"
    )]
    TooMany {
        /// How many it may ask for in an hour.
        per_hour: usize,
        /// When as many as were asked for may be asked for.
        retry_after_s: u64,
    },
    /// It asks for more new ones at once than it may in an hour: no wait helps.
    #[error(
        "not allowed: at most {0} new contracts an hour that nobody watches yet: ask for fewer"
    )]
    TooManyAtOnce(usize),
    /// No more can be watched.
    #[error(
        "not allowed: as many contracts are watched as may be ({0}, HAMA_MAX_WATCHED); try again in {FULL_FOR_S} s"
    )]
    Full(usize),
}

impl Denied {
    /// After how long the same may be asked for again; none: never.
    pub const fn retry_after_s(&self) -> Option<u64> {
        match self {
            Self::TooMany { retry_after_s, .. } => Some(*retry_after_s),
            Self::TooManyAtOnce(_) => None,
            Self::Full(_) => Some(FULL_FOR_S),
        }
    }
}

/// The door to what is not watched; clones share its limits.
#[derive(Debug, Clone)]
pub struct Demand(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    store: Store,
    max_watched: usize,
    per_hour: usize,
    asked: Mutex<Asked>,
}

/// What was asked for that nobody watched.
#[derive(Debug, Default)]
struct Asked {
    /// When each address asked, within the last hour, oldest first.
    by_address: HashMap<IpAddr, VecDeque<Mono>>,
    /// When each contract was last asked for anew.
    at: BTreeMap<Symbol, Mono>,
}

impl Demand {
    /// Over this store: at most `max_watched` contracts in all, and `per_hour` new ones of one address.
    pub fn new(store: Store, max_watched: usize, per_hour: usize) -> Self {
        Self(Arc::new(Shared {
            store,
            max_watched,
            per_hour,
            asked: Mutex::default(),
        }))
    }

    /// Notes that `asker` wants these series of contracts that trade: all of them, or none and why. What the engine is
    /// known to watch although no result of it has come yet (`is_listed`) is nothing new.
    ///
    /// # Errors
    /// `Denied`.
    pub fn ask(
        &self,
        asker: Asker,
        series: &BTreeSet<SeriesKey>,
        is_listed: impl Fn(&Symbol) -> bool,
        now: Mono,
    ) -> Result<(), Denied> {
        let published = self.0.store.published();
        let is_watched =
            |key: &SeriesKey| published.results.contains_key(key) || is_listed(&key.symbol);
        if series.iter().all(is_watched) {
            return self.want(series, now);
        }
        let mut asked = self.asked(); // until it is wanted: who asks for the same meanwhile is not counted for it
        let wanted = self.0.store.interest().wanted(now);
        let new: BTreeSet<&Symbol> = series
            .iter()
            .filter(|key| !is_watched(key))
            .map(|key| &key.symbol)
            .filter(|symbol| !wanted.contains(symbol))
            .collect();
        // What is wanted already and not watched may be so for want of room: who asks for it waits in vain.
        self.has_room(&published, &wanted, new.len())?;
        if !new.is_empty() {
            asked.count(asker, new.len(), self.0.per_hour, now)?;
            asked.note(new, now);
        }
        self.want(series, now)
    }

    /// When a contract that nobody watched was last asked for; none when that is long ago.
    pub fn asked_at(&self, symbol: &Symbol) -> Option<Mono> {
        self.asked().at.get(symbol).copied()
    }

    /// These series are still subscribed to, or were until now.
    pub(super) fn renew(&self, series: impl IntoIterator<Item = SeriesKey>, now: Mono) {
        // What is watched by a subscription was noted when it began, so that it is not refused now.
        let _ = self.0.store.interest().want(series, now);
    }

    fn want(&self, series: &BTreeSet<SeriesKey>, now: Mono) -> Result<(), Denied> {
        match self.0.store.interest().want(series.iter().cloned(), now) {
            Noted::All => Ok(()),
            Noted::Full => Err(Denied::Full(self.0.max_watched)),
        }
    }

    /// Counts as the engine does: what has ended takes nobody's place.
    fn has_room(
        &self,
        published: &Published,
        wanted: &BTreeSet<Symbol>,
        new: usize,
    ) -> Result<(), Denied> {
        let watched = published.results.iter();
        let watched = watched.filter(|(_, result)| result.status != SeriesStatus::Ended);
        let mut taken: BTreeSet<&Symbol> = watched.map(|(key, _)| &key.symbol).collect();
        taken.extend(wanted.intersection(&published.tradable));
        if taken.len() + new > self.0.max_watched {
            return Err(Denied::Full(self.0.max_watched));
        }
        Ok(())
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        let asked = self.0.asked.lock();
        asked.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asked {
    /// Counts `new` contracts more for who asks, unless that is too many.
    fn count(
        &mut self,
        asker: Asker,
        new: usize,
        per_hour: usize,
        now: Mono,
    ) -> Result<(), Denied> {
        let Asker::Address(address) = asker else {
            return Ok(());
        };
        if new > per_hour {
            return Err(Denied::TooManyAtOnce(per_hour));
        }
        let address = network(address);
        self.forget_old(now);
        let too_many = |wait_ms: u64| Denied::TooMany {
            per_hour,
            retry_after_s: wait_ms.div_ceil(1_000).max(1),
        };
        if self.by_address.len() >= MAX_ADDRESSES && !self.by_address.contains_key(&address) {
            return Err(too_many(HOUR_MS));
        }
        let had = self.by_address.entry(address).or_default();
        let above = (had.len() + new).saturating_sub(per_hour);
        if above > 0 {
            // So many of the oldest must be an hour old.
            let gone = had.get(above - 1).copied().unwrap_or(now);
            return Err(too_many(gone.plus_ms(HOUR_MS).ms_since(now)));
        }
        had.extend(std::iter::repeat_n(now, new));
        Ok(())
    }

    fn forget_old(&mut self, now: Mono) {
        self.by_address.retain(|_, had| {
            had.retain(|at| now.ms_since(*at) < HOUR_MS);
            !had.is_empty()
        });
    }

    fn note(&mut self, new: BTreeSet<&Symbol>, now: Mono) {
        self.at.retain(|_, at| now.ms_since(*at) < ASKED_LATELY_MS);
        self.at
            .extend(new.into_iter().map(|symbol| (symbol.clone(), now)));
    }
}

/// An address, of IPv6 the network it is in.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let mask = u128::MAX << (u128::BITS - NETWORK_BITS);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::TimeMs;
    use crate::signal::SignalResult;
    use crate::store::Occasion;

    const MINUTE: u64 = 60_000;

    fn at(address: &str) -> Asker {
        Asker::Address(address.parse().unwrap())
    }

    fn count(asked: &mut Asked, asker: Asker, new: usize, minute: u64) -> Option<u64> {
        let outcome = asked.count(asker, new, 20, Mono::from_ms(minute * MINUTE));
        outcome.err().map(|denied| match denied {
            Denied::TooMany { retry_after_s, .. } => retry_after_s,
            Denied::TooManyAtOnce(_) | Denied::Full(_) => unreachable!("no more than an hour's"),
        })
    }

    #[test]
    fn an_address_has_twenty_new_contracts_in_any_hour() {
        let mut asked = Asked::default();
        let stranger = at("203.0.113.7");
        assert_eq!(count(&mut asked, stranger, 5, 0), None);
        assert_eq!(count(&mut asked, stranger, 15, 30), None);
        assert_eq!(
            count(&mut asked, stranger, 1, 59),
            Some(60),
            "the first is 59 minutes old"
        );
        assert_eq!(count(&mut asked, stranger, 5, 60), None);
        assert_eq!(count(&mut asked, stranger, 1, 60), Some(30 * 60));
        let at_once = asked.count(stranger, 21, 20, Mono::from_ms(200 * MINUTE));
        assert_eq!(at_once, Err(Denied::TooManyAtOnce(20)));
        let words = at_once.unwrap_err().to_string();
        assert!(
            words.ends_with("ask for fewer") && !words.contains(" s"),
            "{words}"
        );
        assert_eq!(
            count(&mut asked, stranger, 20, 200),
            None,
            "a refusal counts nothing"
        );
    }

    #[test]
    fn addresses_count_apart_and_those_of_one_ipv6_network_together() {
        let mut asked = Asked::default();
        assert_eq!(count(&mut asked, at("203.0.113.7"), 20, 0), None);
        assert_eq!(count(&mut asked, at("203.0.113.8"), 20, 0), None);
        assert!(count(&mut asked, at("::ffff:203.0.113.8"), 1, 0).is_some());
        assert_eq!(count(&mut asked, at("2001:db8:0:1::1"), 20, 0), None);
        assert!(count(&mut asked, at("2001:db8:0:1:ffff::2"), 1, 0).is_some());
        assert_eq!(count(&mut asked, at("2001:db8:0:2::1"), 20, 0), None);
        assert_eq!(count(&mut asked, Asker::Exempt, 500, 0), None);
    }

    #[test]
    fn what_cannot_be_had_yet_is_said_with_the_same_time_in_words_and_in_seconds() {
        let full = Denied::Full(600);
        assert_eq!(full.retry_after_s(), Some(60));
        assert!(full.to_string().ends_with("try again in 60 s"), "{full}");
        assert_eq!(Denied::TooManyAtOnce(20).retry_after_s(), None);
    }

    fn wanted(names: &[&str]) -> BTreeSet<SeriesKey> {
        let symbols = names.iter().map(|name| Symbol::parse(name).unwrap());
        let key = |symbol| SeriesKey::new(symbol, crate::market::Interval::M15);
        symbols.map(key).collect()
    }

    fn traded(names: &[&str]) -> crate::store::Write {
        let symbols = names.iter().map(|name| Symbol::parse(name).unwrap());
        crate::store::Write::Tradable(Arc::new(symbols.collect()))
    }

    fn is_full(outcome: &Result<(), Denied>) -> bool {
        matches!(outcome, Err(Denied::Full(_)))
    }

    #[test]
    fn what_is_wanted_and_finds_no_room_is_refused_to_the_next_who_asks() {
        let store = Store::memory();
        let demand = Demand::new(store.clone(), 2, 20);
        store.view().write(vec![traded(&["A", "B", "C"])]);
        let (now, none_listed) = (Mono::from_ms(0), |_: &Symbol| false);
        let ask = |names: &[&str]| demand.ask(Asker::Exempt, &wanted(names), none_listed, now);
        assert_eq!(ask(&["A", "B"]), Ok(()));
        assert_eq!(ask(&["A"]), Ok(()), "it is on its way");
        assert!(is_full(&ask(&["C"])));
        // Another process let it in at the same time: one of the three is not watched.
        store.interest().want(wanted(&["C"]), now);
        assert!(is_full(&ask(&["C"])));
        assert!(is_full(&ask(&["A"])));
        store.view().write(vec![traded(&["A", "C"])]);
        assert_eq!(
            ask(&["C"]),
            Ok(()),
            "what trades no more takes nobody's place"
        );
    }

    /// Watched, with this status.
    fn watched(name: &str, status: SeriesStatus) -> crate::store::Write {
        let key = wanted(&[name]).pop_first().unwrap();
        let mut result = SignalResult::warming(&key, TimeMs::new(0));
        result.status = status;
        crate::store::Write::Result {
            result: Box::new(result),
            occasion: Occasion::Status,
        }
    }

    #[test]
    fn what_is_watched_is_free_however_full_the_list_is_and_what_has_ended_takes_no_place() {
        let store = Store::memory();
        store.view().write(vec![
            watched("A", SeriesStatus::Live),
            watched("B", SeriesStatus::Warming),
            watched("OVER", SeriesStatus::Ended),
        ]);
        let ask = |max_watched: usize, name: &str| {
            let demand = Demand::new(store.clone(), max_watched, 20);
            demand.ask(Asker::Exempt, &wanted(&[name]), |_| false, Mono::from_ms(0))
        };
        assert_eq!(ask(1, "A"), Ok(()), "watched, so nothing new");
        assert!(is_full(&ask(2, "C")));
        assert_eq!(ask(3, "C"), Ok(()), "the third of three");
    }

    #[test]
    fn what_the_store_can_note_no_more_is_refused() {
        let store = Store::memory();
        let demand = Demand::new(store.clone(), 600, 20);
        let names: Vec<_> = (0..2_000).map(|n| format!("N{n}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let now = Mono::from_ms(0);
        assert_eq!(store.interest().want(wanted(&names), now), Noted::All);
        let outcome = demand.ask(Asker::Exempt, &wanted(&["A"]), |_| false, now);
        assert!(is_full(&outcome), "{outcome:?}");
    }

    #[test]
    fn what_is_on_the_engines_list_is_not_new() {
        let store = Store::memory();
        let demand = Demand::new(store.clone(), 1, 1);
        let stranger = at("203.0.113.7");
        let listed = |symbol: &Symbol| symbol.as_str() != "C";
        let ask = |names: &[&str]| demand.ask(stranger, &wanted(names), listed, Mono::from_ms(0));
        assert_eq!(ask(&["A", "B"]), Ok(()));
        assert_eq!(store.interest().wanted(Mono::from_ms(0)).len(), 2);
        assert_eq!(ask(&["A", "B", "C"]), Ok(()));
    }

    #[test]
    fn addresses_are_bounded_and_forgotten_after_an_hour() {
        let mut asked = Asked::default();
        for n in 0..u32::try_from(MAX_ADDRESSES).unwrap() {
            let address = Asker::Address(std::net::Ipv4Addr::from_bits(n).into());
            assert_eq!(count(&mut asked, address, 1, 0), None);
        }
        assert!(count(&mut asked, at("203.0.113.7"), 1, 59).is_some());
        assert_eq!(
            count(&mut asked, at("0.0.0.1"), 1, 59),
            None,
            "known already"
        );
        assert_eq!(count(&mut asked, at("203.0.113.7"), 1, 60), None);
        assert_eq!(asked.by_address.len(), 2);
    }
}
