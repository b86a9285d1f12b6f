//! Relative strength index with Wilder's smoothing: average rise against average fall, each seeded with the plain mean
//! of its first `n` changes and then moved by an n-th of the difference.

use super::Length;

/// RSI over `n` changes, 0 to 100.
#[derive(Debug, Clone)]
pub struct Rsi {
    count: f64,
    /// The source value before.
    previous: Option<f64>,
    /// Changes still missing for the seed.
    missing: usize,
    /// While seeding the sum, then the average.
    rise: f64,
    fall: f64,
}

impl Rsi {
    /// An index over `length` changes that has seen no value.
    pub fn new(length: Length) -> Self {
        Self {
            count: length.as_f64(),
            previous: None,
            missing: length.count(),
            rise: 0.0,
            fall: 0.0,
        }
    }

    /// Takes `src` in and answers with the index; none before `n` changes, that is before value `n + 1`.
    pub fn push(&mut self, src: f64) -> Option<f64> {
        let change = src - self.previous.replace(src)?;
        let (rise, fall) = (change.max(0.0), (-change).max(0.0));
        if self.missing == 0 {
            self.rise += (rise - self.rise) / self.count;
            self.fall += (fall - self.fall) / self.count;
            return Some(self.value());
        }
        self.rise += rise;
        self.fall += fall;
        self.missing -= 1;
        if self.missing > 0 {
            return None;
        }
        self.rise /= self.count;
        self.fall /= self.count;
        Some(self.value())
    }

    /// Without any move neither side is the stronger: 50.
    fn value(&self) -> f64 {
        let moved = self.rise + self.fall;
        if moved > 0.0 {
            100.0 * self.rise / moved
        } else {
            50.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rsi(count: usize, values: &[f64]) -> Vec<Option<f64>> {
        let mut rsi = Rsi::new(Length::new(count).unwrap());
        values.iter().map(|value| rsi.push(*value)).collect()
    }

    #[test]
    fn it_is_seeded_with_the_mean_of_the_changes_and_moves_by_an_nth() {
        // changes +2 -1 | +3 -2: rises 1, 2, 1; falls 0.5, 0.25, 1.125
        let seen = rsi(2, &[10.0, 12.0, 11.0, 14.0, 12.0]);
        assert_eq!(seen[..2], [None, None]);
        for (value, (rise, fall)) in seen[2..]
            .iter()
            .zip([(1.0, 0.5), (2.0, 0.25), (1.0, 1.125)])
        {
            let expected: f64 = 100.0 * rise / (rise + fall);
            assert!((value.unwrap() - expected).abs() < 1e-12, "{value:?}");
        }
    }

    #[test]
    fn only_rises_are_100_only_falls_0_and_no_move_50() {
        let count = |i: usize| f64::from(u8::try_from(i).unwrap());
        let up: Vec<_> = (1..20).map(count).collect();
        let down: Vec<_> = (1..20).rev().map(count).collect();
        assert_eq!(rsi(14, &up)[13..15], [None, Some(100.0)]);
        assert_eq!(rsi(14, &down)[14], Some(0.0));
        assert_eq!(rsi(14, &[7.0; 15])[14], Some(50.0));
    }
}
