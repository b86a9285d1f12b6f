//! What readers want watched: which series somebody asked for lately. A want holds for ten minutes of real time and is
//! renewed by asking again; the engine watches what is wanted beside its list.
//! Bounded: of contracts above the bound the newest are refused. With Redis the wants of all processes are one
//! (`redis/wants.rs`); here they are this process' own and what it heard of the others'.
//! Who may want how much is the readers' side's question, whether it trades the engine's.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::Mono;
use crate::market::{Interval, SeriesKey, Symbol};

/// How long a want holds.
pub const WANTED_FOR: Duration = Duration::from_secs(600);

/// Contracts that may be wanted at a time: three times what is watched at most by default.
const MAX_CONTRACTS: usize = 2_000;

/// A want is told to other processes again once it holds so much longer than they know, so that a series that is asked
/// for all the time is not told all the time.
const TOLD_AGAIN_AFTER_MS: u64 = 30_000;

/// What readers want watched; clones share it.
#[derive(Debug, Clone)]
pub struct Interest(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    kept_for: Duration,
    wants: Mutex<Wants>,
    /// When what other processes want was last read, counted from before the question.
    heard_at: Mutex<Option<Mono>>,
    /// A contract is wanted that was not before.
    news: Notify,
    /// The same, when it was asked for in this process.
    own_news: Notify,
    /// A contract was asked for that nobody knows.
    unknown: Notify,
}

/// What became of a want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    /// All of it is wanted.
    All,
    /// The bound is reached: contracts that were not wanted before are not wanted now.
    Full,
}

impl Default for Interest {
    fn default() -> Self {
        Self::new(WANTED_FOR)
    }
}

impl Interest {
    /// Nothing wanted yet; a want will hold for `kept_for`.
    pub fn new(kept_for: Duration) -> Self {
        Self(Arc::new(Shared {
            kept_for,
            wants: Mutex::default(),
            heard_at: Mutex::default(),
            news: Notify::new(),
            own_news: Notify::new(),
            unknown: Notify::new(),
        }))
    }

    /// How long a want holds.
    pub fn kept_for(&self) -> Duration {
        self.0.kept_for
    }

    /// Somebody asks for these series, or is still subscribed to them: they are wanted from `now` on.
    pub fn want(&self, series: impl IntoIterator<Item = SeriesKey>, now: Mono) -> Noted {
        let until = self.latest(now);
        let mut wants = self.wants();
        let (mut noted, mut is_new) = (Noted::All, false);
        for key in series {
            match wants.note(key, until, now) {
                Place::New(_) => is_new = true,
                Place::Known(_) => {}
                Place::None => noted = Noted::Full,
            }
        }
        drop(wants);
        if is_new {
            self.0.news.notify_one();
            self.0.own_news.notify_one();
        }
        noted
    }

    /// The contracts that are wanted at `now`.
    pub fn wanted(&self, now: Mono) -> BTreeSet<Symbol> {
        let mut wants = self.wants();
        wants.forget_expired(now);
        wants.0.keys().cloned().collect()
    }

    /// Resolves when a contract is wanted that was not before; that it has been is remembered until somebody waits. One
    /// task may wait, the engine's.
    pub async fn changed(&self) {
        self.0.news.notified().await;
    }

    /// Somebody asks for a name nobody knows: it may have been listed since the exchange was last asked. Heard by an
    /// engine of this process alone; a hub on its own learns of a listing when its engine reads it by its own pace.
    pub fn unknown_name(&self) {
        self.0.unknown.notify_one();
    }

    /// Resolves when `unknown_name` was called, once for all calls until somebody waits. One task may wait, the engine's,
    /// which decides how often that is worth a look.
    pub async fn unknown_named(&self) {
        self.0.unknown.notified().await;
    }

    /// As `changed`, of what was asked for in this process alone: for the task that tells the others.
    pub(super) async fn own_changed(&self) {
        self.0.own_news.notified().await;
    }

