//! Bollinger bands: mean and population standard deviation over a window, exact enough to be called by their words.
//! Sums are of differences about the mean of the other `n - 1` values (the corrected two-pass algorithm of Chan, Golub
//! and LeVeque 1983), made anew at each close: nothing runs on without bound, nothing cancels, and a flat window has
//! differences, and therefore a deviation, of exactly 0.

use super::Length;
use super::window::Window;

/// Bands of `n` values: basis = mean, upper and lower = basis +/- k x population standard deviation.
#[derive(Debug, Clone)]
pub struct Bands {
    window: Window,
    count: f64,
    /// k.
    deviations: f64,
    /// Mean of the others, rounded: differences about it are small.
    pivot: f64,
    /// Sum of the others' differences from the pivot: what the rounding of the pivot left over.
    differences: f64,
    /// Sum of the squares of those differences.
    squares: f64,
}

/// Where the bands stand.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BandValues {
    /// Mean of the window, in the unit of its source.
    pub basis: f64,
    /// basis + k deviations.
    pub upper: f64,
    /// basis - k deviations.
    pub lower: f64,
    /// (upper - lower) / basis, a ratio.
    pub width: f64,
}

impl Bands {
    /// Bands `deviations` standard deviations around the mean of `length` values, of which none was seen.
    pub fn new(length: Length, deviations: f64) -> Self {
        Self {
            window: Window::new(length),
            count: length.as_f64(),
            deviations,
            pivot: 0.0,
            differences: 0.0,
            squares: 0.0,
        }
    }

    /// What the bands would be with `src` as the next source value. Moves nothing.
    pub fn peek(&self, src: f64) -> Option<BandValues> {
        if !self.window.is_full() {
            return None;
        }
        let difference = src - self.pivot;
        let from_pivot = (self.differences + difference) / self.count;
        let basis = self.pivot + from_pivot;
        let mean_square = (self.squares + difference * difference) / self.count;
        // At least 0 but for its last bits. No cancellation: `from_pivot` is an n-th of `difference`.
        let variance = (mean_square - from_pivot * from_pivot).max(0.0);
        let reach = self.deviations * variance.sqrt();
        let (upper, lower) = (basis + reach, basis - reach);
        Some(BandValues {
            basis,
            upper,
            lower,
            width: (upper - lower) / basis,
        })
    }

    /// Takes `src` in and answers with the bands; none before the `n`th source value.
    pub fn push(&mut self, src: f64) -> Option<BandValues> {
        let values = self.peek(src);
        self.window.push(src);
        if self.window.is_full() {
            self.sum_others();
        }
        values
    }

    fn sum_others(&mut self) {
        let Some(oldest) = self.window.oldest() else {
            return; // a window of one value: its mean is the value itself
        };
        let others = self.count - 1.0;
        // Differences from a value of the window first, so that a flat window's mean is that value and no other double.
        let from_oldest = self
            .window
            .iter()
            .fold(0.0, |sum, value| sum + (value - oldest));
        self.pivot = oldest + from_oldest / others;
        let pivot = self.pivot;
        (self.differences, self.squares) =
            self.window
                .iter()
                .fold((0.0, 0.0), |(differences, squares), value| {
                    let difference = value - pivot;
                    (differences + difference, squares + difference * difference)
                });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bands(count: usize) -> Bands {
        Bands::new(Length::new(count).unwrap(), 2.0)
    }

    #[test]
    fn a_flat_window_has_exactly_its_price_as_basis_and_no_width() {
        for price in [0.1, 0.000_007_3, 67_123.4, 950_000.37, 1.0 / 3.0] {
            let mut bands = bands(400);
            let mut last = None;
            for wild in [price * 3.7, price * 0.2] {
                bands.push(wild); // both leave the window again
            }
            for _ in 0..1_000 {
                last = bands.push(price);
            }
            let flat = BandValues {
                basis: price,
                upper: price,
                lower: price,
                width: 0.0,
            };
            assert_eq!(last, Some(flat));
            assert_eq!(bands.peek(price), Some(flat));
        }
    }

    #[test]
    fn small_moves_on_a_high_price_are_not_lost() {
        let mut bands = bands(400);
        let mut last = None;
        let tick = 2.0_f64.powi(-14);
        for i in 0..10_000 {
            last = bands.push(if i % 2 == 0 {
                950_000.0
            } else {
                950_000.0 + tick
            });
        }
        // Exact binary fractions: half a tick of mean and of deviation, of which the squares of the prices hold no digit.
        let last = last.unwrap();
        let basis = 950_000.0 + tick / 2.0;
        assert_eq!((last.basis, last.upper), (basis, basis + tick));
        assert_eq!((last.lower, last.width), (basis - tick, 2.0 * tick / basis));
    }

    #[test]
    fn a_jump_of_the_open_candle_is_measured_as_exactly_as_any_other() {
        let mut bands = bands(400);
        for _ in 0..399 {
            bands.push(100.0);
        }
        let jumped = bands.peek(500.0).unwrap();
        // mean 101, variance (399 x 1 + 399 x 399) / 400 = 399
        let deviation = 399.0_f64.sqrt();
        assert_eq!(jumped.basis, 101.0);
        assert!((jumped.upper - (101.0 + 2.0 * deviation)).abs() < 1e-11);
        assert_eq!(bands.peek(100.0).unwrap().width, 0.0); // the peek moved nothing
    }

    #[test]
    fn one_value_is_its_own_basis() {
        let mut bands = bands(1);
        for price in [0.1, 0.7] {
            let values = bands.push(price).unwrap();
            assert_eq!((values.basis, values.width), (price, 0.0));
        }
    }
}
