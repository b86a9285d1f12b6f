//! Faults of candle events on their way to the clients. What is true (REST, `/sim/truth`) stays as it is.

use serde::{Deserialize, Serialize};

use super::FaultKind;
use super::transport::within;
use crate::simulator::wire::Closed;

/// A fault of candle events. A strike is a candle; all connections in scope see the same. A close is struck by the time
/// at which the candle closes, however late it is sent, so that what is struck does not depend on how pushes fall.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum StreamFault {
    /// The updates of a candle are lost; its close comes.
    DropUpdates {},
    /// The close of a candle is lost.
    DropClose {},
    /// The close of a candle comes late; the next candle's updates do not wait for it.
    DelayClose {
        /// By so much exchange time.
        by_ms: i64,
    },
    /// The close of a candle comes twice.
    Duplicate {},
    /// The close of a candle comes twice, with different values.
    ConflictingClose {
        /// Which of the two is the true one.
        #[serde(default)]
        right: RightClose,
    },
    /// The close of a candle comes after the next candle's.
    OutOfOrder {},
    /// A candle is not on the stream at all.
    Jump {},
    /// A candle opens beside the grid: its open and close time are moved.
    OffGrid {
        /// By so much.
        by_ms: i64,
    },
    /// Events are stamped with a time that has not come.
    FutureStamp {
        /// By so much exchange time.
        ahead_ms: i64,
    },
}

/// Which of two closes of one candle is the true one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RightClose {
    /// The first.
    #[default]
    First,
    /// The last.
    Last,
}

impl StreamFault {
    /// A month: the longest candle.
    const LONGEST_MS: u64 = 31 * 86_400_000;

    pub(super) fn check(&self) -> Result<(), String> {
        let span = |field, ms: i64| {
            let ms =
                u64::try_from(ms).map_err(|_| format!("`{field}` is {ms}: allowed 1 and more"))?;
            within(field, ms, 1, Self::LONGEST_MS)
        };
        match self {
            Self::DelayClose { by_ms } | Self::OffGrid { by_ms } => span("by_ms", *by_ms),
            Self::FutureStamp { ahead_ms } => span("ahead_ms", *ahead_ms),
            Self::DropUpdates {}
            | Self::DropClose {}
            | Self::Duplicate {}
            | Self::ConflictingClose { .. }
            | Self::OutOfOrder {}
            | Self::Jump {} => Ok(()),
        }
    }
}

impl StreamFault {
    /// Whether it does anything to such an event.
    pub(in crate::simulator) fn concerns(&self, closed: Closed) -> bool {
        match self {
            Self::DropUpdates {} => closed == Closed::No,
            Self::DropClose {}
            | Self::DelayClose { .. }
            | Self::Duplicate {}
            | Self::ConflictingClose { .. }
            | Self::OutOfOrder {} => closed == Closed::Yes,
            Self::Jump {} | Self::OffGrid { .. } | Self::FutureStamp { .. } => true,
        }
    }

    /// Whether it strikes a candle as a whole, by the time at which it opens.
    pub(in crate::simulator) fn strikes_whole_candles(&self) -> bool {
        match self {
            Self::Jump {} | Self::OffGrid { .. } => true,
            Self::DropUpdates {}
            | Self::DropClose {}
            | Self::DelayClose { .. }
            | Self::Duplicate {}
            | Self::ConflictingClose { .. }
            | Self::OutOfOrder {}
            | Self::FutureStamp { .. } => false,
        }
    }
}

impl From<StreamFault> for FaultKind {
    fn from(fault: StreamFault) -> Self {
        Self::Stream(fault)
    }
}
