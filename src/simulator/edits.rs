//! What faults make of the candles of one contract: rules that say, for the shortest candle that holds an instant, what
//! is shown of it at a time. Longer candles are summed from what is shown (`tape.rs`), so all intervals agree.
//! Nothing is drawn from the generator here: other contracts and candles outside a rule's scope stay as they were.

use super::bar::Bar;
use super::generator::{mix, unit};
use crate::market::{Interval, OpenTime, TimeMs};

/// A rule stops looking for the candles it may still pick after so many: nearly four years of minutes.
const MAX_STEPS: usize = 2_000_000;

/// Which candles a rule is about: those of `interval` that open from `from` to `to` (excluded), a share of them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Picks {
    /// Whose candles are picked.
    pub interval: Interval,
    /// The first may open here.
    pub from: TimeMs,
    /// From here on none is picked.
    pub to: TimeMs,
    /// Which part of them, 0 to 1.
    pub share: f64,
    /// What the share is drawn with.
    pub seed: u64,
}

/// One rule.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Edit {
    /// About which candles.
    pub picks: Picks,
    /// What becomes of them.
    pub change: Change,
}

/// What becomes of a picked candle.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    /// It never was: neither stream nor REST nor the truth have it.
    Absent,
    /// Nobody trades; at this price, or at the one it would have opened with.
    Flat(Option<i64>),
    /// Its last shortest candle gets another close (by so many percent) and more volume, so long after it has closed.
    Revised { delay_ms: i64, percent: f64 },
}

/// A time in which nobody can trade: flat candles at the price of its begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Halt {
    /// The last trade is before this.
    pub from: TimeMs,
    /// Candles that open from here on are traded again.
    pub to: TimeMs,
    /// The price that stands.
    pub price: i64,
}

/// All rules of one contract.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Edits {
    /// In the order in which they are applied.
    pub rules: Vec<Edit>,
    /// When it is not traded.
    pub halts: Vec<Halt>,
    /// Before this it has no candles.
    pub born: TimeMs,
}

/// A shortest candle as the market made it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Atom {
    /// Its interval.
    pub interval: Interval,
    /// When it opens.
    pub open: OpenTime,
    /// All it will hold.
    pub bar: Bar,
}

impl Atom {
    fn end(&self) -> TimeMs {
        self.interval.after(self.open).time()
    }
}

impl Picks {
    /// The picked candle that holds a shortest candle of `base` that opens at `open`.
    fn holding(&self, base: Interval, open: OpenTime) -> Option<(Interval, OpenTime)> {
        let interval = self.interval.max(base);
        let whole = interval.open_at(open.time());
        self.takes(whole).then_some((interval, whole))
    }

    /// Whether it picks the candle of its interval that opens at `open`.
    pub(super) fn takes(&self, open: OpenTime) -> bool {
        (self.from..self.to).contains(&open.time())
            && (self.share >= 1.0 || unit(mix(self.seed ^ mix(open.ms() as u64))) < self.share)
    }

    /// How many candles that open up to `until` are picked.
    pub(super) fn count(&self, until: TimeMs) -> usize {
        let end = self.to.min(until.plus_ms(1));
        if self.share >= 1.0 {
            return self.opens_before(end);
        }
        let opens = self.opens().take_while(|open| open.time() < end);
        opens.filter(|open| self.takes(*open)).count()
    }

    /// The same, but only the first `count` of them.
    #[must_use]
    pub(super) fn first(mut self, count: usize) -> Self {
        let after_last = if self.share >= 1.0 {
            let steps = i64::try_from(count).unwrap_or(i64::MAX);
            let first = self.first_open();
            first.map(|first| self.interval.steps(first, steps))
        } else {
            self.opens().filter(|open| self.takes(*open)).nth(count)
        };
        if let Some(open) = after_last {
            self.to = self.to.min(open.time());
        }
        self
    }

    /// How many of its candles open before `end`: reckoned, not walked.
    fn opens_before(&self, end: TimeMs) -> usize {
        let Some(first) = self.first_open().filter(|first| first.time() < end) else {
            return 0;
        };
        let last = self.interval.open_at(end.plus_ms(-1));
        usize::try_from(self.interval.count_between(first, last) + 1).unwrap_or(0)
    }

    /// The first candle it may pick.
    pub(super) fn first_open(&self) -> Option<OpenTime> {
        self.opens().next()
    }

    /// The opens of its interval from `from` to `to`, not for ever.
    fn opens(&self) -> impl Iterator<Item = OpenTime> {
        let (interval, to) = (self.interval, self.to);
        let mut next = interval.open_at(self.from);
        if next.time() < self.from {
            next = interval.after(next);
        }
        std::iter::from_fn(move || {
            let open = next;
            next = interval.after(next);
            (open.time() < to).then_some(open)
        })
        // Of a share of nothing none is taken, however far one looks.
        .take(if self.share > 0.0 { MAX_STEPS } else { 1 })
    }

    /// Whether a candle that holds time between `from` and `to` may be picked.
    fn touches(&self, from: TimeMs, to: TimeMs) -> bool {
        // The last picked candle may end a whole interval after the last open.
        self.from < to && from.ms() < self.to.ms().saturating_add(self.interval.nominal_ms())
    }
}

impl Default for Edits {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            halts: Vec::new(),
            born: TimeMs::new(i64::MIN),
        }
    }
}

impl Edits {
    /// Whether candles that hold time between `from` and `to` (excluded) may be others than the market made.
    pub(super) fn touch(&self, from: TimeMs, to: TimeMs) -> bool {
        from < self.born
            || self.rules.iter().any(|edit| edit.picks.touches(from, to))
            || self
                .halts
                .iter()
                .any(|halt| halt.from < to && from < halt.to)
    }

