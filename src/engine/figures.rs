//! What the engine counts, for status and metrics (rule 10 of the commit rule): plain sums since the start that other
//! rooms may show. Nothing here decides anything.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::exchange::StreamCounts;

/// Upper ends of the buckets of `CloseDelays`, exchange milliseconds; the last bucket has none.
pub const CLOSE_DELAY_BUCKETS_MS: [i64; 7] = [250, 500, 1_000, 2_000, 5_000, 10_000, 30_000];

/// How long after their close candles became history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CloseDelays {
    /// Candles by delay: each bucket up to and with its end in `CLOSE_DELAY_BUCKETS_MS`, the last one what is beyond.
    pub counts: [u64; CLOSE_DELAY_BUCKETS_MS.len() + 1],
    /// All delays together, exchange milliseconds.
    pub sum_ms: u64,
}

impl CloseDelays {
    /// A candle became history `delay_ms` after its close.
    pub(super) fn note(&mut self, delay_ms: i64) {
        let bucket = CLOSE_DELAY_BUCKETS_MS.partition_point(|end| *end < delay_ms);
        self.counts[bucket] += 1;
        self.sum_ms += u64::try_from(delay_ms).unwrap_or(0);
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.sum_ms += other.sum_ms;
    }
}

/// What came of holding known candles against REST: the differences are what was replaced, added, and is lacking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AuditFigures {
    /// Candles of answers.
    pub checked: u64,
    /// REST had another version: taken in, corrected.
    pub replaced: u64,
    /// REST had one where we had bridged a hole: taken in, corrected.
    pub added: u64,
    /// We have one that REST has no more: kept.
    pub lacking: u64,
}

impl AuditFigures {
    pub(super) const fn add(&mut self, other: &Self) {
        self.checked += other.checked;
        self.replaced += other.replaced;
        self.added += other.added;
        self.lacking += other.lacking;
    }
}

/// What the stream connections have met.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct StreamFigures {
    /// Connections replaced while they lived: for their age, or because some of their series were mute.
    pub rotations: u64,
    /// How often a series fell mute.
    pub mutes: u64,
    /// Connections lost after they were up, or never brought up, by close code.
    pub losses: Vec<Losses>,
}

/// Connections lost with one close code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Losses {
    /// The code; null: lost without one (no connection, broken, silent); 0: all codes beyond the first sixteen.
    pub code: Option<u16>,
    /// How many.
    pub count: u64,
}

impl StreamFigures {
    pub(super) fn of(counts: &StreamCounts) -> Self {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let by_code = counts.losses_by_code().into_iter();
        Self {
            rotations: read(&counts.rotations),
            mutes: read(&counts.mutes),
            losses: by_code
                .map(|(code, count)| Losses { code, count })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_counts_in_the_first_bucket_that_holds_it() {
        let mut delays = CloseDelays::default();
        for delay_ms in [-5, 250, 251, 30_000, 30_001, 86_400_000] {
            delays.note(delay_ms);
        }
        assert_eq!(delays.counts, [2, 1, 0, 0, 0, 0, 1, 2]);
        assert_eq!(delays.sum_ms, 250 + 251 + 30_000 + 30_001 + 86_400_000);
    }
}
