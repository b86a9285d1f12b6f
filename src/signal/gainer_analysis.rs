//! An analysis: one result as the compatible API answers it and, later, as Redis keeps it for the old service's
//! clients. Field names, order and texts are that service's; everything is of closed candles but the live price.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::conditions::analysis_note;
use super::{
    Bollinger, Conditions, MacdState, Recommendation, SignalResult, Technical, Trend, TrendStrength,
};
use crate::indicator::BandState;
use crate::market::{Symbol, TimeMs};

/// One contract, analysed.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct GainerAnalysis {
    /// Contract.
    #[schema(value_type = String)]
    pub symbol: Symbol,
    /// What the indicator says.
    pub hama_analysis: HamaAnalysis,
    /// What a buyer or seller checks.
    pub conditions: Conditions,
    /// When it was computed, UTC.
    #[schema(example = "2026-01-10T06:55:13")]
    pub timestamp: String,
    /// Whether it comes from a cache.
    pub cached: bool,
    /// Which cache; left out when it was computed for this answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_source: Option<CacheSource>,
    /// The same as `/api/v1` answers it.
    #[schema(value_type = SignalResult)]
    pub v1: Arc<SignalResult>,
}

/// Where a cached analysis was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CacheSource {
    /// In Redis.
    Redis,
    /// In this process.
    Memory,
}

/// What the indicator says; null before there is enough history.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct HamaAnalysis {
    /// Contract.
    #[schema(value_type = String)]
    pub symbol: Symbol,
    /// Confirmed recommendation.
    pub recommendation: Option<Recommendation>,
    /// 0.3 to 1.
    pub confidence: Option<f64>,
    /// By the recommendation.
    pub trend: Option<Trend>,
    /// Numbers of the HAMA candle.
    pub signals: HamaSignals,
    /// Numbers beside it.
    pub technical_indicators: TechnicalIndicators,
    /// Always `none`.
    #[schema(value_type = String, example = "none")]
    pub candle_pattern: &'static str,
    /// When it was computed, UTC.
    pub timestamp: String,
    /// In words.
    #[schema(example = "HAMA分析: 上涨趋势, 偏离度0.17%")]
    pub analysis_note: Option<String>,
}

/// Numbers of the HAMA candle.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct HamaSignals {
    /// `hama_open`.
    pub ha_open: Option<f64>,
    /// `hama_high`.
    pub ha_high: Option<f64>,
    /// `hama_low`.
    pub ha_low: Option<f64>,
    /// `hama_close`.
    pub ha_close: Option<f64>,
    /// `ma`.
    pub hama_ma: Option<f64>,
    /// Distance of the two, percent of `hama_ma`.
    pub deviation_pct: Option<f64>,
    /// 1 up, -1 down, 0 before the first.
    pub last_cross_direction: i8,
    /// When the candle of the last cross opened, UTC.
    pub last_cross_time: Option<String>,
    /// By the distance.
    pub trend_strength: Option<TrendStrength>,
    /// Whether the last volume is above 1.2 times the mean of the last 20.
    pub volume_confirmation: Option<bool>,
    /// Last price seen.
    pub realtime_price: Option<f64>,
}

/// Numbers beside the HAMA candle.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct TechnicalIndicators {
    /// 上涨趋势, 下跌趋势 or 盘整.
    #[schema(value_type = Option<String>)]
    pub hama_status: Option<&'static str>,
    /// Close of the HAMA candle, as the old service meant it: what is compared with `ma_value`.
    pub candle_close: Option<f64>,
    /// The average it crosses.
    pub ma_value: Option<f64>,
    /// Distance of the two, percent of `ma_value`.
    pub deviation_pct: Option<f64>,
    /// Wilder's RSI, 14.
    pub rsi: Option<f64>,
    /// `macd` against its signal line.
    pub macd: Option<MacdState>,
    /// MACD 12, 26, 9.
    pub macd_values: MacdLines,
    /// EMA of 20 closes.
    pub ema_20: Option<f64>,
    /// EMA of 50 closes.
    pub ema_50: Option<f64>,
    /// Bands; null before 400 candles.
    pub bollinger: Option<BollingerBands>,
    /// Lowest low of the last 20.
    pub support_level: Option<f64>,
    /// Highest high of the last 20.
    pub resistance_level: Option<f64>,
}

