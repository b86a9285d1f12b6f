//! Who delivers and who does not, of one connection. An acknowledgement proves nothing (hazard 7), and only some streams of
//! a connection may die (hazard 10), so each series is judged for itself: by the others before its first candle, by its own
//! habit afterwards. In a calm market every habit is slow, so calm alone condemns nobody. Pure: told the time.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::name::{Name, Names};
use super::whole_ms;
use crate::clock::Mono;
use crate::market::SeriesKey;

/// Silence that many times the usual gap is no chance: of events that come at random, one gap in 10^9 is that long.
const FAR_LONGER: u64 = 20;
/// A series is taken for a slow one until it has shown its habit: busy ones have after some 50 events.
const HABIT_FIRST_MS: u64 = 10_000;
/// The usual gap follows the last gaps by a sixteenth of each.
const HABIT_SHARE: u64 = 16;

/// So many contracts are not all so calm that none has a trade within seconds.
const SEVERAL: usize = 5;
/// Neither are these: each alone is traded several times a second.
const LIQUID: [&str; 2] = ["BTCUSDT", "ETHUSDT"];

/// When something was last heard, and how often it is.
#[derive(Debug, Clone, Copy)]
struct Pulse {
    /// The last event; before the first one, the acknowledgement.
    last: Mono,
    heard: bool,
    usual_gap_ms: u64,
    mute: bool,
}

impl Pulse {
    const fn since(now: Mono) -> Self {
        Self {
            last: now,
            heard: false,
            usual_gap_ms: HABIT_FIRST_MS,
            mute: false,
        }
    }

    fn beat(&mut self, now: Mono) {
        let gap = now.ms_since(self.last);
        self.usual_gap_ms = (self.usual_gap_ms * (HABIT_SHARE - 1) + gap) / HABIT_SHARE;
        self.last = now;
        self.heard = true;
        self.mute = false;
    }

    /// Silent for at least `least_ms`, and far longer than its habit.
    const fn is_missed(&self, least_ms: u64, now: Mono) -> bool {
        let silence = now.ms_since(self.last);
        self.heard && silence >= least_ms && silence >= self.usual_gap_ms * FAR_LONGER
    }
}

/// What a look at the connection shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    /// These fell silent since the last look, maybe none.
    Mute(Vec<SeriesKey>),
    /// Not one candle since the acknowledgement, for so long (hazard 8).
    NeverDelivered(Duration),
    /// The whole connection has fallen silent, for so long.
    FellSilent(Duration),
}

/// The series of one connection.
#[derive(Debug)]
pub(super) struct Health {
    silence_ms: u64,
    /// For the first candle of all.
    patience_ms: u64,
    series: HashMap<SeriesKey, Pulse>,
    whole: Option<Pulse>,
}

impl Health {
    /// A series may be silent for `silence`, a new connection as a whole for `patience`.
    pub(super) fn new(silence: Duration, patience: Duration) -> Self {
        Self {
            silence_ms: whole_ms(silence),
            patience_ms: whole_ms(patience),
            series: HashMap::new(),
            whole: None,
        }
    }

    /// `keys` were acknowledged: from now on they are listened for.
    pub(super) fn expect(&mut self, keys: &[SeriesKey], now: Mono) {
        self.whole.get_or_insert_with(|| Pulse::since(now));
        for key in keys {
            self.series
                .entry(key.clone())
                .or_insert_with(|| Pulse::since(now));
        }
    }

    /// Only `wanted` are listened for.
    pub(super) fn keep(&mut self, wanted: &Names) {
        self.series
            .retain(|key, _| wanted.contains(&Name::Series(key.clone())));
        if self.series.is_empty() {
            self.whole = None;
        }
    }

    /// `key` is not listened for.
    pub(super) fn forget(&mut self, key: &SeriesKey) {
        self.series.remove(key);
        if self.series.is_empty() {
            self.whole = None;
        }
    }

