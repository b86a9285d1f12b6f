//! From the values on the wire, of REST and streams alike, to a candle that has passed every check one can make of it
//! alone: numbers, grid, length, prices.

use super::decimal::decimal;
use crate::exchange::BadRow;
use crate::market::{Candle, Interval, OpenTime, TimeMs};

/// The last instant of the year 9999: beyond it calendars, and our sums, end.
const LAST_MS: i64 = 253_402_300_799_999;

/// The candle with `texts` open, high, low, close and volume.
pub(super) fn candle(
    interval: Interval,
    open_time: OpenTime,
    close_time: TimeMs,
    texts: [&str; 5],
) -> Result<Candle, BadRow> {
    if !(0..=LAST_MS).contains(&open_time.ms()) || !interval.is_on_grid(open_time) {
        return Err(BadRow::OffGrid { open: open_time });
    }
    let expected = interval.close_time(open_time);
    if close_time != expected {
        return Err(BadRow::WrongClose {
            close: close_time,
            expected,
        });
    }
    let [open, high, low, close, volume] = texts;
    let candle = Candle {
        open_time,
        open: number("open", open)?,
        high: number("high", high)?,
        low: number("low", low)?,
        close: number("close", close)?,
        volume: number("volume", volume)?,
    };
    candle.check()?;
    Ok(candle)
}

fn number(field: &'static str, text: &str) -> Result<f64, BadRow> {
    decimal(text).ok_or(BadRow::NotANumber { field })
}
