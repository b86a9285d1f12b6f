//! A series as a result: what the last closed candle says, and what the open one would.

use super::watched::Watched;
use crate::market::TimeMs;
use crate::signal::SignalResult;

/// The result of a live series.
pub(super) fn of(watched: &Watched, event_time: TimeMs) -> SignalResult {
    let mut result = SignalResult::warming(watched.key(), event_time);
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
