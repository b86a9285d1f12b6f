//! A result: everything known of one series after its last computation. Only the newest matters.
//! Everything outside `live` is of the last closed candle; `live` is what would be if the open candle closed now.

use serde::{Deserialize, Serialize};

use super::change::{Change, ChangeBody, SignalChange};
use super::{Recommendation, confidence};
use crate::indicator::{BandState, BodyColor, MaTrend};
use crate::market::{Interval, OpenTime, SeriesKey, SeriesStatus, Symbol, TimeMs};

/// How much of the contract's past the recommendation rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum History {
    /// At least 499 candles, with a cross in them (or the contract's whole past without one).
    Full,
    /// The contract is younger than 499 candles.
    Young,
    /// No cross in 5,000 candles: HOLD, direction 0.
    Capped,
}

/// Bollinger bands of the close, 400 candles, 2 deviations.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Bollinger {
    /// basis + 2 deviations, price.
    pub upper: f64,
    /// Mean of the closes, price.
    pub basis: f64,
    /// basis - 2 deviations, price.
    pub lower: f64,
    /// (upper - lower) / basis.
    pub width: f64,
    /// squeeze below 0.1, expansion above 0.15.
    pub state: BandState,
}

/// The provisional answer: what the result would say if the open candle closed now. It may flip back.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LiveView {
    /// With the open candle's cross counted.
    pub recommendation: Option<Recommendation>,
    /// Last price seen.
    pub price: f64,
    /// Smoothed close.
    pub hama_close: Option<f64>,
    /// Average it crosses.
    pub ma: Option<f64>,
    /// Distance of the two, percent of `ma`.
    pub deviation_pct: Option<f64>,
}

/// A result of one series. Missing values are null. The field order is the wire's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SignalResult {
    /// Contract.
    #[schema(value_type = String)]
    pub symbol: Symbol,
    /// Candle interval.
    pub interval: Interval,
    /// State of the series; only a live one gives new signals.
    pub status: SeriesStatus,
    /// Confirmed recommendation; null until the series was live once.
    pub recommendation: Option<Recommendation>,
    /// 0.3 to 1.
    pub confidence: Option<f64>,
    /// Close of the last closed candle.
    pub price: Option<f64>,
    /// EMA(45) of the source open.
    pub hama_open: Option<f64>,
    /// EMA(20) of the source high.
    pub hama_high: Option<f64>,
    /// EMA(20) of the source low.
    pub hama_low: Option<f64>,
    /// WMA(40) of the source close.
    pub hama_close: Option<f64>,
    /// WMA(100) of the close.
    pub ma: Option<f64>,
    /// abs(hama_close - ma) / ma x 100.
    pub deviation_pct: Option<f64>,
    /// Whether hama_open rose.
    pub body_color: Option<BodyColor>,
    /// Two steps of ma in a row.
    pub ma_trend: Option<MaTrend>,
    /// 1 up, -1 down, 0 before the first.
    pub last_cross_direction: i8,
    /// Open time of the candle of the last cross.
    #[schema(value_type = Option<i64>)]
    pub last_cross_time: Option<OpenTime>,
    /// Bands; null before 400 candles.
    pub bollinger: Option<Bollinger>,
    /// Open time of the last closed candle.
    #[schema(value_type = Option<i64>)]
    pub candle_open_time: Option<OpenTime>,
    /// Its last millisecond.
    #[schema(value_type = Option<i64>)]
    pub candle_close_time: Option<TimeMs>,
    /// Number of the series' last change in this epoch, 0 before the first.
    #[schema(value_type = u64)]
    pub change_seq: super::Seq,
    /// Close time of the candle of the last change, null before the first.
    #[schema(value_type = Option<i64>)]
    pub changed_at: Option<TimeMs>,
    /// Candles the exchange never had, bridged.
    pub holes: u32,
    /// How much past the recommendation rests on; null while warming.
    pub history: Option<History>,
    /// When it was computed, by the exchange's clock.
    #[schema(value_type = i64)]
    pub event_time: TimeMs,
    /// The provisional answer; null when no open candle has been seen.
    pub live: Option<LiveView>,
}

impl SignalResult {
    /// This result as it must look once `change` is known: a reader of the log may have it before the result that shows
    /// it. What a change does not say stays as it was until that result comes.
    #[must_use]
    pub fn after(&self, change: &Change) -> Self {
        if change.seq <= self.change_seq {
            return self.clone();
        }
        let mut result = self.clone();
        (result.change_seq, result.changed_at) = (change.seq, Some(change.body.changed_at()));
        match &change.body {
            ChangeBody::Signal(signal) => result.take_signal(signal),
            ChangeBody::Correction(correction) => {
                let deviation_pct = self.deviation_pct.unwrap_or(0.0);
                result.recommendation = Some(correction.recommendation);
                result.confidence = Some(confidence(correction.recommendation, deviation_pct));
            }
        }
        result
    }

    /// The same, its last change forgotten: that was a number of another epoch.
    #[must_use]
    pub fn without_change(&self) -> Self {
        Self {
            change_seq: super::Seq::NONE,
            changed_at: None,
            ..self.clone()
        }
    }

    fn take_signal(&mut self, signal: &SignalChange) {
        self.recommendation = Some(signal.recommendation);
        self.confidence = Some(signal.confidence);
        self.price = Some(signal.price);
        self.hama_close = Some(signal.hama_close);
        self.ma = Some(signal.ma);
        self.deviation_pct = Some(signal.deviation_pct);
        self.candle_open_time = Some(signal.candle_open_time);
        self.candle_close_time = Some(signal.candle_close_time);
        self.last_cross_direction = signal.last_cross_direction;
        self.last_cross_time = signal.last_cross_time;
        self.event_time = signal.event_time;
    }

    /// The result of a series nothing is known of yet.
    pub fn warming(key: &SeriesKey, event_time: TimeMs) -> Self {
        Self {
            symbol: key.symbol.clone(),
            interval: key.interval,
            status: SeriesStatus::Warming,
            recommendation: None,
            confidence: None,
            price: None,
            hama_open: None,
            hama_high: None,
            hama_low: None,
            hama_close: None,
            ma: None,
            deviation_pct: None,
            body_color: None,
            ma_trend: None,
            last_cross_direction: 0,
            last_cross_time: None,
            bollinger: None,
            candle_open_time: None,
            candle_close_time: None,
            change_seq: super::Seq::NONE,
            changed_at: None,
            holes: 0,
            history: None,
            event_time,
            live: None,
        }
    }

    /// The series it is of.
    pub fn key(&self) -> SeriesKey {
        SeriesKey::new(self.symbol.clone(), self.interval)
    }
}
