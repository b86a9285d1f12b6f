//! The generated market: the price of any contract at any minute from a hash, without history (random access in time).
//! A contract's log price is a sum of value noises whose lattices span minutes to months, so that it looks and moves like
//! a random walk at every scale. Same seed, name and minute: same candle, whatever was asked before.
//! Built an hour at a time: all lattices longer than an hour are one straight line within it (about 30 ns a minute).

use super::bar::{Bar, QUOTE_DECIMALS, Scale, usual_taker_quote, usual_taker_volume};

/// Minutes in the block that is generated at once.
pub(super) const BLOCK_MINUTES: usize = 60;
/// Milliseconds of a block.
pub(super) const BLOCK_MS: i64 = 3_600_000;

/// Lattice spacings below the hour, in minutes; each divides it.
const FINE_MINUTES: [usize; 5] = [1, 3, 5, 15, 30];
/// Lattice spacings of 1, 2, 4 ... 4,096 hours (24 weeks).
const COARSE_OCTAVES: usize = 13;
/// Hours over which one nap of an illiquid contract is drawn.
const NAP_WINDOW: i64 = 8;

/// What a contract is like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Personality {
    /// Its usual price, in the quote asset.
    pub price: f64,
    /// Its usual turnover of 24 hours, in the quote asset.
    pub quote_volume: f64,
    /// Typical movement within a minute, as a fraction of the price (BTC about 0.0004).
    pub minute_move: f64,
    /// How much stronger slow movements are than in a plain random walk: above 1 it trends, below it reverts.
    pub trend: f64,
    /// Share of hours, 0 to 1, in which nobody trades it.
    pub naps: f64,
}

/// The voice of one contract: all that its candles are computed from.
#[derive(Debug)]
pub(super) struct Voice {
    seed: u64,
    scale: Scale,
    ln_price: f64,
    fine: [f64; FINE_MINUTES.len()],
    coarse: [f64; COARSE_OCTAVES],
    minute_move: f64,
    naps: f64,
    minute_volume: f64,
    price_unit: f64,
    quote_per_unit: f64,
    quote_per_trade: f64,
}

impl Voice {
    /// The voice of the contract `name` in the market `seed`.
    pub(super) fn new(seed: u64, name: &str, scale: Scale, like: Personality) -> Self {
        let price_unit = 0.1_f64.powi(i32::from(scale.price_decimals));
        let volume_unit = 0.1_f64.powi(i32::from(scale.volume_decimals));
        let octave = |hours: f64| {
            let slow = (hours.log2() / 6.0).min(1.0);
            like.minute_move * (hours * 60.0).sqrt() * (1.0 + (like.trend - 1.0) * slow)
        };
        Self {
            seed: name
                .bytes()
                .fold(mix(seed), |hash, byte| mix(hash ^ u64::from(byte))),
            scale,
            ln_price: like.price.ln(),
            fine: FINE_MINUTES.map(|minutes| like.minute_move * (minutes as f64).sqrt()),
            coarse: std::array::from_fn(|k| octave((1_u64 << k) as f64)),
            minute_move: like.minute_move,
            naps: like.naps,
            minute_volume: like.quote_volume / 1_440.0 / like.price / volume_unit,
            price_unit,
            quote_per_unit: price_unit * volume_unit * 10_f64.powi(i32::from(QUOTE_DECIMALS)),
            quote_per_trade: (like.quote_volume / 1_440.0 / 300.0).max(50.0)
                * 10_f64.powi(i32::from(QUOTE_DECIMALS)),
        }
    }

    /// The 60 one-minute candles of the hour `hour` (hours since 1970).
    pub(super) fn block(&self, hour: i64) -> [Bar; BLOCK_MINUTES] {
        let first = self.anchor(hour);
        if self.rest_hour(hour + 1) != hour + 1 {
            return [Bar::flat(self.units(first.price_at_start)); BLOCK_MINUTES];
        }
        let prices = self.minute_prices(hour, first);
        let draw = self.draw(Draw::Hour, hour);
        let lull = Lull::drawn(draw);
        let spike_minute = if draw >> 58 == 0 {
            usize::from(low16(draw >> 20)) % BLOCK_MINUTES
        } else {
            BLOCK_MINUTES
        };
        let busy = 0.5 + 1.5 * unit(mix(draw)).powi(2);
        let mut bars = [Bar::flat(0); BLOCK_MINUTES];
        for (minute, bar) in bars.iter_mut().enumerate() {
            let open = prices[lull.held(minute)];
            let close = prices[lull.held(minute + 1)];
            if lull.holds(minute) {
                *bar = Bar::flat(open);
                continue;
            }
            let draw = self.draw(Draw::Minute, hour * 60 + minute as i64);
            let spike = if minute == spike_minute { 1.0 } else { 0.0 };
            *bar = self.minute(open, close, draw, busy, spike);
        }
        bars
    }

