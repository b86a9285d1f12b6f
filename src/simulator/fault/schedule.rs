//! What is in force and whom it strikes. Every place where faults do harm asks here, with where it stands (`Place`) and
//! a key that names the opportunity. Whether an opportunity is taken depends on the simulator's seed, the fault's
//! number and the key alone, never on time or on the order in which tasks ask: same seed, same strikes.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::watch;

use super::{Connections, Fault, FaultError, FaultKind, TransportFault, TunnelFault};
use crate::market::{Interval, Symbol, TimeMs};
use crate::simulator::clock::SimClock;
use crate::simulator::generator::{mix, unit};

/// Keys remembered per fault: 600 series of a minute for five hours. Then decisions are made anew, to the same end.
const KEPT_KEYS: usize = 200_000;

/// The faults of one exchange.
#[derive(Debug)]
pub(in crate::simulator) struct Faults {
    seed: u64,
    book: Mutex<Book>,
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Book {
    last_number: u64,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    fault: Fault,
    from: TimeMs,
    to: Option<TimeMs>,
    strikes: u64,
    /// How often each key had an opportunity.
    met: BTreeMap<String, u64>,
    /// Keys that were decided for good.
    held: BTreeMap<String, bool>,
}

/// Where an opportunity is: what is `None` has no such thing, and no scope that names one fits.
#[derive(Debug, Clone, Default)]
pub(in crate::simulator) struct Place<'a> {
    pub path: Option<&'a str>,
    pub connection: Option<u64>,
    pub symbol: Option<Symbol>,
    pub interval: Option<Interval>,
    /// When the connection was opened.
    pub opened: Option<Opened>,
}

/// When a connection was opened, for faults that strike what is open at a moment.
#[derive(Debug, Clone, Copy)]
pub(in crate::simulator) struct Opened {
    at: TimeMs,
    /// The newest fault then. A client that is back within the same millisecond has not met it again.
    after_fault: u64,
}

/// A fault that strikes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::simulator) struct Strike<T> {
    /// The fault's number.
    pub number: u64,
    /// What was picked of it.
    pub what: T,
}

/// How an opportunity is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opportunity {
    /// Each time anew.
    Once,
    /// Once for its key, as long as the fault is in force.
    Lasting,
}

/// All faults, as `/sim/fault` lists them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FaultsReport {
    /// The exchange's time.
    pub now_ms: TimeMs,
    /// In the order in which they were told.
    pub faults: Vec<FaultReport>,
}

/// One fault and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct FaultReport {
    /// Its number, from 1.
    pub number: u64,
    /// Whether it strikes.
    pub state: FaultState,
    /// How often it has.
    pub strikes: u64,
    /// The fault, its times as exchange time.
    pub fault: Fault,
}

/// Whether a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultState {
    /// It has not begun.
    Waiting,
    /// It does.
    InForce,
    /// Its time or its count is over.
    Over,
}

