//! Moving average convergence divergence: a quick average less a slow one, and an average of that difference. All three
//! are `Ema`, each seeded with the plain mean of the first values it sees.

use super::{Ema, Length};

/// MACD of the lengths it was made with, in the unit of its source.
#[derive(Debug, Clone)]
pub struct Macd {
    fast: Ema,
    slow: Ema,
    signal: Ema,
}

/// Where the MACD stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MacdValues {
    /// The quick average less the slow one.
    pub macd: f64,
    /// Average of `macd`; none before it has seen enough of them.
    pub signal: Option<f64>,
}

impl MacdValues {
    /// `macd` less `signal`.
    pub fn histogram(&self) -> Option<f64> {
        self.signal.map(|signal| self.macd - signal)
    }
}

impl Macd {
    /// A MACD that has seen no value.
    pub fn new(fast: Length, slow: Length, signal: Length) -> Self {
        Self {
            fast: Ema::new(fast),
            slow: Ema::new(slow),
            signal: Ema::new(signal),
        }
    }

    /// Takes `src` in and answers with the values; none before both averages have one.
    pub fn push(&mut self, src: f64) -> Option<MacdValues> {
        let (fast, slow) = (self.fast.push(src), self.slow.push(src));
        let macd = fast? - slow?;
        let signal = self.signal.push(macd);
        Some(MacdValues { macd, signal })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_three_averages_are_each_seeded_with_their_mean() {
        let length = |count| Length::new(count).unwrap();
        let mut macd = Macd::new(length(1), length(3), length(2));
        // slow: mean 3, then by halves 5, 3; quick: the value itself
        let seen: Vec<_> = [1.0, 2.0, 6.0, 7.0, 1.0]
            .into_iter()
            .map(|src| macd.push(src))
            .collect();
        assert_eq!(seen[..2], [None, None]);
        let rest: Vec<_> = seen[2..].iter().map(|value| value.unwrap()).collect();
        assert_eq!((rest[0].macd, rest[0].signal), (3.0, None));
        assert_eq!((rest[1].macd, rest[1].signal), (2.0, Some(2.5)));
        assert_eq!(rest[1].histogram(), Some(-0.5));
        assert_eq!(rest[2].macd, -2.0);
        let signal = rest[2].signal.unwrap();
        assert!((signal - (2.5 + 2.0 / 3.0 * (-2.0 - 2.5))).abs() < 1e-12);
    }
}
