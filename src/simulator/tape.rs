//! The candles of one contract as the exchange tells them at an instant: the market's, with what faults make of them.
//! REST, streams and the truth all read here, so they cannot disagree; a longer candle is always the exact sum of the
//! shortest ones that are told. Where no fault reaches, the market's own candle is handed on untouched.

use std::sync::Arc;

use super::bar::{Bar, Scale};
use super::candles::{Candles, Keep, Span};
use super::edits::{Atom, Edits};
use super::fault::ExtremeDigits;
use crate::market::{Interval, OpenTime, TimeMs};

/// `0.00000001` is one unit.
const TINY_DECIMALS: u8 = 8;
/// A tiny price is usually so many units: a few ticks up or down are all that ever happens.
const TINY_USUAL_UNITS: i64 = 8;
/// Candles that are looked at at once behind some that a fault took away.
const NEXT_ROWS: usize = 1_000;
/// What a double just does not hold.
const LONG_DIGITS: u32 = 17;
/// Digits that long volumes have more than the market's 3 to 7.
const LONG_VOLUME_DIGITS: u32 = 12;

/// A contract's candles.
#[derive(Debug, Clone)]
pub(super) struct Tape {
    market: Arc<Candles>,
    /// The market's smallest price step, in its own units.
    tick: i64,
    digits: Digits,
    /// What faults make of them.
    pub edits: Edits,
}

/// How many more digits the numbers are told with: prices and volumes are multiplied, which keeps order and sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digits {
    /// What prices are multiplied with.
    pub price_factor: i64,
    /// What prices are divided by before, so that small ones become possible; at least one unit is left.
    pub price_divisor: i64,
    /// What volumes are multiplied with.
    pub volume_factor: i128,
}

impl Digits {
    /// As the market has them.
    pub(super) const PLAIN: Self = Self {
        price_factor: 1,
        price_divisor: 1,
        volume_factor: 1,
    };

    /// How a contract is told whose price is usually `usual` units of `scale`, and the scale it is told in.
    pub(super) fn extreme(which: ExtremeDigits, usual: i64, scale: Scale) -> (Self, Scale) {
        match which {
            ExtremeDigits::Tiny => {
                let divisor = (usual / TINY_USUAL_UNITS).max(1);
                let cheaper = usual as f64 / TINY_USUAL_UNITS as f64
                    * 10_f64.powi(i32::from(TINY_DECIMALS) - i32::from(scale.price_decimals));
                let digits = Self {
                    price_factor: 1,
                    price_divisor: divisor,
                    volume_factor: (cheaper as i128).max(1),
                };
                let scale = Scale {
                    price_decimals: TINY_DECIMALS,
                    tick: 1,
                    ..scale
                };
                (digits, scale)
            }
            ExtremeDigits::Long => {
                let more = LONG_DIGITS.saturating_sub(usual.unsigned_abs().ilog10() + 1);
                let digits = Self {
                    price_factor: filled(more) as i64,
                    price_divisor: 1,
                    volume_factor: filled(LONG_VOLUME_DIGITS),
                };
                let scale = Scale {
                    price_decimals: scale.price_decimals + more as u8,
                    volume_decimals: scale.volume_decimals + LONG_VOLUME_DIGITS as u8,
                    tick: scale.tick.saturating_mul(digits.price_factor),
                };
                (digits, scale)
            }
        }
    }

    fn price(self, units: i64) -> i64 {
        (units / self.price_divisor)
            .max(1)
            .saturating_mul(self.price_factor)
    }

    fn of(self, bar: Bar) -> Bar {
        if self == Self::PLAIN {
            return bar;
        }
        Bar {
            open: self.price(bar.open),
            high: self.price(bar.high),
            low: self.price(bar.low),
            close: self.price(bar.close),
            volume: bar.volume.saturating_mul(self.volume_factor),
            taker_volume: bar.taker_volume.saturating_mul(self.volume_factor),
            ..bar
        }
    }
}

/// 10^`zeros` and a little more, so that what is multiplied with it ends in digits rather than in zeros.
fn filled(zeros: u32) -> i128 {
    let round = 10_i128.pow(zeros);
    round + 1_234_567_891 % 10_i128.pow(zeros / 2)
}

impl Tape {
    /// What the market makes, told as it is.
    pub(super) fn new(scale: Scale, market: Candles) -> Self {
        Self {
            market: Arc::new(market),
            tick: scale.tick,
            digits: Digits::PLAIN,
            edits: Edits::default(),
        }
    }

    /// Cuts the history off at `end`: a contract delisted before the start.
    pub(super) fn end_at(&mut self, end: TimeMs) {
        if let Some(market) = Arc::get_mut(&mut self.market) {
            market.end_at(end);
        }
    }

    /// The shortest interval there is.
    pub(super) fn shortest(&self) -> Interval {
        self.market.shortest()
    }

