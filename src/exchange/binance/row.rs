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

#[cfg(test)]
mod tests {
    use super::*;

    fn of(texts: [&str; 5]) -> Result<Candle, BadRow> {
        candle(
            Interval::M1,
            OpenTime::from_ms(60_000),
            TimeMs::new(119_999),
            texts,
        )
    }

    #[test]
    fn h28_equal_texts_are_equal_candles_however_many_digits_and_another_last_digit_is_another() {
        let rows = [
            ["0.00000001", "0.00000003", "0.00000001", "0.00000002", "0"],
            ["83070.80", "83143.00", "83070.70", "83142.90", "86.568"],
            [
                "12345678.123456789",
                "12345678.923456789",
                "12345678.123456788",
                "12345678.2",
                "9",
            ],
            [
                "0.12345678901234567",
                "0.92345678901234567",
                "0.1",
                "0.2",
                "98765432109876543",
            ],
        ];
        for texts in rows {
            assert_eq!(of(texts).unwrap(), of(texts).unwrap(), "{texts:?}");
        }
        let same = of(["83070.8", "83143", "83070.7", "83142.9", "86.5680"]).unwrap();
        assert_eq!(
            of(rows[1]).unwrap(),
            same,
            "trailing zeros name the same number"
        );
        // Fifteen digits, the most a double keeps apart: no rounding hides the last of them.
        let one = of(["1", "99999999.1234567", "1", "99999999.1234567", "1"]).unwrap();
        let other = of(["1", "99999999.1234568", "1", "99999999.1234568", "1"]).unwrap();
        assert_ne!(one, other);
    }

    #[test]
    fn h23_a_row_off_the_grid_or_of_another_length_is_refused() {
        let texts = ["1", "1", "1", "1", "0"];
        let at = |open_ms, close_ms| {
            let (open, close) = (OpenTime::from_ms(open_ms), TimeMs::new(close_ms));
            candle(Interval::H1, open, close, texts)
        };
        assert!(at(3_600_000, 7_199_999).is_ok());
        let off_grid = at(3_600_000 + 1_695_000, 7_199_999 + 1_695_000);
        assert!(matches!(off_grid, Err(BadRow::OffGrid { .. })));
        let short = at(3_600_000, 7_199_998);
        assert!(matches!(short, Err(BadRow::WrongClose { .. })));
    }
}
