//! Linearly weighted moving average. The whole window is summed anew on each candle, oldest first: a running update
//! drifts and has other last bits, and a cross is decided by last bits when two lines touch.
//! The newest term is added last, so the sum of the others is kept once per close and a peek costs one multiply and
//! one add.

use super::Length;
use super::window::Window;

/// WMA of `n` values: (1 x oldest + ... + n x newest) / (n (n + 1) / 2). In the unit of its source.
#[derive(Debug, Clone)]
pub struct Wma {
    window: Window,
    /// Weight of the newest value.
    newest_weight: f64,
    divisor: f64,
    /// Weighted sum of the window but its newest value, as they will stand when the next one comes.
    others: f64,
}

impl Wma {
    /// An average of `length` values that has seen none.
    pub fn new(length: Length) -> Self {
        let n = length.as_f64();
        Self {
            window: Window::new(length),
            newest_weight: n,
            divisor: n * (n + 1.0) / 2.0,
            others: 0.0,
        }
    }

    /// What the average would be with `src` as its next source value. Moves nothing.
    pub fn peek(&self, src: f64) -> Option<f64> {
        if !self.window.is_full() {
            return None;
        }
        Some((self.others + self.newest_weight * src) / self.divisor)
    }

    /// Takes `src` in and answers with the average; none before the `n`th source value.
    pub fn push(&mut self, src: f64) -> Option<f64> {
        let value = self.peek(src);
        self.window.push(src);
        if self.window.is_full() {
            let mut weight = 0.0;
            self.others = self.window.iter().fold(0.0, |sum, value| {
                weight += 1.0; // exact: whole numbers
                sum + weight * value
            });
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, by itself.
    fn whole_window(window: &[f64]) -> f64 {
        let n = f64::from(u16::try_from(window.len()).unwrap());
        let (mut sum, mut weight) = (0.0, 0.0);
        for value in window {
            weight += 1.0;
            sum += weight * value;
        }
        sum / (n * (n + 1.0) / 2.0)
    }

    #[test]
    fn every_value_is_the_sum_of_the_whole_window_bit_for_bit() {
        let mut random = fastrand::Rng::with_seed(7);
        let prices: Vec<f64> = (0..2_000).map(|_| 50.0 + random.f64()).collect();
        let mut wma = Wma::new(Length::new(40).unwrap());
        for (i, price) in prices.iter().enumerate() {
            let expected = (i >= 39).then(|| whole_window(&prices[i - 39..=i]).to_bits());
            assert_eq!(wma.peek(*price).map(f64::to_bits), expected, "peek {i}");
            assert_eq!(wma.push(*price).map(f64::to_bits), expected, "push {i}");
        }
    }

    #[test]
    fn one_value_is_its_own_average() {
        let mut wma = Wma::new(Length::new(1).unwrap());
        assert_eq!([0.1, 0.7].map(|src| wma.push(src)), [Some(0.1), Some(0.7)]);
    }
}
