//! BUY, SELL, HOLD, and how sure a recommendation is.

use serde::{Deserialize, Serialize};

/// What the indicator says to do.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum Recommendation {
    /// The smoothed close crossed above its average and stands clear of it.
    Buy,
    /// The mirror of `Buy`.
    Sell,
    /// Neither.
    Hold,
}

impl Recommendation {
    /// `BUY`, `SELL`, `HOLD`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Buy => "BUY",
            Self::Sell => "SELL",
            Self::Hold => "HOLD",
        }
    }
}

/// Confidence of a recommendation, unrounded: HOLD 0.3; BUY and SELL 0.7 + min(deviation / 5, 0.3).
pub fn confidence(recommendation: Recommendation, deviation_pct: f64) -> f64 {
    match recommendation {
        Recommendation::Hold => 0.3,
        Recommendation::Buy | Recommendation::Sell => 0.7 + (deviation_pct / 5.0).min(0.3),
    }
}
