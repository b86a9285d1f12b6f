//! What the compatible API makes of a recommendation: trend, strength, criteria, and its Chinese texts, to the letter
//! of the service it replaces. Nothing is claimed while there is no recommendation.

use serde::Serialize;

use super::Recommendation;
use crate::indicator::MacdValues;

/// From here on a recommendation counts as sure.
const SURE: f64 = 0.7;
/// From here on the summary calls its strength high.
const HIGH: f64 = 0.8;
/// From here on the summary calls its strength middling.
const MIDDLING: f64 = 0.6;

/// Which way the market goes, by the recommendation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Trend {
    /// BUY.
    Uptrend,
    /// SELL.
    Downtrend,
    /// HOLD.
    Sideways,
}

/// How far the smoothed close stands from its average.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TrendStrength {
    /// More than 1 %.
    Strong,
    /// More than 0.3 %.
    Moderate,
    /// Up to 0.3 %.
    Weak,
}

/// The MACD against its average.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MacdState {
    /// Above.
    Bullish,
    /// Below.
    Bearish,
    /// Equal.
    Neutral,
}

/// What a buyer or seller checks. Null where there is too little history to say.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Conditions {
    /// The trend is up.
    pub is_uptrend: Option<bool>,
    /// The trend is down.
    pub is_downtrend: Option<bool>,
    /// Confidence is 0.70 or more.
    pub confidence_above_70: Option<bool>,
    /// As `is_uptrend`.
    pub is_bullish_pattern: Option<bool>,
    /// As `is_downtrend`.
    pub is_bearish_pattern: Option<bool>,
    /// The last volume is above 1.2 times the mean of the last 20.
    pub has_volume_confirmation: Option<bool>,
    /// Uptrend, confidence 0.70 or more, BUY, volume confirmed. False while any of them is unknown.
    pub meets_buy_criteria: bool,
    /// Downtrend, confidence 0.70 or more, SELL. False while any of them is unknown.
    pub meets_sell_criteria: bool,
    /// In words.
    #[schema(example = "处于上升趋势，信号强度中等，建议买入")]
    pub summary: Option<String>,
}

impl Trend {
    /// BUY up, SELL down, HOLD sideways.
    pub const fn of(recommendation: Recommendation) -> Self {
        match recommendation {
            Recommendation::Buy => Self::Uptrend,
            Recommendation::Sell => Self::Downtrend,
            Recommendation::Hold => Self::Sideways,
        }
    }

    /// The old service's `hama_status`.
    pub const fn hama_status(self) -> &'static str {
        match self {
            Self::Uptrend => "上涨趋势",
            Self::Downtrend => "下跌趋势",
            Self::Sideways => "盘整",
        }
    }

    const fn in_summary(self) -> &'static str {
        match self {
            Self::Uptrend => "处于上升趋势",
            Self::Downtrend => "处于下降趋势",
            Self::Sideways => "趋势不明",
        }
    }
}

impl TrendStrength {
    /// Strong above 1 %, moderate above 0.3 %.
    pub fn of(deviation_pct: f64) -> Self {
        if deviation_pct > 1.0 {
            Self::Strong
        } else if deviation_pct > 0.3 {
            Self::Moderate
        } else {
            Self::Weak
        }
    }
}

impl MacdState {
    /// None while the average has too few values.
    pub fn of(values: &MacdValues) -> Option<Self> {
        let signal = values.signal?;
        Some(if values.macd > signal {
            Self::Bullish
        } else if values.macd < signal {
            Self::Bearish
        } else {
            Self::Neutral
        })
    }
}

impl Conditions {
    /// The conditions of a result.
    pub fn of(
        recommendation: Option<Recommendation>,
        confidence: Option<f64>,
        is_volume_confirmed: Option<bool>,
    ) -> Self {
        let trend = recommendation.map(Trend::of);
        let is = |wanted: Trend| trend.map(|trend| trend == wanted);
        let (is_uptrend, is_downtrend) = (is(Trend::Uptrend), is(Trend::Downtrend));
        let is_sure = confidence.map(|confidence| confidence >= SURE);
        let all = |known: &[Option<bool>]| known.iter().all(|one| *one == Some(true));
        let summary = recommendation
            .zip(confidence)
            .map(|(recommendation, confidence)| summary(recommendation, confidence));
        Self {
            is_uptrend,
            is_downtrend,
            confidence_above_70: is_sure,
            is_bullish_pattern: is_uptrend,
            is_bearish_pattern: is_downtrend,
            has_volume_confirmation: is_volume_confirmed,
            // The trend follows the recommendation, so an uptrend is a BUY and a downtrend a SELL.
            meets_buy_criteria: all(&[is_uptrend, is_sure, is_volume_confirmed]),
            meets_sell_criteria: all(&[is_downtrend, is_sure]),
            summary,
        }
    }
}

fn summary(recommendation: Recommendation, confidence: f64) -> String {
    let strength = if confidence >= HIGH {
        "信号强度高"
    } else if confidence >= MIDDLING {
        "信号强度中等"
    } else {
        "信号强度低"
    };
    let advice = match recommendation {
        Recommendation::Buy => "建议买入",
        Recommendation::Sell => "建议卖出",
        Recommendation::Hold => "建议持有",
    };
    let trend = Trend::of(recommendation).in_summary();
    format!("{trend}，{strength}，{advice}")
}

