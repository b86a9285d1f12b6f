//! What one series has met since it is watched; the engine adds it up over all of them.

use crate::engine::figures::{AuditFigures, CloseDelays};

/// Counters of one series.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) struct Tally {
    pub(in crate::engine) from_stream: u64,
    pub(in crate::engine) from_rest: u64,
    pub(in crate::engine) holes_opened: u64,
    pub(in crate::engine) holes_closed: u64,
    pub(in crate::engine) corrections: u64,
    /// Closed candles the stream sent again.
    pub(in crate::engine) duplicates: u64,
    /// Candles of which neither stream nor REST had the close half a minute after it.
    pub(in crate::engine) late_closes: u64,
    /// Candles refused: impossible ones, and those of a time to come.
    pub(in crate::engine) impossible: u64,
    pub(in crate::engine) early: u64,
    pub(in crate::engine) delays: CloseDelays,
    pub(in crate::engine) audit: AuditFigures,
}

impl Tally {
    /// Takes another's counts in.
    pub(in crate::engine) fn add(&mut self, other: &Self) {
        self.from_stream += other.from_stream;
        self.from_rest += other.from_rest;
        self.holes_opened += other.holes_opened;
        self.holes_closed += other.holes_closed;
        self.corrections += other.corrections;
        self.duplicates += other.duplicates;
        self.late_closes += other.late_closes;
        self.impossible += other.impossible;
        self.early += other.early;
        self.delays.add(&other.delays);
        self.audit.add(&other.audit);
    }
}
