//! One candle. Prices are doubles read once from the exchange's decimal text: two texts of up to 15 digits give the
//! same double only when they name the same number, so candles are compared by value and a rounding never enters.

use super::OpenTime;

/// A candle, closed or still forming; which of the two is known to whoever holds it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candle {
    /// When it opens: its identity within a series.
    pub open_time: OpenTime,
    /// First price, in the quote asset.
    pub open: f64,
    /// Highest price.
    pub high: f64,
    /// Lowest price.
    pub low: f64,
    /// Last price.
    pub close: f64,
    /// Traded amount, in the base asset; 0 is a real candle (hazard 21).
    pub volume: f64,
}

/// Why a candle cannot be one.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum BadCandle {
    /// NaN or infinite.
    #[error("{field} is not a finite number")]
    NotFinite {
        /// Which value.
        field: &'static str,
    },
    /// Zero or below.
    #[error("{field} is {value}, a price must be above 0")]
    NotPositive {
        /// Which price.
        field: &'static str,
        /// Its value.
        value: f64,
    },
    /// low > high.
    #[error("low {low} is above high {high}")]
    LowAboveHigh {
        /// The low.
        low: f64,
        /// The high.
        high: f64,
    },
    /// low above open or close.
    #[error("low {low} is above open or close")]
    LowAboveBody {
        /// The low.
        low: f64,
    },
    /// high below open or close.
    #[error("high {high} is below open or close")]
    HighBelowBody {
        /// The high.
        high: f64,
    },
    /// Volume below 0.
    #[error("volume {volume} is below 0")]
    NegativeVolume {
        /// The volume.
        volume: f64,
    },
}

impl Candle {
    /// Checks what must hold of every candle: finite values, prices above 0, low and high around open and close.
    ///
    /// # Errors
    /// The first rule it breaks.
    pub fn check(&self) -> Result<(), BadCandle> {
        let prices = [
            ("open", self.open),
            ("high", self.high),
            ("low", self.low),
            ("close", self.close),
        ];
        for (field, value) in prices {
            if !value.is_finite() {
                return Err(BadCandle::NotFinite { field });
            }
            if value <= 0.0 {
                return Err(BadCandle::NotPositive { field, value });
            }
        }
        if !self.volume.is_finite() {
            return Err(BadCandle::NotFinite { field: "volume" });
        }
        if self.volume < 0.0 {
            return Err(BadCandle::NegativeVolume {
                volume: self.volume,
            });
        }
        if self.low > self.high {
            return Err(BadCandle::LowAboveHigh {
                low: self.low,
                high: self.high,
            });
        }
        if self.low > self.open.min(self.close) {
            return Err(BadCandle::LowAboveBody { low: self.low });
        }
        if self.high < self.open.max(self.close) {
            return Err(BadCandle::HighBelowBody { high: self.high });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candle() -> Candle {
        Candle {
            open_time: OpenTime::from_ms(0),
            open: 2.0,
            high: 3.0,
            low: 1.0,
            close: 2.5,
            volume: 4.0,
        }
    }

    #[test]
    fn h21_a_candle_without_trades_is_a_candle() {
        let flat = Candle {
            open: 2.0,
            high: 2.0,
            low: 2.0,
            close: 2.0,
            volume: 0.0,
            ..candle()
        };
        assert_eq!(flat.check(), Ok(()));
    }

    #[test]
    fn every_impossible_candle_is_refused_with_its_reason() {
        assert_eq!(candle().check(), Ok(()));
        let bad = [
            (
                Candle {
                    open: f64::NAN,
                    ..candle()
                },
                "open is not a finite number",
            ),
            (
                Candle {
                    volume: f64::INFINITY,
                    ..candle()
                },
                "volume is not a finite number",
            ),
            (
                Candle {
                    low: 0.0,
                    ..candle()
                },
                "low is 0, a price must be above 0",
            ),
            (
                Candle {
                    low: 4.0,
                    ..candle()
                },
                "low 4 is above high 3",
            ),
            (
                Candle {
                    low: 2.2,
                    ..candle()
                },
                "low 2.2 is above open or close",
            ),
            (
                Candle {
                    high: 2.2,
                    ..candle()
                },
                "high 2.2 is below open or close",
            ),
            (
                Candle {
                    volume: -1.0,
                    ..candle()
                },
                "volume -1 is below 0",
            ),
        ];
        for (candle, reason) in bad {
            assert_eq!(candle.check().unwrap_err().to_string(), reason);
        }
    }
}
