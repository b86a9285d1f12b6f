//! How many rows of candles were refused, by what was wrong with them (rule 2 of the commit rule), from streams and REST
//! together. A kind that climbs tells a change of the exchange's format from a single slip.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::BadRow;
use crate::market::BadCandle;

/// Refused rows, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RefusedRows {
    /// A price or amount that is no number.
    pub not_a_number: u64,
    /// A price of 0 or below, or a volume below 0.
    pub not_positive: u64,
    /// Low above open, close or high; high below open or close.
    pub low_high: u64,
    /// Opens off the interval's grid.
    pub off_grid: u64,
    /// Does not end where a candle of its interval must.
    pub wrong_close: u64,
    /// Not in order, or not what was asked for.
    pub not_asked: u64,
    /// Speaks of a time to come.
    pub early: u64,
}

impl RefusedRows {
    /// These and `other` together.
    #[must_use]
    pub const fn and(&self, other: &Self) -> Self {
        Self {
            not_a_number: self.not_a_number + other.not_a_number,
            not_positive: self.not_positive + other.not_positive,
            low_high: self.low_high + other.low_high,
            off_grid: self.off_grid + other.off_grid,
            wrong_close: self.wrong_close + other.wrong_close,
            not_asked: self.not_asked + other.not_asked,
            early: self.early + other.early,
        }
    }

    /// All of them.
    pub const fn total(&self) -> u64 {
        self.not_a_number
            + self.not_positive
            + self.low_high
            + self.off_grid
            + self.wrong_close
            + self.not_asked
            + self.early
    }
}

/// The same, counted by many tasks.
#[derive(Debug, Default)]
pub struct RefusedCounts {
    not_a_number: AtomicU64,
    not_positive: AtomicU64,
    low_high: AtomicU64,
    off_grid: AtomicU64,
    wrong_close: AtomicU64,
    not_asked: AtomicU64,
}

impl RefusedCounts {
    /// A row was refused for `bad`.
    pub fn count(&self, bad: &BadRow) {
        self.counter(bad).fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn so_far(&self) -> RefusedRows {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RefusedRows {
            not_a_number: read(&self.not_a_number),
            not_positive: read(&self.not_positive),
            low_high: read(&self.low_high),
            off_grid: read(&self.off_grid),
            wrong_close: read(&self.wrong_close),
            not_asked: read(&self.not_asked),
            early: 0,
        }
    }

    const fn counter(&self, bad: &BadRow) -> &AtomicU64 {
        match bad {
            BadRow::NotANumber { .. } | BadRow::Candle(BadCandle::NotFinite { .. }) => {
                &self.not_a_number
            }
            BadRow::Candle(BadCandle::NotPositive { .. } | BadCandle::NegativeVolume { .. }) => {
                &self.not_positive
            }
            BadRow::Candle(
                BadCandle::LowAboveHigh { .. }
                | BadCandle::LowAboveBody { .. }
                | BadCandle::HighBelowBody { .. },
            ) => &self.low_high,
            BadRow::OffGrid { .. } => &self.off_grid,
            BadRow::WrongClose { .. } => &self.wrong_close,
            BadRow::NotAscending { .. } | BadRow::NotAsked { .. } => &self.not_asked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::{OpenTime, TimeMs};

    #[test]
    fn every_reason_has_its_count_and_all_of_them_make_the_total() {
        let open = OpenTime::from_ms(7);
        let close = TimeMs::new(9);
        let reasons = [
            BadRow::NotANumber { field: "open" },
            BadRow::Candle(BadCandle::NotFinite { field: "open" }),
            BadRow::Candle(BadCandle::NotPositive {
                field: "open",
                value: 0.0,
            }),
            BadRow::Candle(BadCandle::LowAboveHigh {
                low: 2.0,
                high: 1.0,
            }),
            BadRow::Candle(BadCandle::LowAboveBody { low: 2.0 }),
            BadRow::Candle(BadCandle::HighBelowBody { high: 1.0 }),
            BadRow::OffGrid { open },
            BadRow::WrongClose {
                close,
                expected: close,
            },
            BadRow::NotAscending { open },
        ];
        let counts = RefusedCounts::default();
        for reason in &reasons {
            counts.count(reason);
        }
        let rows = counts.so_far();
        let early = RefusedRows {
            early: 1,
            ..RefusedRows::default()
        };
        assert_eq!(rows.and(&early).total(), reasons.len() as u64 + 1);
        assert_eq!(
            (rows.not_a_number, rows.not_positive, rows.low_high),
            (2, 1, 3)
        );
        assert_eq!((rows.off_grid, rows.wrong_close, rows.not_asked), (1, 1, 1));
    }
}
