//! What the indicator is computed with. The defaults are the chart's ("NSDT HAMA Candles"); any others that pass the
//! door of `Length::new` and `HamaParams::new` are computed just as well, and are never checked again.

/// Number of values in a window: 1 to 10,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Length(u16);

/// Why parameters cannot be computed with.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum BadParams {
    /// No window has this length.
    #[error("length {0}: a window has 1 to 10000 values")]
    Length(usize),
    /// A threshold that is NaN, infinite or below 0.
    #[error("{name} is {value}: it must be a finite number, 0 or above")]
    Threshold {
        /// Which one.
        name: &'static str,
        /// Its value.
        value: f64,
    },
    /// The bands would be narrow and wide at once.
    #[error("squeeze below {squeeze} overlaps expansion above {expansion}")]
    StatesOverlap {
        /// `squeeze_below`.
        squeeze: f64,
        /// `expansion_above`.
        expansion: f64,
    },
}

impl Length {
    const MAX: u16 = 10_000;

    /// The only way in: 1 to 10,000.
    ///
    /// # Errors
    /// `BadParams::Length` for any other number.
    pub fn new(count: usize) -> Result<Self, BadParams> {
        u16::try_from(count)
            .ok()
            .filter(|count| (1..=Self::MAX).contains(count))
            .map(Self)
            .ok_or(BadParams::Length(count))
    }

    /// The number of values.
    pub fn count(self) -> usize {
        usize::from(self.0)
    }

    /// The number of values, as what sums are divided by.
    pub fn as_f64(self) -> f64 {
        f64::from(self.0)
    }
}

/// Windows of the series, in candles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lengths {
    /// EMA of the source open: 45.
    pub hama_open: Length,
    /// EMA of the source high: 20.
    pub hama_high: Length,
    /// EMA of the source low: 20.
    pub hama_low: Length,
    /// WMA of the source close: 40.
    pub hama_close: Length,
    /// WMA of the close, which `hama_close` crosses: 100.
    pub ma: Length,
    /// Mean and deviation of the close for the bands: 400.
    pub bands: Length,
}

impl Default for Lengths {
    fn default() -> Self {
        Self {
            hama_open: Length(45),
            hama_high: Length(20),
            hama_low: Length(20),
            hama_close: Length(40),
            ma: Length(100),
            bands: Length(400),
        }
    }
}

/// Windows of the indicators beyond HAMA, in candles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtraLengths {
    /// Changes the RSI smooths over.
    pub rsi: Length,
    /// Quick average of the MACD.
    pub macd_fast: Length,
    /// Slow average of the MACD.
    pub macd_slow: Length,
    /// Average of the MACD itself.
    pub macd_signal: Length,
    /// The shorter average of the close.
    pub ema_short: Length,
    /// The longer one.
    pub ema_long: Length,
}

impl Default for ExtraLengths {
    fn default() -> Self {
        Self {
            rsi: Length(14),
            macd_fast: Length(12),
            macd_slow: Length(26),
            macd_signal: Length(9),
            ema_short: Length(20),
            ema_long: Length(50),
        }
    }
}

/// Where one word ends and the next begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// Distance of the bands from their basis, in standard deviations: 2.
    pub band_deviations: f64,
    /// Band width (a ratio) below which it is a squeeze: 0.1.
    pub squeeze_below: f64,
    /// Band width (a ratio) above which it is an expansion: 0.15.
    pub expansion_above: f64,
    /// Distance of `hama_close` from `ma`, percent, from which BUY and SELL are given: 0.1.
    pub min_deviation_pct: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            band_deviations: 2.0,
            squeeze_below: 0.1,
            expansion_above: 0.15,
            min_deviation_pct: 0.1,
        }
    }
}

/// Everything the indicator and its recommendation are computed with, checked.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct HamaParams {
    lengths: Lengths,
    thresholds: Thresholds,
}

impl HamaParams {
    /// Parameters of these windows and thresholds.
    ///
    /// # Errors
    /// The first threshold that is no finite number of 0 or above, or a squeeze that reaches into the expansion.
    pub fn new(lengths: Lengths, thresholds: Thresholds) -> Result<Self, BadParams> {
        let numbers = [
            ("band_deviations", thresholds.band_deviations),
            ("squeeze_below", thresholds.squeeze_below),
            ("expansion_above", thresholds.expansion_above),
            ("min_deviation_pct", thresholds.min_deviation_pct),
        ];
        for (name, value) in numbers {
            if !value.is_finite() || value < 0.0 {
                return Err(BadParams::Threshold { name, value });
            }
        }
        if thresholds.squeeze_below > thresholds.expansion_above {
            return Err(BadParams::StatesOverlap {
                squeeze: thresholds.squeeze_below,
                expansion: thresholds.expansion_above,
            });
        }
        Ok(Self {
            lengths,
            thresholds,
        })
    }

    /// The windows.
    pub const fn lengths(&self) -> &Lengths {
        &self.lengths
    }

    /// The thresholds.
    pub const fn thresholds(&self) -> &Thresholds {
        &self.thresholds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        let checked = HamaParams::new(Lengths::default(), Thresholds::default());
        assert_eq!(checked, Ok(HamaParams::default()));
    }

    #[test]
    fn a_window_has_1_to_10000_values() {
        for count in [1, 2, 45, 10_000] {
            assert_eq!(Length::new(count).map(Length::count), Ok(count));
        }
        for count in [0, 10_001, 65_536, 65_537, usize::MAX] {
            assert_eq!(Length::new(count), Err(BadParams::Length(count)));
        }
    }

    #[test]
    fn bad_thresholds_are_refused_by_name() {
        let good = Thresholds::default();
        let refused = |thresholds| {
            HamaParams::new(Lengths::default(), thresholds)
                .unwrap_err()
                .to_string()
        };
        let nan = Thresholds {
            band_deviations: f64::NAN,
            ..good
        };
        assert!(refused(nan).starts_with("band_deviations is NaN"));
        let negative = Thresholds {
            min_deviation_pct: -0.1,
            ..good
        };
        assert!(refused(negative).starts_with("min_deviation_pct is -0.1"));
        let overlapping = Thresholds {
            squeeze_below: 0.2,
            ..good
        };
        assert_eq!(
            refused(overlapping),
            "squeeze below 0.2 overlaps expansion above 0.15"
        );
    }
}
