//! One candle in whole units, so that adding minutes up to hours is exact and every text of it is the same text.
//! Prices count units of the last price decimal, volumes of the last volume decimal; `Scale` says which those are.
//! The wire forms (REST row, stream event) are written elsewhere from the texts made here.

/// Decimals of the quote volume, as the exchange writes it (`"9709518.16030"`).
pub(super) const QUOTE_DECIMALS: u8 = 5;
/// Share of a candle's volume bought by takers, in percent, where nobody says.
const TAKER_PERCENT: i64 = 48;

/// What one candle holds, closed or as far as it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bar {
    /// First price, in price units.
    pub open: i64,
    /// Highest price, in price units.
    pub high: i64,
    /// Lowest price, in price units.
    pub low: i64,
    /// Last price, in price units.
    pub close: i64,
    /// Traded amount, in volume units. Files carry doubles of 17 digits: 64 bits would not hold them at one scale.
    pub volume: i128,
    /// Turnover, in 0.00001 of the quote asset.
    pub quote: i64,
    /// Number of trades.
    pub trades: i64,
    /// Volume bought by takers, in volume units.
    pub taker_volume: i128,
    /// Turnover bought by takers, in 0.00001 of the quote asset.
    pub taker_quote: i64,
}

/// How many decimals a contract's numbers carry, and its smallest price step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scale {
    /// Decimals of a price (`pricePrecision`).
    pub price_decimals: u8,
    /// Decimals of a volume (`quantityPrecision`).
    pub volume_decimals: u8,
    /// The tick, in price units: not always 1 (BTCUSDT: precision 2, tick 0.10).
    pub tick: i64,
}

impl Bar {
    /// A candle without trades.
    pub(super) const fn flat(price: i64) -> Self {
        Self {
            open: price,
            high: price,
            low: price,
            close: price,
            volume: 0,
            quote: 0,
            trades: 0,
            taker_volume: 0,
            taker_quote: 0,
        }
    }

    /// Adds what came after this candle: the larger candle of both.
    pub(super) fn absorb(&mut self, later: &Self) {
        self.high = self.high.max(later.high);
        self.low = self.low.min(later.low);
        self.close = later.close;
        self.volume += later.volume;
        self.quote = self.quote.saturating_add(later.quote);
        self.trades += later.trades;
        self.taker_volume += later.taker_volume;
        self.taker_quote = self.taker_quote.saturating_add(later.taker_quote);
    }

    /// The candle made of `parts`, oldest first; `None` of none.
    pub(super) fn of<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        let mut parts = parts.into_iter();
        let mut whole = *parts.next()?;
        for part in parts {
            whole.absorb(part);
        }
        Some(whole)
    }

    /// The candle as it stands after `elapsed` of its `length` (both in ms): open, one extreme, the other, close, each
    /// leg a third of the time. Volume, trades and turnover only grow; at the full length it is the candle itself.
    pub(super) fn after(&self, elapsed: i64, length: i64, tick: i64) -> Self {
        if elapsed >= length {
            return *self;
        }
        if elapsed <= 0 || self.volume == 0 {
            return Self::flat(self.open);
        }
        let (first, second) = if self.close >= self.open {
            (self.low, self.high)
        } else {
            (self.high, self.low)
        };
        let stops = [self.open, first, second, self.close];
        let leg = (elapsed * 3 / length).clamp(0, 2);
        let into_leg = elapsed * 3 - leg * length;
        let (from, to) = match leg {
            0 => (stops[0], stops[1]),
            1 => (stops[1], stops[2]),
            _ => (stops[2], stops[3]),
        };
        let steps = i128::from((to - from) / tick) * i128::from(into_leg) / i128::from(length);
        let price = from + i64::try_from(steps).unwrap_or(0) * tick;
        let seen = stops.iter().take(usize::try_from(leg).unwrap_or(0) + 1);
        let (low, high) = seen.fold((price, price), |(low, high), stop| {
            (low.min(*stop), high.max(*stop))
        });
        let share = |total: i128| part_of(total, elapsed, length);
        let share_of = |total: i64| i64::try_from(share(total.into())).unwrap_or(total);
        Self {
            open: self.open,
            high,
            low,
            close: price,
            volume: share(self.volume),
            quote: share_of(self.quote),
            trades: share_of(self.trades),
            taker_volume: share(self.taker_volume),
            taker_quote: share_of(self.taker_quote),
        }
    }
}

