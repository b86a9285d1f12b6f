//! When the exchange is asked for what: its listing every five minutes of its own time and at once when it says that a
//! contract changed, the order by turnover every hour, the 24 h figures every 45 s of ours. An exchange that runs fast is
//! asked no more often than the floors say. Plain code: told the time.

use std::collections::BTreeSet;

use super::reading::Scope;
use crate::clock::Mono;

/// The listing is read so often, exchange time (hazard 24) ...
const LISTING_EVERY_MS: u64 = 300_000;

/// ... but never more often than this in real time: at 51 KB it is the largest answer there is.
const LISTING_FLOOR_MS: u64 = 5_000;

/// A row that went missing is looked for again so much later, exchange time and real time: `SeenTwice` says why.
const DOUBT_MS: u64 = 60_000;
const DOUBT_FLOOR_MS: u64 = 1_000;

/// Between two readings that were asked for: the exchange tells of a hundred contracts in one second when it moves its
/// leverage brackets.
const ASKED_FLOOR_MS: u64 = 1_000;

/// Between two readings for names nobody knows, so that a stranger who asks for them spends next to no weight.
const UNKNOWN_FLOOR_MS: u64 = 15_000;

/// The list is ranked anew so often, exchange time ...
const RANKING_EVERY_MS: u64 = 3_600_000;

/// ... and never more often than this in real time: a list that changes twice a second is none.
const RANKING_FLOOR_MS: u64 = 10_000;

/// The 24 h figures are promised to be at most 60 s old.
const FIGURES_EVERY_MS: u64 = 45_000;

/// Why the listing is to be read before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hint {
    /// The exchange says that a contract changed, or leaves a watched one out of its figures.
    Changed,
    /// A watched contract's row is missing, or says something nobody knows.
    Doubt,
    /// Somebody asked for a name nobody knows.
    UnknownName,
}

impl Hint {
    /// How long after the last reading, ours.
    fn wait_ms(self, speed: f64) -> u64 {
        match self {
            Self::Changed => ASKED_FLOOR_MS,
            Self::Doubt => real(DOUBT_MS, DOUBT_FLOOR_MS, speed),
            Self::UnknownName => UNKNOWN_FLOOR_MS,
        }
    }
}

/// When what was read last, and why the listing is wanted before its time.
#[derive(Debug, Default)]
pub(super) struct Pace {
    figures_at: Option<Mono>,
    listing_at: Option<Mono>,
    ranked_at: Option<Mono>,
    hints: BTreeSet<Hint>,
}

impl Pace {
    /// The listing is to be read before its time.
    pub(super) fn hint(&mut self, hint: Hint) {
        self.hints.insert(hint);
    }

    /// What is to be read at `now`; `speed`: how many times as fast as ours the exchange's clock runs.
    pub(super) fn due(&self, now: Mono, speed: f64) -> Option<Scope> {
        let figures = now >= self.figures_due();
        let listing = now >= self.listing_due(speed);
        if self.is_ranking_due(now, speed) || (figures && listing) {
            return Some(Scope::Both);
        }
        match (figures, listing) {
            (true, _) => Some(Scope::Figures),
            (false, true) => Some(Scope::Listing),
            (false, false) => None,
        }
    }

    /// When something is due next, if nothing happens meanwhile.
    pub(super) fn next_at(&self, speed: f64) -> Mono {
        let ranking = self.ranking_due(speed);
        self.figures_due().min(self.listing_due(speed)).min(ranking)
    }

    /// Whether the list is to be ranked anew once both have been read.
    pub(super) fn is_ranking_due(&self, now: Mono, speed: f64) -> bool {
        now >= self.ranking_due(speed)
    }

    /// `scope` is being asked for now: what is hinted at from here on may be news to the answer.
    pub(super) fn asked(&mut self, scope: Scope) {
        if scope.has_listing() {
            self.hints.clear();
        }
    }

    /// `scope` was read.
    pub(super) fn read(&mut self, scope: Scope, now: Mono) {
        if scope.has_figures() {
            self.figures_at = Some(now);
        }
        if scope.has_listing() {
            self.listing_at = Some(now);
        }
    }

    /// The list was ranked.
    pub(super) fn ranked(&mut self, now: Mono) {
        self.ranked_at = Some(now);
    }

