//! HAMA ("NSDT HAMA Candles"): four sources of a candle, each smoothed by its own average, the average of the close
//! that the smoothed close crosses, and the bands. Missing is missing: before its first value a series is `None`.
//! Whether lines crossed and what to do about it is `signal`'s.

use super::{BandState, BandValues, Bands, BodyColor, Ema, HamaParams, MaTrend, Thresholds, Wma};
use crate::market::Candle;

/// The indicator of one series after its last closed candle. A clone is a checkpoint: about 4.5 kB.
#[derive(Debug, Clone)]
pub struct Hama {
    params: HamaParams,
    open: Ema,
    high: Ema,
    low: Ema,
    close: Wma,
    ma: Wma,
    bands: Bands,
    /// Open and close of the last candle: the source open of the next.
    before: Option<(f64, f64)>,
    /// `ma` on the last candle and on the one before it.
    ma_before: [Option<f64>; 2],
}

/// The indicator on one candle. Prices are in the quote asset.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct HamaValues {
    /// EMA(45) of (open + close) / 2 of the candle before; from candle 45 (the first is 0).
    pub hama_open: Option<f64>,
    /// EMA(20) of max(high, close); from candle 19.
    pub hama_high: Option<f64>,
    /// EMA(20) of min(low, close); from candle 19.
    pub hama_low: Option<f64>,
    /// WMA(40) of (open + high + low + close) / 4; from candle 39.
    pub hama_close: Option<f64>,
    /// WMA(100) of the close; from candle 99.
    pub ma: Option<f64>,
    /// Mean of 400 closes; from candle 399.
    pub bb_basis: Option<f64>,
    /// Basis + 2 population standard deviations; from candle 399.
    pub bb_upper: Option<f64>,
    /// Basis - 2 population standard deviations; from candle 399.
    pub bb_lower: Option<f64>,
    /// (upper - lower) / basis, a ratio; from candle 399.
    pub bb_width: Option<f64>,
    /// squeeze below 0.1, expansion above 0.15, else normal; from candle 399.
    pub bb_state: Option<BandState>,
    /// abs(hama_close - ma) / ma x 100, percent; from candle 99.
    pub deviation_pct: Option<f64>,
    /// Green when `hama_open` rose against the candle before, else red; from candle 45, which is red.
    pub body_color: Option<BodyColor>,
    /// Way of the last two steps of `ma`; from candle 101.
    pub ma_trend: Option<MaTrend>,
}

/// What is smoothed of a candle; prices.
struct Sources {
    open: Option<f64>,
    high: f64,
    low: f64,
    close: f64,
}

impl Sources {
    fn of(candle: &Candle, before: Option<(f64, f64)>) -> Self {
        Self {
            open: before.map(|(open, close)| (open + close) / 2.0),
            high: candle.high.max(candle.close),
            low: candle.low.min(candle.close),
            close: (candle.open + candle.high + candle.low + candle.close) / 4.0,
        }
    }
}

impl Default for Hama {
    fn default() -> Self {
        Self::new(HamaParams::default())
    }
}

impl Hama {
    /// The indicator before any candle.
    pub fn new(params: HamaParams) -> Self {
        let lengths = params.lengths();
        Self {
            params,
            open: Ema::new(lengths.hama_open),
            high: Ema::new(lengths.hama_high),
            low: Ema::new(lengths.hama_low),
            close: Wma::new(lengths.hama_close),
            ma: Wma::new(lengths.ma),
            bands: Bands::new(lengths.bands, params.thresholds().band_deviations),
            before: None,
            ma_before: [None, None],
        }
    }

    /// What it computes with.
    pub const fn params(&self) -> &HamaParams {
        &self.params
    }

    /// The values the open `candle` would have if it closed as it stands: what `push` would answer, bit for bit.
    /// Moves nothing.
    pub fn peek(&self, candle: &Candle) -> HamaValues {
        let sources = Sources::of(candle, self.before);
        self.values(&sources, candle.close)
    }

    /// Takes the closed `candle` in and answers with its values.
    pub fn push(&mut self, candle: &Candle) -> HamaValues {
        let sources = Sources::of(candle, self.before);
        let values = self.values(&sources, candle.close);
        if let Some(open) = sources.open {
            self.open.push(open);
        }
        self.high.push(sources.high);
        self.low.push(sources.low);
        self.close.push(sources.close);
        self.ma.push(candle.close);
        self.bands.push(candle.close);
        self.before = Some((candle.open, candle.close));
        self.ma_before = [values.ma, self.ma_before[0]];
        values
    }

    fn values(&self, sources: &Sources, close: f64) -> HamaValues {
        let hama_open = sources.open.and_then(|open| self.open.peek(open));
        let hama_close = self.close.peek(sources.close);
        let ma = self.ma.peek(close);
        let bands = self.bands.peek(close);
        HamaValues {
            hama_open,
            hama_high: self.high.peek(sources.high),
            hama_low: self.low.peek(sources.low),
            hama_close,
            ma,
            bb_basis: bands.map(|bands| bands.basis),
            bb_upper: bands.map(|bands| bands.upper),
            bb_lower: bands.map(|bands| bands.lower),
            bb_width: bands.map(|bands| bands.width),
            bb_state: bands.map(|bands| band_state(&bands, self.params.thresholds())),
            deviation_pct: deviation_pct(hama_close, ma),
            body_color: hama_open.map(|now| body_color(self.open.value(), now)),
            ma_trend: ma_trend(self.ma_before, ma),
        }
    }
}

fn band_state(bands: &BandValues, thresholds: &Thresholds) -> BandState {
    if bands.width < thresholds.squeeze_below {
        BandState::Squeeze
    } else if bands.width > thresholds.expansion_above {
        BandState::Expansion
    } else {
        BandState::Normal
    }
}

fn deviation_pct(hama_close: Option<f64>, ma: Option<f64>) -> Option<f64> {
    let (hama_close, ma) = (hama_close?, ma?);
    Some((hama_close - ma).abs() / ma * 100.0)
}

fn body_color(before: Option<f64>, now: f64) -> BodyColor {
    if before.is_some_and(|before| now > before) {
        BodyColor::Green
    } else {
        BodyColor::Red
    }
}

fn ma_trend([one_before, two_before]: [Option<f64>; 2], now: Option<f64>) -> Option<MaTrend> {
    let (first, second, third) = (two_before?, one_before?, now?);
    Some(if third > second && second > first {
        MaTrend::Rising
    } else if third < second && second < first {
        MaTrend::Falling
    } else {
        MaTrend::Flat
    })
}

#[cfg(test)]
mod tests;