    /// With which digits its numbers are told.
    pub(super) const fn digits(&self) -> Digits {
        self.digits
    }

    /// Tells all its numbers with other digits from now on, those of the past too.
    pub(super) const fn tell_with(&mut self, digits: Digits) {
        self.digits = digits;
    }

    /// Closed candles of a span at `now`, oldest first.
    pub(super) fn closed(
        &self,
        interval: Interval,
        span: Span,
        now: TimeMs,
    ) -> Vec<(OpenTime, Bar)> {
        let newest = interval.steps(interval.open_at(now), -1);
        let mut span = Span {
            to: span.to.min(newest),
            ..span
        };
        let wanted = span.limit;
        let mut rows: Vec<(OpenTime, Bar)> = Vec::new();
        // A candle that a fault took away makes room for the next one.
        while rows.len() < wanted {
            let made = self.market.whole(interval, span);
            let (Some((first, _)), Some((last, _))) = (made.first(), made.last()) else {
                break;
            };
            let (first, last) = (*first, *last);
            let is_all = made.len() < span.limit;
            let told = made.into_iter().filter_map(|(open, bar)| {
                let told = self.told(interval, open, bar, now)?;
                Some((open, self.digits.of(told)))
            });
            match span.keep {
                Keep::Oldest => {
                    rows.extend(told);
                    span.from = interval.after(last);
                }
                Keep::Newest => {
                    rows.splice(0..0, told);
                    span.to = interval.steps(first, -1);
                }
            }
            if is_all {
                break;
            }
            span.limit = NEXT_ROWS; // a long hole is not crossed candle by candle
        }
        let too_many = rows.len().saturating_sub(wanted);
        match span.keep {
            Keep::Oldest => rows.truncate(wanted),
            Keep::Newest => drop(rows.drain(..too_many)),
        }
        rows
    }

    /// The candle that opens at `open` as it is told at `now`; one that has not closed by then is none of these.
    pub(super) fn closed_at(&self, interval: Interval, open: OpenTime, now: TimeMs) -> Option<Bar> {
        let span = Span {
            from: open,
            to: open,
            limit: 1,
            keep: Keep::Oldest,
        };
        self.closed(interval, span, now)
            .first()
            .map(|(_, bar)| *bar)
    }

    /// The candle that is open at `now`, as it stands; `None` in a hole or past the end.
    pub(super) fn forming(&self, interval: Interval, now: TimeMs) -> Option<Bar> {
        let open = interval.open_at(now);
        let bar = if self.edits.touch(open.time(), now.plus_ms(1)) {
            self.sum(self.market.base_of(interval)?, open, now.plus_ms(1), now)
        } else {
            self.market.forming(interval, now, self.tick)
        };
        bar.map(|bar| self.digits.of(bar))
    }

    /// Everything traded in the 24 hours before `now`, to the base candle.
    pub(super) fn last_day(&self, now: TimeMs) -> Option<Bar> {
        let from = self.market.day_began(now);
        let bar = if self.edits.touch(from.time(), now.plus_ms(1)) {
            self.sum(self.market.shortest(), from, now.plus_ms(1), now)
        } else {
            self.market.last_day(now, self.tick)
        };
        bar.map(|bar| self.digits.of(bar))
    }

    /// The market's price at `time`, in its own units: of the last trade, whatever faults say.
    pub(super) fn market_price(&self, time: TimeMs) -> Option<i64> {
        let open = self.market.forming(self.market.shortest(), time, self.tick);
        open.map(|bar| bar.close)
    }

    /// Another contract's candles of the same market, without this one's faults.
    pub(super) fn same_market(&self) -> Self {
        Self {
            edits: Edits::default(),
            digits: Digits::PLAIN,
            ..self.clone()
        }
    }

    /// The closed candle `bar` that opens at `open` as it is told at `now`.
    fn told(&self, interval: Interval, open: OpenTime, bar: Bar, now: TimeMs) -> Option<Bar> {
        let end = interval.after(open).time();
        if !self.edits.touch(open.time(), end) {
            return Some(bar);
        }
        self.sum(self.market.base_of(interval)?, open, end, now)
    }

    /// What the candles of `base` from `from` to `to` (excluded) come to, as they are told at `now`.
    fn sum(&self, base: Interval, from: OpenTime, to: TimeMs, now: TimeMs) -> Option<Bar> {
        let span = Span {
            from,
            to: OpenTime::at(to.plus_ms(-1)),
            limit: usize::MAX,
            keep: Keep::Oldest,
        };
        let atoms = self.market.whole(base, span).into_iter();
        let shown: Vec<Bar> = atoms
            .filter_map(|(open, bar)| {
                let atom = Atom {
                    interval: base,
                    open,
                    bar,
                };
                self.edits.shown(atom, now, self.tick)
            })
            .collect();
        Bar::of(&shown)
    }
}

#[cfg(test)]
mod tests;
