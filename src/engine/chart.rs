//! A series as a chart draws it: candles with their HAMA values and the changes on them.

use serde::{Deserialize, Serialize};

use super::watched::Watched;
use crate::indicator::{BandState, BodyColor};
use crate::market::{Candle, Interval, OpenTime, Symbol};
use crate::signal::{Analysis, Recommendation};

/// One candle of a chart; missing values are null.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ChartRow {
    /// When the candle opens.
    #[schema(value_type = i64)]
    pub open_time: OpenTime,
    /// First price.
    pub open: f64,
    /// Highest price.
    pub high: f64,
    /// Lowest price.
    pub low: f64,
    /// Last price.
    pub close: f64,
    /// Traded amount in the base asset.
    pub volume: f64,
    /// Whether it has closed; only the last row may be open.
    pub closed: bool,
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
    /// Upper band.
    pub bb_upper: Option<f64>,
    /// Mean of the closes.
    pub bb_basis: Option<f64>,
    /// Lower band.
    pub bb_lower: Option<f64>,
    /// How wide the bands stand.
    pub bb_state: Option<BandState>,
    /// Whether hama_open rose.
    pub body_color: Option<BodyColor>,
    /// 1 crossed up, -1 down, 0 neither.
    pub cross: i8,
    /// What the candle says; null while there is too little history.
    pub recommendation: Option<Recommendation>,
    /// The recommendation this candle turned into, null where it did not turn.
    pub change: Option<Recommendation>,
}

/// Candles of one series, oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Chart {
    /// Contract.
    #[schema(value_type = String)]
    pub symbol: Symbol,
    /// Candle interval.
    pub interval: Interval,
    /// The candles; the last may be open.
    pub candles: Vec<ChartRow>,
}

/// The last `limit` candles of a series, the open one included: recomputed from the checkpoint, as confirmed.
pub(super) fn of(watched: &Watched, limit: usize) -> Chart {
    let mut analyzer = watched.checkpoint().clone();
    let mut previous = analyzer.last().map(|last| last.recommendation);
    let mut candles: Vec<ChartRow> = Vec::new();
    for candle in watched.series().history() {
        let analysis = analyzer.push(candle);
        let change = previous.is_some_and(|previous| previous != analysis.recommendation);
        previous = Some(analysis.recommendation);
        candles.push(row(candle, &analysis, Closed::Yes { change }));
    }
    if let Some(open) = watched.series().open_candle() {
        candles.push(row(open, &analyzer.peek(open), Closed::No));
    }
    candles.drain(..candles.len().saturating_sub(limit));
    Chart {
        symbol: watched.key().symbol.clone(),
        interval: watched.key().interval,
        candles,
    }
}

#[derive(Clone, Copy)]
enum Closed {
    Yes { change: bool },
    No,
}

fn row(candle: &Candle, analysis: &Analysis, closed: Closed) -> ChartRow {
    let values = &analysis.values;
    let recommendation = values.ma.map(|_| analysis.recommendation);
    ChartRow {
        open_time: candle.open_time,
        open: candle.open,
        high: candle.high,
        low: candle.low,
        close: candle.close,
        volume: candle.volume,
        closed: matches!(closed, Closed::Yes { .. }),
        hama_open: values.hama_open,
        hama_high: values.hama_high,
        hama_low: values.hama_low,
        hama_close: values.hama_close,
        ma: values.ma,
        bb_upper: values.bb_upper,
        bb_basis: values.bb_basis,
        bb_lower: values.bb_lower,
        bb_state: values.bb_state,
        body_color: values.body_color,
        cross: analysis.cross.number(),
        recommendation,
        change: recommendation.filter(|_| matches!(closed, Closed::Yes { change: true })),
    }
}
