//! From the indicator to what clients act on: recommendation, result, change.
//! Pure: no clock, no I/O, no async. The JSON shapes of a result and a change are defined here once; the feed, REST and
//! the store carry them unchanged. Numbers (`seq`) are given by the store, never here.

mod analyzer;
mod change;
mod conditions;
mod cross;
mod feed_status;
mod gainer_analysis;
mod recommendation;
mod result;
mod technical;

pub use analyzer::{Analysis, Analyzer};
pub use change::{
    Change, ChangeBody, ChangeId, Correction, Epoch, Seq, SignalChange, Source, Stand,
};
pub use conditions::{Conditions, MacdState, Trend, TrendStrength};
pub use cross::Cross;
pub use feed_status::{FeedState, FeedStatus, SeriesCounts, StoreState};
pub use gainer_analysis::{
    BollingerBands, CacheSource, GainerAnalysis, HamaAnalysis, HamaSignals, MacdLines,
    TechnicalIndicators,
};
pub use recommendation::{Recommendation, confidence};
pub use result::{Bollinger, History, LiveView, SignalResult};
pub use technical::{Technical, TechnicalTrack};
