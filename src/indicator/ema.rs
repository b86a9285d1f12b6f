//! Exponential moving average, as charts compute it: seeded with the plain mean of its first values.
//! The step has the form `prev + alpha * (src - prev)`; the equal `alpha*src + (1-alpha)*prev` has other last bits.

use super::Length;

/// EMA of `n` values: alpha = 2 / (n + 1), seeded with the mean of the first `n`. In the unit of its source.
#[derive(Debug, Clone)]
pub struct Ema {
    length: Length,
    alpha: f64,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Fewer than `n` values so far: how many, and their sum, oldest first.
    Seeding { seen: usize, sum: f64 },
    /// The newest value of the average.
    Running { value: f64 },
}

impl Ema {
    /// An average of `length` values that has seen none.
    pub fn new(length: Length) -> Self {
        Self {
            length,
            alpha: 2.0 / (length.as_f64() + 1.0),
            state: State::Seeding { seen: 0, sum: 0.0 },
        }
    }

    /// The newest value; none before the `n`th source value.
    pub fn value(&self) -> Option<f64> {
        match self.state {
            State::Seeding { .. } => None,
            State::Running { value } => Some(value),
        }
    }

    /// What the average would be with `src` as its next source value. Moves nothing.
    pub fn peek(&self, src: f64) -> Option<f64> {
        match self.state {
            State::Seeding { seen, sum } if seen + 1 == self.length.count() => {
                Some((sum + src) / self.length.as_f64())
            }
            State::Seeding { .. } => None,
            State::Running { value } => Some(value + self.alpha * (src - value)),
        }
    }

    /// Takes `src` in and answers with the average.
    pub fn push(&mut self, src: f64) -> Option<f64> {
        let next = self.peek(src);
        self.state = match (next, self.state) {
            (Some(value), _) => State::Running { value },
            (None, State::Seeding { seen, sum }) => State::Seeding {
                seen: seen + 1,
                sum: sum + src,
            },
            (None, running @ State::Running { .. }) => running, // a running average always has a value
        };
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_seeded_with_the_mean_on_the_bar_where_that_exists() {
        let mut ema = Ema::new(Length::new(3).unwrap());
        let values = [1.0, 2.0, 6.0, 7.0].map(|src| ema.push(src));
        assert_eq!(values, [None, None, Some(3.0), Some(5.0)]);
        assert_eq!(ema.value(), Some(5.0));
    }

    #[test]
    fn the_step_has_the_form_whose_last_bits_the_chart_shows() {
        let mut ema = Ema::new(Length::new(45).unwrap());
        for i in 0..45 {
            ema.push(100.1 + 0.37 * f64::from(i));
        }
        let (prev, alpha) = (ema.value().unwrap(), 2.0 / 46.0);
        let other_form = |src: f64| alpha * src + (1.0 - alpha) * prev;
        let mut forms_differ = false;
        for i in 0..100 {
            let src = 90.0 + 0.713 * f64::from(i);
            assert_eq!(ema.peek(src), Some(prev + alpha * (src - prev)));
            forms_differ |= ema.peek(src) != Some(other_form(src));
        }
        assert!(
            forms_differ,
            "the sources chosen do not tell the forms apart"
        );
    }

    #[test]
    fn one_value_is_its_own_average() {
        let mut ema = Ema::new(Length::new(1).unwrap());
        assert_eq!([0.1, 0.7].map(|src| ema.push(src)), [Some(0.1), Some(0.7)]);
    }
}