    /// What other processes do not know, or not for how long; from now on they are taken to know it.
    pub(super) fn take_untold(&self, now: Mono) -> Vec<(SeriesKey, Mono)> {
        let mut wants = self.wants();
        wants.forget_expired(now);
        let mut untold = Vec::new();
        for (symbol, series) in &mut wants.0 {
            for (interval, want) in series {
                if want.until.ms_since(want.told) > TOLD_AGAIN_AFTER_MS {
                    want.told = want.until;
                    untold.push((SeriesKey::new(symbol.clone(), *interval), want.until));
                }
            }
        }
        untold
    }

    /// Other processes may have lost what they were told.
    pub(super) fn tell_all_again(&self) {
        let mut wants = self.wants();
        let all = wants.0.values_mut().flat_map(BTreeMap::values_mut);
        all.for_each(|want| want.told = Mono::default());
    }

    /// What any process wants, until when: nobody's want holds for longer than one of ours.
    pub(super) fn hear(&self, heard: impl IntoIterator<Item = (SeriesKey, Mono)>, now: Mono) {
        let latest = self.latest(now);
        let mut wants = self.wants();
        let mut is_new = false;
        for (key, until) in heard {
            let until = until.min(latest);
            if until <= now {
                continue;
            }
            match wants.note(key, until, now) {
                Place::New(want) => (want.told, is_new) = (until, true),
                Place::Known(want) => want.told = want.told.max(until),
                Place::None => {}
            }
        }
        drop(wants);
        *self.heard() = Some(now);
        if is_new {
            self.0.news.notify_one();
        }
    }

    /// When what other processes want was last read; none: never.
    pub(super) fn heard_at(&self) -> Option<Mono> {
        *self.heard()
    }

    fn heard(&self) -> MutexGuard<'_, Option<Mono>> {
        let heard = self.0.heard_at.lock();
        heard.unwrap_or_else(PoisonError::into_inner)
    }

    fn latest(&self, now: Mono) -> Mono {
        let ms = self.0.kept_for.as_millis();
        now.plus_ms(u64::try_from(ms).unwrap_or(u64::MAX))
    }

    fn wants(&self) -> MutexGuard<'_, Wants> {
        let wants = self.0.wants.lock();
        wants.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of each contract the intervals that are wanted.
#[derive(Debug, Default)]
struct Wants(BTreeMap<Symbol, BTreeMap<Interval, Want>>);

#[derive(Debug, Default)]
struct Want {
    /// It holds until then.
    until: Mono,
    /// Until when it holds as far as other processes know.
    told: Mono,
}