    /// One minute that goes from `open` to `close` (price units).
    fn minute(&self, open: i64, close: i64, draw: u64, busy: f64, spike: f64) -> Bar {
        let middle = (open + close) as f64 * 0.5;
        let share = |shift: u32| f64::from(low16(draw >> shift)) / 65_536.0;
        let reach = |share: f64| (1.5 * share * share * share + 0.3 * share) * self.minute_move;
        let shock = spike * (0.003 + 0.02 * share(8));
        let (shock_up, shock_down) = if draw & 1 == 0 {
            (shock, 0.0)
        } else {
            (0.0, shock)
        };
        let up = self.ticks(middle * (reach(share(0)) + shock_up));
        let down = self.ticks(middle * (reach(share(16)) + shock_down));
        let high = open.max(close) + up;
        let low = (open.min(close) - down).max(self.scale.tick);
        let moved = (high - low) as f64 / (middle * self.minute_move).max(1.0);
        let eager = share(32) * share(32) * 2.0 + 0.15;
        let volume = (self.minute_volume
            * busy
            * eager
            * (0.4 + 0.5 * moved.min(6.0))
            * (1.0 + 14.0 * spike))
            .max(1.0)
            .round();
        let quote = volume * middle * self.quote_per_unit;
        let trades = (quote / self.quote_per_trade).clamp(0.0, 9_000.0) as i64 + 1;
        let (volume, quote) = (i128::from(volume as i64), quote as i64);
        Bar {
            open,
            high,
            low,
            close,
            volume,
            quote,
            trades,
            taker_volume: usual_taker_volume(volume),
            taker_quote: usual_taker_quote(quote),
        }
    }

    /// The 61 prices (units) at the minutes of an hour, both ends included; the last is the next hour's first.
    fn minute_prices(&self, hour: i64, first: Anchor) -> [i64; BLOCK_MINUTES + 1] {
        let next = self.anchor(hour + 1);
        let slope = (next.line - first.line) / BLOCK_MINUTES as f64;
        let mut deviation: [f64; BLOCK_MINUTES + 1] =
            std::array::from_fn(|minute| slope * minute as f64);
        for (octave, (step, strength)) in FINE_MINUTES.into_iter().zip(self.fine).enumerate() {
            let per_hour = BLOCK_MINUTES / step;
            let lattice = hour * per_hour as i64;
            let mut from = strength * self.noise(octave, lattice);
            for segment in 0..per_hour {
                let to = strength * self.noise(octave, lattice + segment as i64 + 1);
                let rise = (to - from) / step as f64;
                for inside in 0..step {
                    deviation[segment * step + inside] += from + rise * inside as f64;
                }
                from = to;
            }
        }
        let mut prices = deviation.map(|by| self.units(first.line_price * near_exp(by)));
        prices[0] = self.units(first.price_at_start);
        prices[BLOCK_MINUTES] = self.units(next.price_at_start);
        prices
    }

    /// Where the hour `hour` begins. An hour after a nap begins where the nap began.
    fn anchor(&self, hour: i64) -> Anchor {
        let awake = self.rest_hour(hour);
        let line = self.line(awake);
        let line_price = line.exp();
        let fine: f64 = FINE_MINUTES
            .into_iter()
            .zip(self.fine)
            .enumerate()
            .map(|(octave, (step, strength))| {
                strength * self.noise(octave, awake * (BLOCK_MINUTES / step) as i64)
            })
            .sum();
        Anchor {
            line,
            line_price,
            price_at_start: line_price * near_exp(fine),
        }
    }

    /// Log price at the beginning of an hour without the movements below the hour.
    fn line(&self, hour: i64) -> f64 {
        self.ln_price
            + self
                .coarse
                .iter()
                .enumerate()
                .map(|(k, strength)| {
                    let octave = FINE_MINUTES.len() + k;
                    // Shifted, so that not all contracts and octaves turn at the same hours.
                    let shift = (mix(self.seed ^ (octave as u64) << 32) % (1 << k)) as i64;
                    let cell = (hour + shift) >> k;
                    let inside = ((hour + shift) - (cell << k)) as f64 / (1_u64 << k) as f64;
                    let (from, to) = (self.noise(octave, cell), self.noise(octave, cell + 1));
                    strength * (from + (to - from) * inside)
                })
                .sum::<f64>()
    }

    /// The hour whose beginning gives this hour's first price: itself, or the first hour of the nap that ends here or
    /// later. The hour before it is flat when the answer is not `hour`.
    fn rest_hour(&self, hour: i64) -> i64 {
        let window = hour.div_euclid(NAP_WINDOW);
        let draw = self.draw(Draw::Nap, window);
        // A nap takes 3 of 8 hours on average.
        if unit(draw) >= self.naps * 2.7 {
            return hour;
        }
        let begin = i64::from(low16(draw >> 3) % 3);
        let length = 1 + i64::from(low16(draw >> 7) % 5);
        let within = hour.rem_euclid(NAP_WINDOW);
        if within > begin && within <= (begin + length).min(NAP_WINDOW - 1) {
            window * NAP_WINDOW + begin
        } else {
            hour
        }
    }

