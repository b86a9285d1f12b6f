//! Which closed candles are asked for, and what shows that they are. The last one wanted is always named, so that no answer
//! can end with a candle that is still forming (hazard 1).

use crate::market::{OpenTime, SeriesKey};

/// The most candles one request can ask for.
pub const LIMIT_MAX: u16 = 1_500;

/// What shows that the last candle of an answer has closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The exchange's clock, as far as it can be believed.
    Clock,
    /// A candle after it in the same answer: holds also when the clock the exchange tells is not the one its candles close
    /// by (hazard 29). What nothing follows yet is left out of the answer.
    NextCandle,
}

/// A request for closed candles of one series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CandleRequest {
    /// Whose candles.
    pub key: SeriesKey,
    /// The first candle wanted: the answer is the first `limit` from here. `None`: the last `limit` up to `until`.
    pub from: Option<OpenTime>,
    /// The last candle wanted, inclusive. It must be closed.
    pub until: OpenTime,
    /// At most so many candles, 1 to `LIMIT_MAX`, with the one that is the proof.
    pub limit: u16,
    /// What shows that they have closed.
    pub proof: Proof,
}

impl CandleRequest {
    /// Rows the exchange is asked for: one more where a row is the proof.
    pub const fn rows(&self) -> u16 {
        match self.proof {
            Proof::Clock => self.limit,
            Proof::NextCandle => self.limit.saturating_add(1),
        }
    }

    /// What the request costs of the minute's budget. Documented and measured tables differ at the band edges (a limit
    /// of 100 costs 2 or 1, of 500 5 or 2, of 1,000 5 or 5); this is the dearer one, so that we never owe more than we
    /// counted. Cheapest per row: 499 for 2; up to 99 cost 1.
    pub const fn weight(&self) -> u32 {
        match self.rows() {
            0..100 => 1,
            100..500 => 2,
            500..=1_000 => 5,
            _ => 10,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::{Interval, Symbol};

    #[test]
    fn a_request_is_charged_by_the_dearer_table() {
        let weight = |limit| {
            CandleRequest {
                key: SeriesKey::new(Symbol::parse("BTCUSDT").unwrap(), Interval::M1),
                from: None,
                until: OpenTime::from_ms(0),
                limit,
                proof: Proof::Clock,
            }
            .weight()
        };
        for (limit, expected) in [
            (1, 1),
            (99, 1),
            (100, 2),
            (499, 2),
            (500, 5),
            (1_000, 5),
            (1_001, 10),
            (1_500, 10),
        ] {
            assert_eq!(weight(limit), expected, "limit {limit}");
        }
    }
}
