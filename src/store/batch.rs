//! What goes into the store and what comes out of it: writes from the engine, batches to the readers.

use std::sync::Arc;

use crate::market::{SeriesKey, Symbol};
use crate::signal::{Change, ChangeBody, Epoch, FeedStatus, Seq, SignalResult};

/// Why a result is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// An open-candle update: only the newest matters.
    Update,
    /// A candle closed.
    Close,
    /// The series' status changed.
    Status,
    /// The series became live for the first time: its subscribers get a snapshot, no change.
    FirstLive,
}

/// One thing the engine says happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// The confirmed recommendation of a series changed, or was corrected.
    Change(ChangeBody),
    /// The newest result of a series; `change_seq` and `changed_at` are filled in here.
    Result {
        /// The result.
        result: Box<SignalResult>,
        /// Why it is written.
        occasion: Occasion,
    },
    /// The contract was delisted; its last result stays, with status ended.
    Ended(SeriesKey),
    /// The watch list changed; results of removed contracts are forgotten.
    Symbols {
        /// New contracts.
        added: Vec<Symbol>,
        /// Contracts no longer watched.
        removed: Vec<Symbol>,
    },
    /// State of the feed as a whole.
    Status(FeedStatus),
}

/// One thing readers are told, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// A numbered change.
    Change(Arc<Change>),
    /// The newest result of a series.
    Result {
        /// The result.
        result: Arc<SignalResult>,
        /// Why it was written.
        occasion: Occasion,
    },
    /// The contract was delisted.
    Ended(SeriesKey),
    /// The watch list changed.
    Symbols {
        /// New contracts.
        added: Vec<Symbol>,
        /// Contracts no longer watched.
        removed: Vec<Symbol>,
    },
    /// State of the feed as a whole.
    Status(FeedStatus),
}

/// What one burst of writes became: every change, then at most one result of each series, then the rest.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// The numbering in force.
    pub epoch: Epoch,
    /// Number of the newest change once this batch is applied.
    pub head: Seq,
    /// What happened, in the order readers must see it.
    pub items: Vec<Item>,
}
