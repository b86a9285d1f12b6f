//! The words the indicator answers with.

use serde::{Deserialize, Serialize};

/// How wide the bands stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum BandState {
    /// Narrow.
    Squeeze,
    /// Wide.
    Expansion,
    /// Between.
    Normal,
}

impl BandState {
    /// `squeeze`, `expansion`, `normal`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Squeeze => "squeeze",
            Self::Expansion => "expansion",
            Self::Normal => "normal",
        }
    }
}

/// Colour of a HAMA candle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum BodyColor {
    /// hama_open rose against the candle before.
    Green,
    /// It did not.
    Red,
}

impl BodyColor {
    /// `green`, `red`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Green => "green",
            Self::Red => "red",
        }
    }
}

/// Way of the average over its last two steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MaTrend {
    /// Two strict steps up.
    Rising,
    /// Two strict steps down.
    Falling,
    /// Neither.
    Flat,
}

impl MaTrend {
    /// `rising`, `falling`, `flat`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Rising => "rising",
            Self::Falling => "falling",
            Self::Flat => "flat",
        }
    }
}
