//! What state a series is in. Clients are told, so that a quiet series is never mistaken for a calm market.

use serde::{Deserialize, Serialize};

/// State of a series. Only a live one gives new signals.
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
#[serde(rename_all = "lowercase")]
pub enum SeriesStatus {
    /// Too little history yet.
    Warming,
    /// Every closed candle is known; signals are given.
    Live,
    /// Its connection has been down for 5 s, or silent for 30 s: the last result stands.
    Stale,
    /// A hole in its candles is being filled.
    Dirty,
    /// The contract was delisted.
    Ended,
    /// The operator stopped the scheduler.
    Stopped,
}

impl SeriesStatus {
    /// Every status, in the order in which they are counted and shown.
    pub const ALL: [Self; 6] = [
        Self::Live,
        Self::Warming,
        Self::Stale,
        Self::Dirty,
        Self::Ended,
        Self::Stopped,
    ];

    /// The word on the wire: `live`, `warming`, `stale`, `dirty`, `ended`, `stopped`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Warming => "warming",
            Self::Live => "live",
            Self::Stale => "stale",
            Self::Dirty => "dirty",
            Self::Ended => "ended",
            Self::Stopped => "stopped",
        }
    }
}