    /// How long not one candle has come since the acknowledgement of several series, or of one that is never calm.
    pub(super) fn unheard_for(&self, now: Mono) -> Option<Duration> {
        let whole = self.whole.filter(|whole| !whole.heard)?;
        let silence = Duration::from_millis(now.ms_since(whole.last));
        let is_liquid = |key: &SeriesKey| LIQUID.contains(&key.symbol.as_str());
        let is_enough = self.series.len() >= SEVERAL || self.series.keys().any(is_liquid);
        is_enough.then_some(silence)
    }

    /// A candle of `key` has come.
    pub(super) fn heard(&mut self, key: &SeriesKey, now: Mono) {
        if let Some(pulse) = self.series.get_mut(key) {
            pulse.beat(now);
        }
        if let Some(whole) = &mut self.whole {
            whole.beat(now);
        }
    }

    /// Whether any candle has come.
    pub(super) fn delivers(&self) -> bool {
        self.whole.is_some_and(|whole| whole.heard)
    }

    /// Whether a candle has come of each; so it has when none is expected.
    pub(super) fn all_deliver(&self) -> bool {
        self.series.values().all(|pulse| pulse.heard)
    }

    /// Those that are mute at present.
    pub(super) fn mute(&self) -> BTreeSet<SeriesKey> {
        let mute = self.series.iter().filter(|(_, pulse)| pulse.mute);
        mute.map(|(key, _)| key.clone()).collect()
    }

    /// Looks at everybody.
    pub(super) fn look(&mut self, now: Mono) -> Finding {
        let Some(whole) = self.whole else {
            return Finding::Mute(Vec::new());
        };
        let silence = Duration::from_millis(now.ms_since(whole.last));
        if !whole.heard && whole_ms(silence) >= self.patience_ms {
            return Finding::NeverDelivered(silence);
        }
        if whole.is_missed(self.silence_ms, now) {
            return Finding::FellSilent(silence);
        }
        let most_deliver = self.most_deliver(now);
        let silence_ms = self.silence_ms;
        let mut fallen: Vec<_> = self
            .series
            .iter_mut()
            .filter(|(_, pulse)| {
                let is_late = !pulse.heard && now.ms_since(pulse.last) >= silence_ms;
                !pulse.mute && (pulse.is_missed(silence_ms, now) || (is_late && most_deliver))
            })
            .map(|(key, pulse)| {
                pulse.mute = true;
                key.clone()
            })
            .collect();
        fallen.sort();
        Finding::Mute(fallen)
    }