/// Where a want was noted.
enum Place<'a> {
    /// The contract was not wanted before.
    New(&'a mut Want),
    /// It was.
    Known(&'a mut Want),
    /// Nowhere: too many contracts are wanted.
    None,
}

impl Wants {
    fn note(&mut self, key: SeriesKey, until: Mono, now: Mono) -> Place<'_> {
        let mut is_full = self.0.len() >= MAX_CONTRACTS;
        if is_full && !self.0.contains_key(&key.symbol) {
            self.forget_expired(now);
            is_full = self.0.len() >= MAX_CONTRACTS;
        }
        match self.0.entry(key.symbol) {
            Entry::Vacant(_) if is_full => Place::None,
            Entry::Vacant(entry) => {
                let want = entry.insert(BTreeMap::new()).entry(key.interval);
                let want = want.or_default();
                want.until = until;
                Place::New(want)
            }
            Entry::Occupied(entry) => {
                let series = entry.into_mut();
                let was_wanted = series.values().any(|want| want.until > now);
                let want = series.entry(key.interval).or_default();
                want.until = want.until.max(until);
                if was_wanted {
                    Place::Known(want)
                } else {
                    Place::New(want)
                }
            }
        }
    }

    fn forget_expired(&mut self, now: Mono) {
        self.0.retain(|_, series| {
            series.retain(|_, want| want.until > now);
            !series.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(symbol: &str, interval: Interval) -> SeriesKey {
        SeriesKey::new(Symbol::parse(symbol).unwrap(), interval)
    }

    fn names(wanted: &BTreeSet<Symbol>) -> Vec<&str> {
        wanted.iter().map(Symbol::as_str).collect()
    }

    const MINUTE: u64 = 60_000;

    #[test]
    fn a_want_holds_for_ten_minutes_from_the_last_time_it_was_asked_for() {
        let interest = Interest::default();
        let at = Mono::from_ms;
        interest.want(
            [key("AUSDT", Interval::M15), key("BUSDT", Interval::H1)],
            at(0),
        );
        interest.want([key("BUSDT", Interval::M15)], at(5 * MINUTE));
        let wanted = |now| names(&interest.wanted(at(now))).join(" ");
        assert_eq!(wanted(10 * MINUTE - 1), "AUSDT BUSDT");
        assert_eq!(wanted(10 * MINUTE), "BUSDT");
        assert_eq!(wanted(15 * MINUTE - 1), "BUSDT");
        assert_eq!(wanted(15 * MINUTE), "");
    }

    #[tokio::test]
    async fn a_new_contract_is_told_once_and_a_renewal_is_not() {
        let interest = Interest::default();
        interest.want([key("AUSDT", Interval::M15)], Mono::from_ms(0));
        interest.changed().await;
        interest.want([key("AUSDT", Interval::H1)], Mono::from_ms(1));
        interest.want([key("AUSDT", Interval::M15)], Mono::from_ms(2));
        let silence = futures::FutureExt::now_or_never(interest.changed());
        assert_eq!(silence, None, "no other contract");
        interest.hear(
            [(key("BUSDT", Interval::M15), Mono::from_ms(9))],
            Mono::from_ms(3),
        );
        interest.changed().await;
    }

    #[test]
    fn of_contracts_above_the_bound_the_newest_are_refused_and_the_others_renewed() {
        let interest = Interest::default();
        let all = (0..MAX_CONTRACTS).map(|n| key(&format!("A{n}USDT"), Interval::M15));
        assert_eq!(interest.want(all, Mono::from_ms(0)), Noted::All);
        let more = [key("A7USDT", Interval::H1), key("BUSDT", Interval::M15)];
        assert_eq!(interest.want(more, Mono::from_ms(1)), Noted::Full);
        let wanted = interest.wanted(Mono::from_ms(10 * MINUTE));
        assert_eq!(names(&wanted), ["A7USDT"]);
    }

    #[test]
    fn others_are_told_what_is_new_and_what_holds_much_longer_and_never_what_they_said() {
        let interest = Interest::default();
        let (own, heard) = (key("AUSDT", Interval::M15), key("BUSDT", Interval::M15));
        let untold = |now| interest.take_untold(Mono::from_ms(now)).len();
        interest.want([own.clone()], Mono::from_ms(0));
        interest.hear([(heard, Mono::from_ms(MINUTE))], Mono::from_ms(0));
        let told = interest.take_untold(Mono::from_ms(0));
        assert_eq!(told, [(own.clone(), Mono::from_ms(10 * MINUTE))]);
        interest.want([own.clone()], Mono::from_ms(TOLD_AGAIN_AFTER_MS));
        assert_eq!(untold(TOLD_AGAIN_AFTER_MS), 0);
        interest.want([own], Mono::from_ms(TOLD_AGAIN_AFTER_MS + 1));
        assert_eq!(untold(TOLD_AGAIN_AFTER_MS + 1), 1);
        interest.tell_all_again();
        assert_eq!(untold(TOLD_AGAIN_AFTER_MS + 1), 2);
    }

    #[test]
    fn what_others_want_holds_as_long_as_they_say_and_no_longer_than_a_want_may() {
        let interest = Interest::default();
        let (short, endless) = (key("AUSDT", Interval::M15), key("BUSDT", Interval::M15));
        let gone = key("CUSDT", Interval::M15);
        let at = Mono::from_ms;
        let heard = [(short, at(MINUTE)), (endless, at(u64::MAX)), (gone, at(5))];
        interest.hear(heard, at(10));
        assert_eq!(names(&interest.wanted(at(10))), ["AUSDT", "BUSDT"]);
        assert_eq!(names(&interest.wanted(at(MINUTE))), ["BUSDT"]);
        assert!(interest.wanted(at(10 + 10 * MINUTE)).is_empty());
    }
}
