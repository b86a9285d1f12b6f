//! A series as a result: what the last closed candle says, and what the open one would.

use super::watched::Watched;
use crate::market::{SeriesKey, SeriesStatus, TimeMs};
use crate::signal::{Seq, SignalResult};

/// The result of a series nothing is known of yet.
pub(super) fn empty(key: &SeriesKey, event_time: TimeMs) -> SignalResult {
    SignalResult {
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
        change_seq: Seq::NONE,
        changed_at: None,
        holes: 0,
        history: None,
        event_time,
        live: None,
    }
}

/// The result of a live series.
pub(super) fn of(watched: &Watched, event_time: TimeMs) -> SignalResult {
    let mut result = empty(watched.key(), event_time);
    result.status = watched.status();
    result.history = watched.history();
    result.holes = watched.series().bridged();
    let (Some(last), Some(candle)) = (watched.analyzer().last(), watched.series().last()) else {
        return result;
    };
    result.recommendation = Some(last.recommendation);
    result.confidence = Some(last.confidence());
    result.price = Some(candle.close);
    result.hama_open = last.values.hama_open;
    result.hama_high = last.values.hama_high;
    result.hama_low = last.values.hama_low;
    result.hama_close = last.values.hama_close;
    result.ma = last.values.ma;
    result.deviation_pct = last.values.deviation_pct;
    result.body_color = last.values.body_color;
    result.ma_trend = last.values.ma_trend;
    result.last_cross_direction = last.last_cross_direction;
    result.last_cross_time = last.last_cross_time;
    result.bollinger = last.bollinger();
    result.candle_open_time = Some(candle.open_time);
    result.candle_close_time = Some(watched.series().close_time(candle.open_time));
    result.live = watched
        .series()
        .open_candle()
        .map(|open| watched.analyzer().peek(open).live_view(open.close));
    result
}