impl Faults {
    /// None yet.
    pub(in crate::simulator) fn new(seed: u64) -> Self {
        Self {
            seed,
            book: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }

    /// Takes all of `faults` or, if one is wrong, none.
    pub(in crate::simulator) fn add(
        &self,
        faults: Vec<Fault>,
        now: TimeMs,
    ) -> Result<(), FaultError> {
        for fault in &faults {
            fault.check()?;
        }
        {
            let mut book = self.book();
            for fault in faults {
                book.last_number += 1;
                let (from, to) = fault.scope.window(now);
                let entry = Entry {
                    number: book.last_number,
                    fault,
                    from,
                    to,
                    strikes: 0,
                    met: BTreeMap::new(),
                    held: BTreeMap::new(),
                };
                book.entries.push(entry);
            }
        }
        self.tell();
        Ok(())
    }

    /// A connection is opened at `now`.
    pub(in crate::simulator) fn opened(&self, now: TimeMs) -> Opened {
        Opened {
            at: now,
            after_fault: self.book().last_number,
        }
    }

    /// Ends and forgets all of them.
    pub(in crate::simulator) fn clear(&self) {
        self.book().entries.clear();
        self.tell();
    }

    /// All of them.
    pub(in crate::simulator) fn report(&self, now: TimeMs) -> FaultsReport {
        let faults = self
            .book()
            .entries
            .iter()
            .map(|entry| entry.report(now))
            .collect();
        FaultsReport {
            now_ms: now,
            faults,
        }
    }

    /// What each fault in force at `now` does to the opportunity `key` at `place`, of those `pick` has something for.
    pub(in crate::simulator) fn strike<T>(
        &self,
        now: TimeMs,
        place: &Place<'_>,
        key: &str,
        pick: impl Fn(&FaultKind) -> Option<T>,
    ) -> Vec<Strike<T>> {
        self.decide(
            now,
            std::slice::from_ref(place),
            key,
            Opportunity::Once,
            pick,
        )
    }

    /// As `strike`, of an opportunity that is at several places at once: one of them in scope is enough.
    pub(in crate::simulator) fn strike_any<T>(
        &self,
        now: TimeMs,
        places: &[Place<'_>],
        key: &str,
        pick: impl Fn(&FaultKind) -> Option<T>,
    ) -> Vec<Strike<T>> {
        self.decide(now, places, key, Opportunity::Once, pick)
    }

    /// As `strike`, decided once for `key` and then the same for as long as the fault is in force.
    pub(in crate::simulator) fn hold<T>(
        &self,
        now: TimeMs,
        place: &Place<'_>,
        key: &str,
        pick: impl Fn(&FaultKind) -> Option<T>,
    ) -> Vec<Strike<T>> {
        self.decide(
            now,
            std::slice::from_ref(place),
            key,
            Opportunity::Lasting,
            pick,
        )
    }

    fn decide<T>(
        &self,
        now: TimeMs,
        places: &[Place<'_>],
        key: &str,
        opportunity: Opportunity,
        pick: impl Fn(&FaultKind) -> Option<T>,
    ) -> Vec<Strike<T>> {
        let mut book = self.book();
        let mut struck = Vec::new();
        for entry in &mut book.entries {
            if !entry.is_within(now) || !places.iter().any(|place| entry.fits(place)) {
                continue;
            }
            if let Some(what) = pick(&entry.fault.kind)
                && entry.takes(self.seed, key, opportunity)
            {
                let number = entry.number;
                struck.push(Strike { number, what });
            }
        }
        struck
    }

    /// Whether any that `pick` chooses has begun at `now`, over or not: a cheap question before costly ones.
    pub(in crate::simulator) fn any_begun(
        &self,
        now: TimeMs,
        pick: impl Fn(&FaultKind) -> bool,
    ) -> bool {
        let book = self.book();
        let mut entries = book.entries.iter();
        entries.any(|entry| entry.from <= now && pick(&entry.fault.kind))
    }

    /// Whether fault `number` is still there and its time not over.
    pub(in crate::simulator) fn lasts(&self, number: u64, now: TimeMs) -> bool {
        let book = self.book();
        let mut entries = book.entries.iter();
        entries.any(|entry| entry.number == number && entry.is_within(now))
    }

    /// Whether `place` is in the scope of fault `number`.
    pub(in crate::simulator) fn covers(&self, number: u64, place: &Place<'_>) -> bool {
        let book = self.book();
        let mut entries = book.entries.iter();
        entries.any(|entry| entry.number == number && entry.fits(place))
    }

    /// Where `name` stands in the order in which fault `number` prefers names: by the seed.
    pub(in crate::simulator) fn rank(&self, number: u64, name: &str) -> u64 {
        hash(self.seed, number, name, 0)
    }

    /// Real time until the first fault begins or ends after `looked`, when it was last looked at them; none left when that
    /// has happened meanwhile. `None`: none will.
    pub(in crate::simulator) fn until_change(
        &self,
        looked: TimeMs,
        clock: &SimClock,
    ) -> Option<Duration> {
        let book = self.book();
        let times = book
            .entries
            .iter()
            .flat_map(|entry| [Some(entry.from), entry.to]);
        let next = times.flatten().filter(|time| *time > looked).min()?;
        Some(clock.real_until(next))
    }

    /// Told whenever faults are added or cleared.
    pub(in crate::simulator) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn tell(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn is_within(&self, now: TimeMs) -> bool {
        self.from <= now && self.to.is_none_or(|to| now < to)
    }

    fn is_used_up(&self) -> bool {
        self.fault
            .scope
            .count
            .is_some_and(|count| self.strikes >= count)
    }

    fn fits(&self, place: &Place<'_>) -> bool {
        let scope = &self.fault.scope;
        let connection = match scope.connection {
            None | Some(Connections::All) => true,
            Some(Connections::Number(number)) => place.connection == Some(number),
        };
        let path = scope.path.as_ref();
        let path = path.is_none_or(|wanted| {
            place
                .path
                .is_some_and(|path| path.starts_with(wanted.as_str()))
        });
        let symbol = scope
            .symbol
            .as_ref()
            .is_none_or(|symbol| place.symbol.as_ref() == Some(symbol));
        let interval = scope
            .interval
            .is_none_or(|interval| place.interval == Some(interval));
        connection && path && symbol && interval && self.concerns(place)
    }

    /// A close, reset or cut with neither an end nor a count is a moment: it strikes what was open then.
    fn concerns(&self, place: &Place<'_>) -> bool {
        let opened_before = place
            .opened
            .is_some_and(|opened| opened.after_fault < self.number || opened.at < self.from);
        !self.is_moment() || opened_before
    }

    fn is_moment(&self) -> bool {
        let cuts = matches!(
            self.fault.kind,
            FaultKind::Transport(TransportFault::Reset {} | TransportFault::Close { .. })
                | FaultKind::Proxy(TunnelFault::Cut {})
        );
        cuts && self.to.is_none() && self.fault.scope.count.is_none()
    }

    fn takes(&mut self, seed: u64, key: &str, opportunity: Opportunity) -> bool {
        if let Some(decided) = self
            .held
            .get(key)
            .filter(|_| opportunity == Opportunity::Lasting)
        {
            return *decided;
        }
        let ordinal = match opportunity {
            Opportunity::Lasting => 0,
            Opportunity::Once => self.next_ordinal(key),
        };
        let share = self.fault.scope.share.unwrap_or(1.0);
        let taken = !self.is_used_up() && unit(hash(seed, self.number, key, ordinal)) < share;
        self.strikes += u64::from(taken);
        if opportunity == Opportunity::Lasting {
            if self.held.len() >= KEPT_KEYS {
                self.held.clear();
            }
            self.held.insert(key.to_owned(), taken);
        }
        taken
    }

    /// How many opportunities `key` had before this one.
    fn next_ordinal(&mut self, key: &str) -> u64 {
        if let Some(count) = self.met.get_mut(key) {
            *count += 1;
            return *count - 1;
        }
        if self.met.len() < KEPT_KEYS {
            self.met.insert(key.to_owned(), 1);
        }
        0
    }

    fn report(&self, now: TimeMs) -> FaultReport {
        let state = if now < self.from {
            FaultState::Waiting
        } else if self.is_within(now)
            && !self.is_used_up()
            && !(self.is_moment() && now > self.from)
        {
            FaultState::InForce
        } else {
            FaultState::Over
        };
        let mut fault = self.fault.clone();
        fault.scope.from_ms = Some(self.from.ms());
        fault.scope.to_ms = self.to.map(TimeMs::ms);
        fault.scope.after_ms = None;
        fault.scope.for_ms = None;
        FaultReport {
            number: self.number,
            state,
            strikes: self.strikes,
            fault,
        }
    }
}

/// A hash of one opportunity.
fn hash(seed: u64, number: u64, key: &str, ordinal: u64) -> u64 {
    let start = mix(mix(seed ^ 0x6661_756c_7473) ^ number);
    let bytes = key
        .bytes()
        .fold(start, |sum, byte| mix(sum ^ u64::from(byte)));
    mix(bytes ^ ordinal)
}

impl Serialize for FaultReport {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut all = Map::new();
        all.insert("number".to_owned(), Value::from(self.number));
        let state = serde_json::to_value(self.state).unwrap_or(Value::Null);
        all.insert("state".to_owned(), state);
        all.insert("strikes".to_owned(), Value::from(self.strikes));
        all.extend(self.fault.to_json());
        all.serialize(serializer)
    }
}
