//! What goes into the store and what comes out of it: writes from the engine, batches to the readers.
//! And what comes back to the engine: whether it may speak, and from where on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::market::{SeriesKey, Symbol, TimeMs};
use crate::signal::{
    Change, ChangeBody, Epoch, FeedStatus, Recommendation, Seq, SignalResult, Stand, Technical,
};

/// Why a result is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// An open-candle update: only the newest matters.
    Update,
    /// A candle closed.
    Close,
    /// The series' status changed.
    Status,
    /// The sweep writes every result again.
    Sweep,
    /// The series became live for the first time: its subscribers get a snapshot, no change.
    FirstLive,
}

/// Up to where the log is complete for a series: every change at a close after it is still to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// Close time of a candle.
    pub close_time: TimeMs,
    /// What held after it.
    pub recommendation: Recommendation,
}

impl Base {
    /// The base a first live result sets; none when it has no closed candle.
    pub(crate) fn of(result: &SignalResult) -> Option<Self> {
        Some(Self {
            close_time: result.candle_close_time?,
            recommendation: result.recommendation?,
        })
    }
}

/// What readers were told of a series, by the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// Up to where the log is complete.
    pub base: Base,
    /// The changes that were told as they hold after all corrections, oldest first: those still remembered.
    pub stands: Vec<Stand>,
    /// Corrections given per candle, by its close time.
    pub revisions: BTreeMap<TimeMs, u32>,
}

/// What readers were told of every series that has been live in this epoch.
pub type ToldOfAll = BTreeMap<SeriesKey, Told>;

/// What the operator wants of the engine, as it survives a takeover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedScheduler {
    /// False: it was stopped.
    pub running: bool,
    /// The watch list of the last start; none: what the settings say.
    pub symbols: Option<Vec<Symbol>>,
    /// Minutes from one sweep to the next.
    pub interval_minutes: u64,
}

/// Whether what the engine says reaches anybody. The store decides: of several engines one speaks.
#[derive(Debug, Clone, PartialEq)]
pub enum Voice {
    /// Another engine speaks: keep warm and say nothing.
    Silent,
    /// Speak, beginning with every change after what was told, after the mark `Write::Turn(turn)`.
    Speaking {
        /// Number of this leave to speak; what stands before its mark was said under an older one and is dropped.
        turn: u64,
        /// What was told so far; a series that is not in it has never been live.
        told: Arc<ToldOfAll>,
        /// What the operator last wanted, of whichever engine; none: nobody has ever said.
        scheduler: Option<SavedScheduler>,
    },
}

impl Voice {
    /// The next word of the store; never, where there is none to wait for.
    pub async fn next(heard: &mut Option<watch::Receiver<Self>>) -> Self {
        if let Some(words) = heard {
            if words.changed().await.is_ok() {
                return words.borrow_and_update().clone();
            }
            *heard = None; // the writer has ended: what was said last holds
        }
        std::future::pending().await
    }
}

/// Why the numbering began anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetReason {
    /// The log, or its tail, was lost.
    LogLost,
    /// Redis is away: this process numbers its own readers' changes meanwhile.
    StoreAway,
    /// Redis is back, and its numbering holds again.
    StoreBack,
}

impl ResetReason {
    /// The word readers see.
    pub const fn word(self) -> &'static str {
        match self {
            Self::LogLost => "log_lost",
            Self::StoreAway => "store_away",
            Self::StoreBack => "store_back",
        }
    }
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
    /// The figures beside HAMA of the same closed candle as the result that follows, for the compatible cache.
    Technical {
        /// The contract; the interval is the primary one.
        symbol: Symbol,
        /// The figures.
        technical: Box<Technical>,
    },
    /// What follows is said by this leave to speak.
    Turn(u64),
    /// The operator started or stopped the engine: kept for the engine that takes over.
    Scheduler(SavedScheduler),
    /// The contract was delisted; its last result stays, with status ended.
    Ended(SeriesKey),
    /// The watch list changed; results of removed contracts are forgotten.
    Symbols {
        /// New contracts.
        added: Vec<Symbol>,
        /// Contracts no longer watched.
        removed: Vec<Symbol>,
    },
    /// Every perpetual the exchange trades now, watched or not.
    Tradable(Arc<BTreeSet<Symbol>>),
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
    /// Every perpetual the exchange trades now, watched or not.
    Tradable(Arc<BTreeSet<Symbol>>),
    /// State of the feed as a whole.
    Status(FeedStatus),
}

/// What one burst of writes became: every change, then at most one result of each series, then the rest.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Why the numbering is another than in the batch before; says nothing when it is the same.
    pub reset: ResetReason,
    /// The numbering in force.
    pub epoch: Epoch,
    /// Number of the newest change once this batch is applied.
    pub head: Seq,
    /// What happened, in the order readers must see it.
    pub items: Vec<Item>,
}

impl Batch {
    /// Whether changes are missing between `head`, in the same epoch, and this batch: the log was trimmed before they were
    /// read.
    pub(crate) fn skips(&self, head: Seq) -> bool {
        let changes = self.items.iter().filter_map(|item| match item {
            Item::Change(change) => Some(change.seq),
            Item::Result { .. }
            | Item::Ended(_)
            | Item::Symbols { .. }
            | Item::Tradable(_)
            | Item::Status(_) => None,
        });
        let new = changes.filter(|seq| *seq > head).count() as u64;
        head.get() + new < self.head.get()
    }
}
