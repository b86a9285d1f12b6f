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

/// Colour of a HAMA candle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum BodyColor {
    /// hama_open rose against the candle before.
    Green,
    /// It did not.
    Red,
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
