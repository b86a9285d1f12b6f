//! Percentiles, medians and the line each figure ends as; and a clock finer than the product's milliseconds.

use std::time::Instant;

/// Now, for what is measured in microseconds.
#[expect(
    clippy::disallowed_methods,
    reason = "a benchmark is no part of the product; its clock is finer than whole milliseconds"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

pub(crate) fn ms_between(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64() * 1_000.0
}

/// The value that `share` of the samples do not exceed; 0 for none.
pub(crate) fn percentile(samples: &mut [f64], share: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    let at = (samples.len() as f64 * share).ceil() as usize;
    let at = at.saturating_sub(1);
    samples.get(at).copied().unwrap_or_default()
}

pub(crate) fn median(mut samples: Vec<f64>) -> f64 {
    percentile(&mut samples, 0.5)
}

/// A figure that should not exceed its limit.
pub(crate) fn at_most(name: &str, figure: f64, limit: f64) -> String {
    let ratio = figure / limit;
    format!("bench {name} hamacast={figure:.2} limit={limit} ratio={ratio:.2} goal=1.00")
}

/// A figure that should reach its limit.
pub(crate) fn at_least(name: &str, figure: f64, limit: f64) -> String {
    let ratio = limit / figure;
    format!("bench {name} hamacast={figure:.0} limit={limit} ratio={ratio:.2} goal=1.00")
}
