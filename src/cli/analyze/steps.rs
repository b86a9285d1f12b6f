//! The steps between candles: how many are missing, against the interval or against the commonest step.
//! Only counts; what the indicator makes of a hole is what charts do: the next candle follows, bar by bar.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

use crate::market::{Candle, Interval, OpenTime};

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// What one candle to the next should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Interval(Interval),
    /// A length the exchange does not offer, in milliseconds.
    Ms(i64),
}

impl Step {
    /// Whole steps from `earlier` to `later`, and whether they lead there exactly.
    fn count(self, earlier: OpenTime, later: OpenTime) -> (i64, bool) {
        match self {
            Self::Interval(interval) => {
                let count = interval.count_between(earlier, later);
                (count, interval.steps(earlier, count) == later)
            }
            Self::Ms(ms) => {
                let apart = later.time().ms_since(earlier.time());
                (apart / ms, apart % ms == 0)
            }
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interval(interval) => interval.fmt(f),
            Self::Ms(ms) => write!(f, "{ms} ms"),
        }
    }
}

/// The steps of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Steps {
    /// None when one candle alone has no step.
    step: Option<Step>,
    missing: i64,
    places: usize,
    /// The candle before the first hole.
    first_hole_after: Option<OpenTime>,
    /// Steps that are no whole number of the expected one, or shorter.
    uneven: usize,
}

impl Steps {
    /// Counts against `interval`, or against the commonest step when none is given. Times rise.
    pub(super) fn of(candles: &[Candle], interval: Option<Interval>) -> Self {
        let mut steps = Self {
            step: interval.map(Step::Interval).or_else(|| commonest(candles)),
            missing: 0,
            places: 0,
            first_hole_after: None,
            uneven: 0,
        };
        let Some(step) = steps.step else { return steps };
        for (earlier, later) in pairs(candles) {
            let (count, is_exact) = step.count(earlier, later);
            if count > 1 {
                steps.missing += count - 1;
                steps.places += 1;
                steps.first_hole_after.get_or_insert(earlier);
            }
            if count < 1 || !is_exact {
                steps.uneven += 1;
            }
        }
        steps
    }

    /// How many candles are missing.
    pub(super) fn missing(&self) -> i64 {
        self.missing
    }

    /// A line for each thing the reader should know; none for a whole file.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let Some(step) = self.step else {
            return warnings;
        };
        if let Some(after) = self.first_hole_after {
            warnings.push(format!(
                "missing candles: {} in {} place(s), the first after open_time_ms {after} (step {step}); \
                 computed bar by bar",
                self.missing, self.places
            ));
        }
        if self.uneven > 0 {
            warnings.push(format!(
                "uneven steps: {} candle(s) do not follow the one before by whole steps of {step}",
                self.uneven
            ));
        }
        warnings
    }
}

fn pairs(candles: &[Candle]) -> impl Iterator<Item = (OpenTime, OpenTime)> {
    candles
        .iter()
        .zip(candles.iter().skip(1))
        .map(|(earlier, later)| (earlier.open_time, later.open_time))
}

/// The step that occurs most often, the shortest of equals. Months differ in length, so they are known by their grid.
fn commonest(candles: &[Candle]) -> Option<Step> {
    let mut counts = BTreeMap::new();
    for (earlier, later) in pairs(candles) {
        *counts
            .entry(later.time().ms_since(earlier.time()))
            .or_insert(0_usize) += 1;
    }
    let (ms, _) = counts
        .into_iter()
        .max_by_key(|(ms, count)| (*count, Reverse(*ms)))?;
    let is_month = (28 * DAY_MS..=31 * DAY_MS).contains(&ms)
        && candles
            .iter()
            .all(|candle| Interval::Month1.is_on_grid(candle.open_time));
    if is_month {
        return Some(Step::Interval(Interval::Month1));
    }
    let fixed = Interval::ALL
        .into_iter()
        .find(|interval| *interval != Interval::Month1 && interval.nominal_ms() == ms);
    Some(fixed.map_or(Step::Ms(ms), Step::Interval))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: i64 = 60_000;

    fn steps(times: &[i64], interval: Option<Interval>) -> Steps {
        let candles: Vec<Candle> = times
            .iter()
            .map(|ms| Candle {
                open_time: OpenTime::from_ms(*ms),
                open: 1.0,
                high: 1.0,
                low: 1.0,
                close: 1.0,
                volume: 1.0,
            })
            .collect();
        Steps::of(&candles, interval)
    }

    fn minutes(times: &[i64], interval: Option<Interval>) -> (i64, Vec<String>) {
        let times: Vec<i64> = times.iter().map(|minute| minute * MINUTE_MS).collect();
        let steps = steps(&times, interval);
        (steps.missing(), steps.warnings())
    }

    #[test]
    fn a_whole_file_and_a_single_candle_warn_of_nothing() {
        assert_eq!(minutes(&[0, 15, 30, 45], None), (0, vec![]));
        assert_eq!(minutes(&[0, 15], Some(Interval::M15)), (0, vec![]));
        assert_eq!(minutes(&[7], None), (0, vec![]));
    }

    #[test]
    fn missing_candles_are_counted_against_the_commonest_step() {
        let (missing, warnings) = minutes(&[0, 15, 30, 90, 105, 135], None);
        assert_eq!(missing, 4);
        assert_eq!(
            warnings,
            [
                "missing candles: 4 in 2 place(s), the first after open_time_ms 1800000 (step 15m); computed bar by bar"
            ]
        );
        assert_eq!(minutes(&[0, 15, 45], None).0, 1); // of equals, the shortest
        assert_eq!(minutes(&[0, 7, 14, 28], None).0, 1); // a step no interval has
    }

    #[test]
    fn the_interval_given_counts_more_than_the_commonest_step() {
        assert_eq!(minutes(&[0, 30, 60], Some(Interval::M15)).0, 2);
        let (missing, warnings) = minutes(&[0, 15, 30, 45], Some(Interval::H1));
        assert_eq!(missing, 0);
        assert_eq!(
            warnings,
            ["uneven steps: 3 candle(s) do not follow the one before by whole steps of 1h"]
        );
    }

    #[test]
    fn months_of_28_to_31_days_are_whole_steps() {
        let mut times = vec![Interval::Month1.open_at(crate::market::TimeMs::new(0))];
        for _ in 0..30 {
            let last = times[times.len() - 1];
            times.push(Interval::Month1.after(last));
        }
        let mut ms: Vec<i64> = times.iter().map(|time| time.ms()).collect();
        assert_eq!(steps(&ms, None).warnings(), Vec::<String>::new());
        ms.remove(13); // a 28 days' February
        assert_eq!(steps(&ms, None).missing(), 1);
    }
}