    /// What is shown of a shortest candle at `now`: as far as it has come, or as it ended, or as it was revised since.
    pub(super) fn shown(&self, atom: Atom, now: TimeMs, tick: i64) -> Option<Bar> {
        let length = atom.end().ms_since(atom.open.time());
        let mut elapsed = now.ms_since(atom.open.time());
        if atom.end() <= self.born || elapsed < 0 || now < self.born {
            return None;
        }
        let mut bar = atom.bar;
        for edit in &self.rules {
            let Some((interval, picked)) = edit.picks.holding(atom.interval, atom.open) else {
                continue;
            };
            match edit.change {
                Change::Absent => return None,
                Change::Flat(price) => bar = Bar::flat(price.unwrap_or(bar.open)),
                Change::Revised { delay_ms, percent } => {
                    let is_last = interval.after(picked).time() == atom.end();
                    if is_last && now >= atom.end().plus_ms(delay_ms) {
                        bar = revised(bar, percent, tick);
                    }
                }
            }
        }
        for halt in &self.halts {
            if (halt.from..halt.to).contains(&atom.open.time()) {
                bar = Bar::flat(halt.price);
            } else if (atom.open.time()..atom.end()).contains(&halt.from) {
                elapsed = elapsed.min(halt.from.ms_since(atom.open.time()));
            }
        }
        Some(bar.after(elapsed, length, tick))
    }
}

/// Another close, at least a tick away, within high and low that are moved if they must, and a tenth more traded:
/// volume and trades of a longer candle that is still open only grow.
fn revised(bar: Bar, percent: f64, tick: i64) -> Bar {
    let ticks = (bar.close as f64 * percent / 100.0 / tick as f64).round() as i64;
    let ticks = match (ticks, percent < 0.0) {
        (0, false) => 1,
        (0, true) => -1,
        (ticks, _) => ticks,
    };
    let close = bar
        .close
        .saturating_add(ticks.saturating_mul(tick))
        .max(tick);
    // At the lowest price there is nothing below: then it goes up.
    let close = if close == bar.close {
        close + tick
    } else {
        close
    };
    Bar {
        close,
        high: bar.high.max(close),
        low: bar.low.min(close),
        volume: bar.volume + bar.volume / 10 + 1,
        quote: bar.quote.saturating_add(bar.quote / 10 + 1),
        trades: bar.trades + 1,
        taker_volume: bar.taker_volume + bar.taker_volume / 10,
        taker_quote: bar.taker_quote.saturating_add(bar.taker_quote / 10),
        ..bar
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    fn picks(share: f64) -> Picks {
        Picks {
            interval: Interval::M15,
            from: TimeMs::new(MINUTE), // the first quarter that opens is the second
            to: TimeMs::new(1_000 * MINUTE),
            share,
            seed: 9,
        }
    }

    #[test]
    fn a_rule_picks_whole_candles_of_its_interval() {
        let all = picks(1.0);
        let at = |minute: i64| OpenTime::from_ms(minute * MINUTE);
        assert_eq!(all.holding(Interval::M1, at(14)), None);
        let second = Some((Interval::M15, at(15)));
        assert_eq!(all.holding(Interval::M1, at(15)), second);
        assert_eq!(all.holding(Interval::M1, at(29)), second);
        assert_eq!(all.count(TimeMs::new(60 * MINUTE)), 4);
        let two = all.first(2);
        assert_eq!(two.count(TimeMs::new(i64::MAX)), 2);
        assert_eq!(two.holding(Interval::M1, at(45)), None);
    }

    #[test]
    fn all_candles_are_reckoned_as_if_they_were_walked() {
        for interval in [Interval::M1, Interval::M15, Interval::W1, Interval::Month1] {
            for from in [0, 1, 59_999, 60_000, 86_400_000] {
                let (from, to) = (TimeMs::new(from), TimeMs::new(90 * 86_400_000));
                let all = Picks {
                    interval,
                    from,
                    to,
                    ..picks(1.0)
                };
                let walked = all.opens().count();
                assert_eq!(all.count(TimeMs::new(i64::MAX)), walked);
                assert_eq!(all.count(to), walked);
                let two = all.clone().first(2);
                assert_eq!(two.opens().count(), walked.min(2));
                let last = two.opens().last().map_or(from, OpenTime::time);
                assert_eq!(two.count(last), walked.min(2));
                assert_eq!(all.first(MAX_STEPS).opens().count(), walked);
            }
        }
    }

    #[test]
    fn a_share_is_drawn_the_same_way_every_time() {
        let half = picks(0.5);
        let count = half.count(TimeMs::new(i64::MAX));
        assert!((15..52).contains(&count), "{count} of 66");
        assert_eq!(picks(0.5).count(TimeMs::new(i64::MAX)), count);
        assert_eq!(half.first(7).count(TimeMs::new(i64::MAX)), 7);
        assert_eq!(picks(0.0).count(TimeMs::new(i64::MAX)), 0);
    }

    #[test]
    fn a_revised_candle_is_another_and_possible() {
        for percent in [0.5, -0.5, 0.000_001, -0.000_001, -100.0] {
            for close in [10, 100_000] {
                let bar = revised(Bar::flat(close), percent, 10);
                assert_ne!(bar.close, close, "{percent}");
                assert!(bar.close >= 10 && bar.close % 10 == 0 && bar.volume > 0);
                assert!(bar.low <= bar.close.min(bar.open) && bar.high >= bar.close.max(bar.open));
            }
        }
    }
}
