//! How the numbered items of the log look, for the API document. The items themselves are written by `signal`, and a
//! test compares the two field by field.
#![allow(dead_code, reason = "these types only describe; nothing builds them")]

use crate::market::Interval;
use crate::signal::{Recommendation, Source, Stand};

/// A change of a confirmed recommendation, as the feed carries it.
#[derive(serde::Serialize, utoipa::ToSchema)]
pub(in crate::http) struct SignalItem {
    /// Always `signal`.
    #[schema(example = "signal")]
    r#type: String,
    /// `symbol:interval:close_time:revision`: the same whoever sends it, so that readers can drop doubles.
    #[schema(example = "BTCUSDT:15m:1767000599999:0")]
    id: String,
    /// Number of the change, over all series.
    seq: u64,
    /// Number of the same series' change before it, 0: none.
    prev_seq: u64,
    /// The numbering it belongs to.
    epoch: String,
    /// Contract.
    symbol: String,
    /// Candle interval.
    interval: Interval,
    /// What holds now.
    recommendation: Recommendation,
    /// What held before.
    previous: Recommendation,
    /// 0.3 to 1.
    confidence: f64,
    /// Close of the candle.
    price: f64,
    /// Smoothed close.
    hama_close: f64,
    /// Average it crosses.
    ma: f64,
    /// Distance of the two, percent of `ma`.
    deviation_pct: f64,
    /// Open time of the candle that made the change.
    candle_open_time: i64,
    /// Its last millisecond.
    candle_close_time: i64,
    /// 1 up, -1 down, 0 before the first.
    last_cross_direction: i8,
    /// Open time of the candle of the last cross.
    last_cross_time: Option<i64>,
    /// When it was computed, by the exchange's clock.
    event_time: i64,
    /// event_time - candle_close_time.
    late_ms: i64,
    /// Where the candle came from.
    source: Source,
}

/// The exchange revised a closed candle, and earlier changes no longer hold.
#[derive(serde::Serialize, utoipa::ToSchema)]
pub(in crate::http) struct CorrectionItem {
    /// Always `correction`.
    #[schema(example = "correction")]
    r#type: String,
    /// `symbol:interval:close_time:revision`.
    #[schema(example = "BTCUSDT:15m:1767000599999:1")]
    id: String,
    /// Number of the correction, over all series.
    seq: u64,
    /// Number of the same series' change before it, 0: none.
    prev_seq: u64,
    /// The numbering it belongs to.
    epoch: String,
    /// Contract.
    symbol: String,
    /// Candle interval.
    interval: Interval,
    /// Open time of the revised candle.
    candle_open_time: i64,
    /// Its last millisecond.
    candle_close_time: i64,
    /// 1 for the first correction of this candle.
    revision: u32,
    /// Numbers of the changes that no longer hold.
    corrects: Vec<u64>,
    /// What holds instead, oldest first.
    stands: Vec<Stand>,
    /// The recommendation that holds now.
    recommendation: Recommendation,
    /// The recommendation that was last told.
    previous: Recommendation,
    /// When it was computed, by the exchange's clock.
    event_time: i64,
    /// Where the revised candle came from.
    source: Source,
    /// Close times of the candles whose changes no longer hold.
    corrects_close_times: Vec<i64>,
}

/// A numbered item of the log: told apart by `type`.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[serde(untagged)]
pub(in crate::http) enum ChangeItem {
    /// An ordinary change.
    Signal(SignalItem),
    /// A correction of earlier ones.
    Correction(CorrectionItem),
}