/// What takers buy of a volume where nobody says.
pub(super) const fn usual_taker_volume(volume: i128) -> i128 {
    volume * TAKER_PERCENT as i128 / 100
}

/// What takers buy of a turnover where nobody says.
pub(super) const fn usual_taker_quote(quote: i64) -> i64 {
    (quote as i128 * TAKER_PERCENT as i128 / 100) as i64
}

/// `elapsed / length` of `total`, rounded up: something has traded as soon as time has passed.
fn part_of(total: i128, elapsed: i64, length: i64) -> i128 {
    let (elapsed, length) = (i128::from(elapsed), i128::from(length));
    // Whole and rest apart: a product of a 17-digit volume and milliseconds must not overflow.
    let whole = total / length * elapsed;
    let rest = total % length * elapsed;
    whole + (rest + length - 1) / length
}

/// Writes `units` of `10^-decimals` as decimal text: `(8307410, 2)` is `83074.10`.
pub(super) fn push_decimal(out: &mut String, units: i128, decimals: u8) {
    use std::fmt::Write as _;
    let negative = units < 0;
    let magnitude = units.unsigned_abs();
    if negative {
        out.push('-');
    }
    let Ok(small) = u64::try_from(magnitude) else {
        let scale = 10_u128.pow(u32::from(decimals));
        let width = usize::from(decimals);
        let _ = write!(out, "{}", magnitude / scale);
        if decimals > 0 {
            let _ = write!(out, ".{:0width$}", magnitude % scale);
        }
        return;
    };
    push_small(out, small, decimals);
}

/// As `push_decimal` for what fits 64 bits: nearly everything, and several times as fast as the formatter.
fn push_small(out: &mut String, mut units: u64, decimals: u8) {
    let mut digits = [b'0'; 44];
    let mut at = digits.len();
    let mut written = 0;
    while units > 0 || written <= decimals {
        if written == decimals && decimals > 0 {
            at -= 1;
            digits[at] = b'.';
        }
        at -= 1;
        digits[at] = b'0' + u8::try_from(units % 10).unwrap_or(0);
        units /= 10;
        written += 1;
    }
    out.extend(digits[at..].iter().map(|digit| char::from(*digit)));
}

/// `push_decimal` into a text of its own.
pub(super) fn decimal(units: i128, decimals: u8) -> String {
    let mut out = String::with_capacity(24);
    push_decimal(&mut out, units, decimals);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAR: Bar = Bar {
        open: 1_000,
        high: 1_300,
        low: 900,
        close: 1_100,
        volume: 777,
        quote: 8_888,
        trades: 12,
        taker_volume: 333,
        taker_quote: 4_444,
    };

    #[test]
    fn decimals_are_written_in_full() {
        assert_eq!(decimal(8_307_410, 2), "83074.10");
        assert_eq!(decimal(5, 3), "0.005");
        assert_eq!(decimal(0, 0), "0");
        assert_eq!(decimal(0, 2), "0.00");
        assert_eq!(decimal(42, 0), "42");
        assert_eq!(decimal(-1_234, 2), "-12.34");
        assert_eq!(
            decimal(246_512_345_678_901_234_567, 17),
            "2465.12345678901234567"
        );
    }

    #[test]
    fn a_forming_candle_only_grows_and_ends_as_its_row() {
        let falling = Bar { close: 950, ..BAR };
        for bar in [BAR, falling] {
            let mut last = bar.after(0, 60_000, 10);
            assert_eq!(last, Bar::flat(bar.open));
            for elapsed in 1..=60_000 {
                let now = bar.after(elapsed, 60_000, 10);
                assert!(now.high >= last.high && now.low <= last.low);
                assert!(now.volume >= last.volume && now.trades >= last.trades);
                assert!(now.quote >= last.quote && now.trades >= 1);
                assert!(now.taker_volume >= last.taker_volume && now.taker_volume <= now.volume);
                assert!(now.taker_quote >= last.taker_quote && now.taker_quote <= now.quote);
                assert!(now.high <= bar.high && now.low >= bar.low);
                assert!((now.low..=now.high).contains(&now.close) && now.close % 10 == 0);
                last = now;
            }
            assert_eq!(last, bar);
        }
    }

    #[test]
    fn h21_a_candle_without_trades_stays_flat() {
        let flat = Bar::flat(500);
        assert_eq!(flat.after(30_000, 60_000, 1), flat);
    }
}