    fn figures_due(&self) -> Mono {
        after(self.figures_at, FIGURES_EVERY_MS)
    }

    fn ranking_due(&self, speed: f64) -> Mono {
        let wait_ms = real(RANKING_EVERY_MS, RANKING_FLOOR_MS, speed);
        after(self.ranked_at, wait_ms)
    }

    fn listing_due(&self, speed: f64) -> Mono {
        let by_hints = self.hints.iter().map(|hint| hint.wait_ms(speed));
        let wait_ms = real(LISTING_EVERY_MS, LISTING_FLOOR_MS, speed);
        after(self.listing_at, by_hints.fold(wait_ms, u64::min))
    }
}

/// Due at once before the first time.
fn after(last: Option<Mono>, wait_ms: u64) -> Mono {
    last.map_or(Mono::default(), |last| last.plus_ms(wait_ms))
}

/// A span of exchange time in ours, not under the floor.
fn real(exchange_ms: u64, floor_ms: u64, speed: f64) -> u64 {
    let ms = exchange_ms as f64 / speed;
    (ms.ceil() as u64).max(floor_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono::from_ms(ms)
    }

    fn read_at(ms: u64) -> Pace {
        let mut pace = Pace::default();
        assert_eq!(pace.due(at(ms), 1.0), Some(Scope::Both), "at first");
        pace.read(Scope::Both, at(ms));
        pace.ranked(at(ms));
        pace
    }

    #[test]
    fn h24_the_listing_is_read_every_five_minutes_of_the_exchanges_time() {
        let mut pace = read_at(1_000);
        assert_eq!(pace.due(at(45_999), 1.0), None);
        assert_eq!(pace.due(at(46_000), 1.0), Some(Scope::Figures));
        pace.read(Scope::Figures, at(300_000));
        assert_eq!(pace.due(at(300_999), 1.0), None);
        assert_eq!(pace.due(at(301_000), 1.0), Some(Scope::Listing));
        assert_eq!(pace.next_at(1.0), at(301_000));
        let pace = read_at(1_000);
        assert_eq!(pace.next_at(20.0), at(16_000));
        assert_eq!(pace.next_at(3_600.0), at(6_000), "the floor");
    }

    #[test]
    fn h24_a_word_of_the_exchange_has_the_listing_read_at_once_and_many_have_it_read_once() {
        let mut pace = read_at(1_000);
        pace.hint(Hint::Changed);
        assert_eq!(pace.due(at(1_500), 1.0), None, "it has just been");
        assert_eq!(pace.due(at(2_000), 1.0), Some(Scope::Listing));
        pace.hint(Hint::Changed);
        pace.asked(Scope::Listing);
        pace.read(Scope::Listing, at(2_100));
        assert_eq!(pace.due(at(9_000), 1.0), None);
        pace.hint(Hint::UnknownName);
        assert_eq!(pace.due(at(17_000), 1.0), None, "a stranger waits");
        assert_eq!(pace.due(at(17_100), 1.0), Some(Scope::Listing));
        pace.asked(Scope::Listing);
        pace.hint(Hint::Changed); // while it is on its way
        pace.read(Scope::Listing, at(17_200));
        assert_eq!(pace.due(at(18_200), 1.0), Some(Scope::Listing));
    }

    #[test]
    fn h33_a_row_that_went_missing_is_looked_for_again_a_minute_later() {
        let mut pace = read_at(1_000);
        pace.hint(Hint::Doubt);
        assert_eq!(pace.due(at(60_999), 1.0), Some(Scope::Figures));
        assert_eq!(pace.due(at(61_000), 1.0), Some(Scope::Both));
        assert_eq!(pace.next_at(3_600.0), at(2_000));
    }

    #[test]
    fn the_list_is_ranked_every_hour_of_the_exchanges_time_by_figures_of_that_moment() {
        let mut pace = read_at(1_000);
        pace.read(Scope::Both, at(3_600_000));
        assert!(!pace.is_ranking_due(at(3_600_999), 1.0));
        assert_eq!(pace.due(at(3_601_000), 1.0), Some(Scope::Both));
        assert!(read_at(1_000).is_ranking_due(at(61_000), 60.0));
        assert!(
            !read_at(1_000).is_ranking_due(at(10_999), 3_600.0),
            "the floor"
        );
    }
}