/// The MACD's three lines.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, utoipa::ToSchema)]
pub struct MacdLines {
    /// EMA 12 less EMA 26.
    pub macd: Option<f64>,
    /// EMA 9 of it.
    pub signal: Option<f64>,
    /// The difference of the two.
    pub histogram: Option<f64>,
}

/// Bollinger bands of the close, 400 candles, 2 deviations.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, utoipa::ToSchema)]
pub struct BollingerBands {
    /// basis + 2 deviations.
    pub upper: f64,
    /// Mean of the closes.
    pub basis: f64,
    /// basis - 2 deviations.
    pub lower: f64,
    /// (upper - lower) / basis.
    pub width: f64,
    /// squeeze below 0.1, expansion above 0.15.
    pub status: BandState,
}

impl GainerAnalysis {
    /// The analysis of `result`, with the figures after the same candle, computed at `now`.
    pub fn of(result: Arc<SignalResult>, technical: &Technical, now: TimeMs) -> Self {
        let conditions = Conditions::of(
            result.recommendation,
            result.confidence,
            technical.is_volume_confirmed,
        );
        Self {
            symbol: result.symbol.clone(),
            hama_analysis: HamaAnalysis::of(&result, technical, now),
            conditions,
            timestamp: now.iso_seconds(),
            cached: false,
            cache_source: None,
            v1: result,
        }
    }

    /// The same, as found in `source`.
    #[must_use]
    pub fn found_in(&self, source: CacheSource) -> Self {
        Self {
            cached: true,
            cache_source: Some(source),
            ..self.clone()
        }
    }
}

impl HamaAnalysis {
    fn of(result: &SignalResult, technical: &Technical, now: TimeMs) -> Self {
        let trend = result.recommendation.map(Trend::of);
        let note = trend
            .zip(result.deviation_pct)
            .map(|(trend, deviation_pct)| analysis_note(trend, deviation_pct));
        Self {
            symbol: result.symbol.clone(),
            recommendation: result.recommendation,
            confidence: result.confidence,
            trend,
            signals: HamaSignals::of(result, technical),
            technical_indicators: TechnicalIndicators::of(result, technical, trend),
            candle_pattern: "none",
            timestamp: now.iso_seconds(),
            analysis_note: note,
        }
    }
}

impl HamaSignals {
    fn of(result: &SignalResult, technical: &Technical) -> Self {
        Self {
            ha_open: result.hama_open,
            ha_high: result.hama_high,
            ha_low: result.hama_low,
            ha_close: result.hama_close,
            hama_ma: result.ma,
            deviation_pct: result.deviation_pct,
            last_cross_direction: result.last_cross_direction,
            last_cross_time: result.last_cross_time.map(|open| open.time().iso_seconds()),
            trend_strength: result.deviation_pct.map(TrendStrength::of),
            volume_confirmation: technical.is_volume_confirmed,
            realtime_price: result.live.map(|live| live.price),
        }
    }
}

impl TechnicalIndicators {
    fn of(result: &SignalResult, technical: &Technical, trend: Option<Trend>) -> Self {
        let macd = technical.macd;
        Self {
            hama_status: trend.map(Trend::hama_status),
            candle_close: result.hama_close,
            ma_value: result.ma,
            deviation_pct: result.deviation_pct,
            rsi: technical.rsi,
            macd: macd.and_then(|values| MacdState::of(&values)),
            macd_values: MacdLines {
                macd: macd.map(|values| values.macd),
                signal: macd.and_then(|values| values.signal),
                histogram: macd.and_then(|values| values.histogram()),
            },
            ema_20: technical.ema_20,
            ema_50: technical.ema_50,
            bollinger: result.bollinger.map(BollingerBands::of),
            support_level: technical.support,
            resistance_level: technical.resistance,
        }
    }
}

impl BollingerBands {
    const fn of(bands: Bollinger) -> Self {
        Self {
            upper: bands.upper,
            basis: bands.basis,
            lower: bands.lower,
            width: bands.width,
            status: bands.state,
        }
    }
}
