//! Results and changes made by hand: the one place that fills every field. Tests say what matters to them and take the
//! rest from here.

use hamacast::market::{Interval, OpenTime, SeriesKey, SeriesStatus, Symbol};
use hamacast::signal::{
    Correction, FeedState, FeedStatus, LiveView, Recommendation, SeriesCounts, SignalChange,
    SignalResult, Source, Stand, StoreState,
};
use hamacast::store::{Occasion, Write};

pub(crate) fn key(name: &str, interval: Interval) -> SeriesKey {
    SeriesKey::new(Symbol::parse(name).unwrap(), interval)
}

/// A live result on HOLD whose last closed candle opens at `open`, a second after its close and without a live part.
pub(crate) fn result(key: &SeriesKey, open: OpenTime) -> SignalResult {
    let close = key.interval.close_time(open);
    SignalResult {
        status: SeriesStatus::Live,
        recommendation: Some(Recommendation::Hold),
        confidence: Some(0.3),
        price: Some(67_123.4),
        hama_open: Some(67_000.5),
        hama_high: Some(67_200.5),
        hama_low: Some(66_900.5),
        hama_close: Some(67_001.25),
        ma: Some(66_890.12),
        deviation_pct: Some(0.166),
        last_cross_direction: 1,
        last_cross_time: Some(open),
        candle_open_time: Some(open),
        candle_close_time: Some(close),
        ..SignalResult::warming(key, close.plus_ms(1_000))
    }
}

/// What the open candle says: HOLD too.
pub(crate) fn live(price: f64) -> LiveView {
    LiveView {
        recommendation: Some(Recommendation::Hold),
        price,
        hama_close: Some(67_002.0),
        ma: Some(66_891.0),
        deviation_pct: Some(0.166),
    }
}

/// A change told 124 ms after the close of the candle that opens at `open`.
pub(crate) fn signal(
    key: SeriesKey,
    open: OpenTime,
    previous: Recommendation,
    recommendation: Recommendation,
) -> SignalChange {
    let close = key.interval.close_time(open);
    SignalChange {
        key,
        recommendation,
        previous,
        confidence: 0.7332,
        price: 67_123.4,
        hama_close: 67_001.25,
        ma: 66_890.12,
        deviation_pct: 0.166,
        candle_open_time: open,
        candle_close_time: close,
        last_cross_direction: 1,
        last_cross_time: Some(open),
        event_time: close.plus_ms(124),
        source: Source::Stream,
    }
}

/// The candle that opens at `open` was revised, and the BUY at its close does not hold.
pub(crate) fn correction(key: SeriesKey, open: OpenTime, source: Source) -> Correction {
    let close = key.interval.close_time(open);
    Correction {
        key,
        revision: 1,
        corrects: vec![close],
        stands: vec![Stand {
            candle_close_time: close,
            recommendation: Recommendation::Hold,
            previous: Recommendation::Hold,
        }],
        recommendation: Recommendation::Hold,
        previous: Recommendation::Buy,
        candle_open_time: open,
        candle_close_time: close,
        event_time: close.plus_ms(5_000),
        source,
    }
}

/// A state of the feed, of no series yet.
pub(crate) fn status(feed: FeedState) -> FeedStatus {
    FeedStatus {
        feed,
        store: StoreState::Memory,
        series: SeriesCounts::default(),
        lag_ms: Some(3),
        speed: 1.0,
        simulated: false,
    }
}

/// What the exchange trades.
pub(crate) fn tradable(names: &[&str]) -> Write {
    let symbols = names.iter().map(|name| Symbol::parse(name).unwrap());
    Write::Tradable(std::sync::Arc::new(symbols.collect()))
}

/// The first live result of a series.
pub(crate) fn first_live(result: SignalResult) -> Write {
    Write::Result {
        result: Box::new(result),
        occasion: Occasion::FirstLive,
    }
}

/// An ordinary result.
pub(crate) fn update(result: SignalResult) -> Write {
    Write::Result {
        result: Box::new(result),
        occasion: Occasion::Update,
    }
}