    fn noise(&self, octave: usize, cell: i64) -> f64 {
        let hash =
            mix(self.seed ^ (octave as u64).wrapping_mul(0xA24B_AED4_963E_E407) ^ cell as u64);
        2.0 * unit(hash) - 1.0
    }

    fn draw(&self, what: Draw, at: i64) -> u64 {
        mix(self.seed.rotate_left(17) ^ (what as u64) << 56 ^ at as u64)
    }

    /// A price as whole units on the tick grid, at least one tick.
    fn units(&self, price: f64) -> i64 {
        self.ticks(price / self.price_unit).max(self.scale.tick)
    }

    /// Price units rounded to the tick grid.
    fn ticks(&self, units: f64) -> i64 {
        let tick = self.scale.tick;
        (units / tick as f64).round() as i64 * tick
    }
}

/// Where an hour begins.
#[derive(Debug, Clone, Copy)]
struct Anchor {
    line: f64,
    line_price: f64,
    price_at_start: f64,
}

/// What a random draw is for; keeps draws apart.
#[derive(Debug, Clone, Copy)]
enum Draw {
    Hour = 1,
    Minute = 2,
    Nap = 3,
}

/// A few minutes of an hour without any trade, in one hour of sixteen; empty in the others.
#[derive(Debug, Clone, Copy)]
struct Lull {
    begin: usize,
    end: usize,
}

impl Lull {
    fn drawn(draw: u64) -> Self {
        if draw & 15 != 0 {
            return Self { begin: 0, end: 0 };
        }
        let begin = 1 + usize::from(low16(draw >> 4)) % 35;
        let length = 2 + usize::from(low16(draw >> 12)) % 22;
        Self {
            begin,
            end: (begin + length).min(BLOCK_MINUTES - 1),
        }
    }

    fn holds(self, minute: usize) -> bool {
        (self.begin..self.end).contains(&minute)
    }

    /// The minute whose price stands at `minute`.
    fn held(self, minute: usize) -> usize {
        if minute > self.begin && minute <= self.end {
            self.begin
        } else {
            minute
        }
    }
}

/// splitmix64's finaliser: neighbours in, strangers out.
pub(super) const fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A hash as a number from 0 to 1 (1 excluded).
pub(super) fn unit(hash: u64) -> f64 {
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}

fn low16(value: u64) -> u16 {
    (value & 0xFFFF) as u16
}

/// e^x near 0 (within an hour prices move a few percent); arithmetic only, so the same on every machine.
fn near_exp(x: f64) -> f64 {
    1.0 + x * (1.0 + x * (0.5 + x * (1.0 / 6.0 + x * (1.0 / 24.0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALE: Scale = Scale {
        price_decimals: 2,
        volume_decimals: 3,
        tick: 10,
    };

    fn voice(seed: u64, naps: f64) -> Voice {
        let like = Personality {
            price: 83_000.0,
            quote_volume: 9e9,
            minute_move: 0.0004,
            trend: 1.0,
            naps,
        };
        Voice::new(seed, "BTCUSDT", SCALE, like)
    }

    #[test]
    fn the_same_seed_gives_the_same_minutes_in_any_order() {
        let (one, two) = (voice(1, 0.1), voice(1, 0.1));
        let forward: Vec<_> = (490_000..490_030).map(|hour| one.block(hour)).collect();
        let backward: Vec<_> = (490_000..490_030)
            .rev()
            .map(|hour| two.block(hour))
            .collect();
        assert!(forward.iter().eq(backward.iter().rev()));
        assert_ne!(voice(2, 0.1).block(490_000), one.block(490_000));
    }

    #[test]
    fn every_minute_is_a_possible_candle_and_opens_where_the_last_closed() {
        let voice = voice(3, 0.3);
        let mut flat_hours = 0;
        let mut last_close = None;
        for hour in 490_000..490_400 {
            let block = voice.block(hour);
            flat_hours += u32::from(block.iter().all(|bar| bar.volume == 0));
            for bar in block {
                assert!(bar.low > 0 && bar.low <= bar.open.min(bar.close));
                assert!(bar.high >= bar.open.max(bar.close));
                assert!(
                    [bar.open, bar.high, bar.low, bar.close]
                        .iter()
                        .all(|p| p % 10 == 0)
                );
                assert_eq!(bar.volume == 0, bar.trades == 0);
                assert!(bar.volume > 0 || bar == Bar::flat(bar.open));
                assert!(
                    last_close.is_none_or(|close| close == bar.open),
                    "hour {hour}"
                );
                last_close = Some(bar.close);
            }
        }
        assert!(
            (20..300).contains(&flat_hours),
            "{flat_hours} flat hours of 400"
        );
    }
}
