//! What is in force and whom it strikes. Every place where faults do harm asks here, with where it stands (`Place`) and
//! a key that names the opportunity. Whether an opportunity is taken depends on the simulator's seed, the fault's
//! number and the key alone, never on time or on the order in which tasks ask: same seed, same strikes.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::watch;

use super::{Connections, Fault, FaultError, FaultKind};
use crate::market::{Interval, Symbol, TimeMs};
use crate::simulator::clock::SimClock;
use crate::simulator::generator::{mix, unit};

/// Keys remembered per fault. Beyond them an opportunity is decided as if it were the first of its key.
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
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::simulator) struct Place<'a> {
    pub path: Option<&'a str>,
    pub connection: Option<u64>,
    pub symbol: Option<&'a Symbol>,
    pub interval: Option<Interval>,
}

/// How an opportunity is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opportunity {
    /// Each time anew.
    Once,
    /// Once for its key, as long as the fault is in force.
    Lasting,
}

/// A fault that may strike, as the places see it that look at all of them.
#[derive(Debug, Clone)]
pub(in crate::simulator) struct Known {
    pub number: u64,
    pub fault: Fault,
    pub from: TimeMs,
    pub to: Option<TimeMs>,
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

    /// Those that `pick` chooses, whether in force or not, with their times.
    pub(in crate::simulator) fn known(&self, pick: impl Fn(&FaultKind) -> bool) -> Vec<Known> {
        let book = self.book();
        let chosen = book.entries.iter().filter(|entry| pick(&entry.fault.kind));
        chosen.map(Entry::known).collect()
    }

    /// What each fault in force at `now` does to the opportunity `key` at `place`, of those `pick` has something for.
    pub(in crate::simulator) fn strike<T>(
        &self,
        now: TimeMs,
        place: &Place<'_>,
        key: &str,
        pick: impl Fn(&FaultKind) -> Option<T>,
    ) -> Vec<T> {
        self.decide(now, place, key, Opportunity::Once, pick)
    }

    /// As `strike`, decided once for `key` and then the same for as long as the fault is in force.
    pub(in crate::simulator) fn hold<T>(
        &self,
        now: TimeMs,
        place: &Place<'_>,
        key: &str,
        pick: impl Fn(&FaultKind) -> Option<T>,
    ) -> Vec<T> {
        self.decide(now, place, key, Opportunity::Lasting, pick)
    }

    fn decide<T>(
        &self,
        now: TimeMs,
        place: &Place<'_>,
        key: &str,
        opportunity: Opportunity,
        pick: impl Fn(&FaultKind) -> Option<T>,
    ) -> Vec<T> {
        let mut book = self.book();
        let mut struck = Vec::new();
        for entry in &mut book.entries {
            if !entry.is_within(now) || !entry.fits(place) {
                continue;
            }
            if let Some(what) = pick(&entry.fault.kind)
                && entry.takes(self.seed, key, opportunity)
            {
                struck.push(what);
            }
        }
        struck
    }

    /// Real time until a fault begins or ends; `None`: none will.
    pub(in crate::simulator) fn until_change(&self, clock: &SimClock) -> Option<Duration> {
        let now = clock.now();
        let book = self.book();
        let times = book
            .entries
            .iter()
            .flat_map(|entry| [Some(entry.from), entry.to]);
        let next = times.flatten().filter(|time| *time > now).min()?;
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

impl Known {
    /// Whether its time has come and is not over.
    pub(in crate::simulator) fn is_within(&self, now: TimeMs) -> bool {
        self.from <= now && self.to.is_none_or(|to| now < to)
    }
}

impl Entry {
    fn known(&self) -> Known {
        Known {
            number: self.number,
            fault: self.fault.clone(),
            from: self.from,
            to: self.to,
        }
    }

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
            .is_none_or(|symbol| place.symbol == Some(symbol));
        let interval = scope
            .interval
            .is_none_or(|interval| place.interval == Some(interval));
        connection && path && symbol && interval
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
        if opportunity == Opportunity::Lasting && self.held.len() < KEPT_KEYS {
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
        } else if self.is_within(now) && !self.is_used_up() {
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
