//! Where the smoothed close stands against its average, and which way it last crossed.
//! Strict now, non-strict before, compared exactly: equality keeps the state, so leaving an equal stretch upward is a
//! cross up. The first candle with both values never crosses.

use std::cmp::Ordering;

use crate::indicator::HamaValues;
use crate::market::OpenTime;

/// Whether `hama_close` crossed `ma` on a candle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cross {
    /// From below or equal to above.
    Up,
    /// From above or equal to below.
    Down,
    /// Neither.
    None,
}

impl Cross {
    /// 1 up, -1 down, 0 none.
    pub const fn number(self) -> i8 {
        match self {
            Self::Up => 1,
            Self::Down => -1,
            Self::None => 0,
        }
    }
}

/// What a series remembers of its crosses. A copy is a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CrossState {
    /// `hama_close` against `ma` on the last candle where both existed.
    stood: Option<Ordering>,
    /// The last cross; none before the first.
    last: Cross,
    /// Open time of its candle.
    last_time: Option<OpenTime>,
}

impl CrossState {
    /// Before any candle.
    pub(super) const NONE: Self = Self {
        stood: None,
        last: Cross::None,
        last_time: None,
    };

    /// Whether a candle with `values` crosses, and the state after it.
    pub(super) fn after(self, values: &HamaValues, open_time: OpenTime) -> (Cross, Self) {
        let stands = match (values.hama_close, values.ma) {
            (Some(hama_close), Some(ma)) => hama_close.partial_cmp(&ma),
            (None, _) | (_, None) => None,
        };
        let cross = match (self.stood, stands) {
            (Some(Ordering::Less | Ordering::Equal), Some(Ordering::Greater)) => Cross::Up,
            (Some(Ordering::Greater | Ordering::Equal), Some(Ordering::Less)) => Cross::Down,
            (Some(_) | None, Some(_) | None) => Cross::None,
        };
        let (last, last_time) = match cross {
            Cross::Up | Cross::Down => (cross, Some(open_time)),
            Cross::None => (self.last, self.last_time),
        };
        let state = Self {
            stood: stands.or(self.stood),
            last,
            last_time,
        };
        (cross, state)
    }

    /// The last cross, `Cross::None` before the first.
    pub(super) const fn last(self) -> Cross {
        self.last
    }

    /// Open time of the candle of the last cross.
    pub(super) const fn last_time(self) -> Option<OpenTime> {
        self.last_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The crosses of `hama_close` over an `ma` of 1, candle by candle.
    fn crosses(closes: &[Option<f64>]) -> Vec<i8> {
        let mut state = CrossState::NONE;
        let mut seen = Vec::new();
        for (close, time) in closes.iter().zip(0..) {
            let values = HamaValues {
                hama_close: *close,
                ma: Some(1.0),
                ..HamaValues::default()
            };
            let (cross, after) = state.after(&values, OpenTime::from_ms(time));
            if cross != Cross::None {
                assert_eq!(
                    (after.last(), after.last_time().unwrap().ms()),
                    (cross, time)
                );
            }
            state = after;
            seen.push(cross.number());
        }
        seen
    }

    const ABOVE: Option<f64> = Some(1.0 + f64::EPSILON);
    const EQUAL: Option<f64> = Some(1.0);
    const BELOW: Option<f64> = Some(1.0 - f64::EPSILON);

    #[test]
    fn the_first_candle_with_both_values_never_crosses() {
        assert_eq!(crosses(&[None, ABOVE]), [0, 0]);
        assert_eq!(crosses(&[None, BELOW, ABOVE]), [0, 0, 1]);
    }

    #[test]
    fn the_last_bit_decides() {
        assert_eq!(crosses(&[BELOW, ABOVE, BELOW]), [0, 1, -1]);
        assert_eq!(crosses(&[ABOVE, ABOVE, BELOW, BELOW]), [0, 0, -1, 0]);
    }

    #[test]
    fn leaving_an_equal_stretch_is_a_cross_to_whichever_side() {
        assert_eq!(crosses(&[BELOW, EQUAL, EQUAL, ABOVE]), [0, 0, 0, 1]);
        assert_eq!(crosses(&[ABOVE, EQUAL, EQUAL, ABOVE]), [0, 0, 0, 1]);
        assert_eq!(crosses(&[ABOVE, EQUAL, BELOW]), [0, 0, -1]);
        assert_eq!(crosses(&[BELOW, EQUAL, BELOW]), [0, 0, -1]);
        assert_eq!(crosses(&[EQUAL, ABOVE]), [0, 1]);
    }

    #[test]
    fn the_last_candle_where_both_existed_counts() {
        assert_eq!(crosses(&[BELOW, None, ABOVE]), [0, 0, 1]);
    }
}
