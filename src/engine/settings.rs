//! What the engine is to follow, and how it begins.

use std::time::Duration;

use super::universe::WatchList;
use crate::market::Interval;

/// Between two sweeps where nobody said otherwise.
const SWEEP_EVERY: Duration = Duration::from_secs(300);

/// Contracts watched at most where nobody said otherwise.
const MAX_WATCHED: usize = 600;

/// Whether what the engine says reaches anybody when it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// It is the only engine there can be.
    Speaking,
    /// It waits for `Voice::Speaking`.
    Silent,
}

/// What the operator wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Say what happens.
    Running,
    /// Follow the market and say nothing.
    Stopped,
}

/// Whether `Write::Technical` goes before the results that the compatible cache keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TechnicalFigures {
    /// Nobody keeps them.
    LeftOut,
    /// The store keeps them.
    Written,
}

/// What the engine is to follow, and how it begins.
#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// Which contracts.
    pub watch_list: WatchList,
    /// How many at most, with those that readers ask for.
    pub max_watched: usize,
    /// At which intervals; the first is the primary one.
    pub intervals: Vec<Interval>,
    /// Whether it may speak at once.
    pub beginning: Beginning,
    /// Whether it waits for the operator.
    pub operation: Operation,
    /// From the start of one sweep to that of the next, real time.
    pub sweep_every: Duration,
    /// Whether the figures beside HAMA are written.
    pub technical: TechnicalFigures,
}

impl EngineSettings {
    /// An engine that speaks and works at once and leaves the technical figures out.
    pub const fn new(watch_list: WatchList, intervals: Vec<Interval>) -> Self {
        Self {
            watch_list,
            max_watched: MAX_WATCHED,
            intervals,
            beginning: Beginning::Speaking,
            operation: Operation::Running,
            sweep_every: SWEEP_EVERY,
            technical: TechnicalFigures::LeftOut,
        }
    }
}