/// The old service's `analysis_note`.
pub(super) fn analysis_note(trend: Trend, deviation_pct: f64) -> String {
    let status = trend.hama_status();
    format!("HAMA分析: {status}, 偏离度{deviation_pct:.2}%")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::confidence;

    const BUY: Option<Recommendation> = Some(Recommendation::Buy);
    const SELL: Option<Recommendation> = Some(Recommendation::Sell);
    const HOLD: Option<Recommendation> = Some(Recommendation::Hold);

    #[test]
    fn a_buy_needs_its_confidence_and_its_volume() {
        let meets = |recommendation, confidence, volume| {
            let seen = Conditions::of(recommendation, confidence, volume);
            (seen.meets_buy_criteria, seen.meets_sell_criteria)
        };
        assert_eq!(meets(BUY, Some(0.7), Some(true)), (true, false)); // 0.70 exactly
        assert_eq!(meets(BUY, Some(0.699_999_999), Some(true)), (false, false));
        assert_eq!(meets(BUY, Some(0.9), Some(false)), (false, false));
        assert_eq!(meets(BUY, Some(0.9), None), (false, false));
        assert_eq!(meets(SELL, Some(0.7), Some(false)), (false, true));
        assert_eq!(meets(SELL, Some(0.7), None), (false, true));
        assert_eq!(meets(SELL, Some(0.69), Some(true)), (false, false));
        assert_eq!(meets(HOLD, Some(1.0), Some(true)), (false, false));
        assert_eq!(meets(None, None, Some(true)), (false, false));
    }

    #[test]
    fn every_buy_and_sell_of_ours_is_sure_from_the_least_distance_on() {
        for recommendation in [Recommendation::Buy, Recommendation::Sell] {
            let least = confidence(recommendation, 0.0);
            let seen = Conditions::of(Some(recommendation), Some(least), None);
            assert_eq!(seen.confidence_above_70, Some(true));
        }
    }

    #[test]
    fn the_flags_follow_the_trend_and_are_unknown_without_one() {
        let flags = |recommendation, confidence| {
            let seen = Conditions::of(recommendation, confidence, None);
            assert_eq!(seen.is_bullish_pattern, seen.is_uptrend);
            assert_eq!(seen.is_bearish_pattern, seen.is_downtrend);
            assert_eq!(seen.has_volume_confirmation, None);
            (seen.is_uptrend, seen.is_downtrend, seen.confidence_above_70)
        };
        let (yes, no) = (Some(true), Some(false));
        assert_eq!(flags(BUY, Some(0.7)), (yes, no, yes));
        assert_eq!(flags(SELL, Some(0.7)), (no, yes, yes));
        assert_eq!(flags(HOLD, Some(0.3)), (no, no, no));
        assert_eq!(flags(None, None), (None, None, None));
    }

    #[test]
    fn the_texts_are_the_old_services() {
        let text = |recommendation, confidence| {
            Conditions::of(recommendation, Some(confidence), None).summary
        };
        let cases = [
            (BUY, 0.8, "处于上升趋势，信号强度高，建议买入"),
            (BUY, 0.799_999, "处于上升趋势，信号强度中等，建议买入"),
            (SELL, 1.0, "处于下降趋势，信号强度高，建议卖出"),
            (SELL, 0.6, "处于下降趋势，信号强度中等，建议卖出"),
            (HOLD, 0.3, "趋势不明，信号强度低，建议持有"),
        ];
        for (recommendation, confidence, expected) in cases {
            assert_eq!(text(recommendation, confidence).unwrap(), expected);
        }
        assert_eq!(Conditions::of(None, None, None).summary, None);
        let note = analysis_note(Trend::Uptrend, 0.166);
        assert_eq!(note, "HAMA分析: 上涨趋势, 偏离度0.17%");
        assert_eq!(Trend::Downtrend.hama_status(), "下跌趋势");
        assert_eq!(Trend::Sideways.hama_status(), "盘整");
    }

    #[test]
    fn a_limit_itself_belongs_to_the_weaker_word() {
        let strengths = [0.0, 0.3, 0.300_001, 1.0, 1.000_001].map(TrendStrength::of);
        let [weak, still_weak, moderate, still_moderate, strong] = strengths;
        assert_eq!(
            (weak, still_weak),
            (TrendStrength::Weak, TrendStrength::Weak)
        );
        assert_eq!(moderate, TrendStrength::Moderate);
        assert_eq!(still_moderate, TrendStrength::Moderate);
        assert_eq!(strong, TrendStrength::Strong);
        let state = |macd, signal| MacdState::of(&MacdValues { macd, signal });
        assert_eq!(state(1.0, Some(0.9)), Some(MacdState::Bullish));
        assert_eq!(state(-1.0, Some(-0.9)), Some(MacdState::Bearish));
        assert_eq!(state(0.5, Some(0.5)), Some(MacdState::Neutral));
        assert_eq!(state(0.5, None), None);
    }
}