    fn most_deliver(&self, now: Mono) -> bool {
        let recent = |pulse: &&Pulse| pulse.heard && now.ms_since(pulse.last) < self.silence_ms;
        let delivering = self.series.values().filter(recent).count();
        delivering * 2 >= self.series.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::{Interval, Symbol};

    fn key(name: &str) -> SeriesKey {
        SeriesKey::new(Symbol::parse(name).unwrap(), Interval::M1)
    }

    fn health(names: &[&str]) -> Health {
        let mut health = Health::new(Duration::from_secs(30), Duration::from_secs(30));
        let keys: Vec<_> = names.iter().map(|name| key(name)).collect();
        health.expect(&keys, Mono::default());
        health
    }

    const fn at(secs: u64) -> Mono {
        Mono::from_ms(secs * 1_000)
    }

    fn mute(names: &[&str]) -> Finding {
        Finding::Mute(names.iter().map(|name| key(name)).collect())
    }

    #[test]
    fn h07_a_series_that_never_delivers_while_others_do_is_mute_and_said_once() {
        let mut health = health(&["A", "B", "C"]);
        for secs in 1..30 {
            health.heard(&key("A"), at(secs));
            health.heard(&key("B"), at(secs));
            assert_eq!(health.look(at(secs)), mute(&[]));
        }
        assert!(health.delivers() && !health.all_deliver());
        assert_eq!(health.look(at(30)), mute(&["C"]));
        assert_eq!(health.look(at(31)), mute(&[]), "said");
        assert_eq!(health.mute().len(), 1);
        health.heard(&key("C"), at(32));
        assert!(health.mute().is_empty() && health.all_deliver());
    }

    /// One of three has been heard: the market is calm, and nothing is wrong with the other two.
    #[test]
    fn h07_a_series_that_has_not_delivered_yet_is_not_mute_while_most_have_not() {
        let mut health = health(&["A", "B", "C"]);
        for secs in 1..120 {
            health.heard(&key("A"), at(secs));
            assert_eq!(health.look(at(secs)), mute(&[]), "{secs}");
        }
    }

    #[test]
    fn h10_a_busy_series_that_falls_silent_is_mute_and_a_slow_one_is_not() {
        let mut health = health(&["BUSY", "SLOW", "OTHER"]);
        for ms in (0..120_000).step_by(250) {
            health.heard(&key("BUSY"), Mono::from_ms(ms));
            health.heard(&key("OTHER"), Mono::from_ms(ms));
            if ms % 20_000 == 0 {
                health.heard(&key("SLOW"), Mono::from_ms(ms));
            }
        }
        let mut found = Vec::new();
        for secs in 120..220 {
            health.heard(&key("OTHER"), at(secs));
            if let Finding::Mute(keys) = health.look(at(secs)) {
                found.extend(keys.into_iter().map(|key| (secs, key)));
            }
        }
        assert_eq!(found, [(150, key("BUSY"))]);
    }

    /// Each contract is traded about once a minute: nothing but closes, for hours, with some of them missing.
    #[test]
    fn h10_a_calm_market_condemns_nobody() {
        let mut health = health(&["A", "B", "C"]);
        let mut rng = fastrand::Rng::with_seed(10);
        for secs in 1..14_400 {
            for name in ["A", "B", "C"] {
                if secs % 60 == 0 && (secs == 60 || rng.u8(..10) > 0) {
                    health.heard(&key(name), at(secs));
                }
            }
            if !(30..=60).contains(&secs) {
                assert_eq!(health.look(at(secs)), mute(&[]), "{secs}");
            }
        }
    }

    #[test]
    fn h08_a_connection_without_any_candle_is_found_and_one_that_had_some_too() {
        let mut never = health(&["A", "B"]);
        assert_eq!(never.look(at(29)), mute(&[]));
        let found = Finding::NeverDelivered(Duration::from_secs(30));
        assert_eq!(never.look(at(30)), found);
        let mut fell = health(&["A", "B"]);
        for ms in (0..60_000).step_by(100) {
            fell.heard(&key("A"), Mono::from_ms(ms));
        }
        assert_eq!(fell.look(at(60)), mute(&["B"]));
        assert!(matches!(fell.look(at(90)), Finding::FellSilent(_)));
    }

    #[test]
    fn h08_several_series_of_which_none_delivers_are_noticed_long_before_they_are_given_up() {
        let mut several = health(&["A", "B", "C", "D", "E"]);
        assert_eq!(several.unheard_for(at(5)), Some(Duration::from_secs(5)));
        assert_eq!(several.look(at(5)), mute(&[]));
        several.heard(&key("E"), at(6));
        assert_eq!(several.unheard_for(at(60)), None);
        let few = health(&["A", "B"]);
        assert_eq!(few.unheard_for(at(60)), None, "they may be calm");
    }

    #[test]
    fn h08_one_liquid_contract_is_enough_to_notice_a_path_that_delivers_nothing() {
        for liquid in ["BTCUSDT", "ETHUSDT"] {
            let mut one = health(&[liquid]);
            assert_eq!(one.unheard_for(at(5)), Some(Duration::from_secs(5)));
            one.heard(&key(liquid), at(6));
            assert_eq!(one.unheard_for(at(60)), None);
        }
        assert_eq!(health(&["ETHBTC", "XBTCUSDT"]).unheard_for(at(60)), None);
    }

    #[test]
    fn who_is_no_longer_wanted_is_not_missed() {
        let mut health = health(&["A", "B"]);
        health.keep(&Names::default());
        assert_eq!(health.look(at(300)), mute(&[]));
    }
}
