//! Recomputing a series forward after the exchange revised a closed candle: averages carry a bad row on, so the state
//! is rebuilt from the checkpoint before the oldest kept candle, and what was told is held against what now stands.

use std::collections::VecDeque;

use crate::market::{Candle, SeriesKey, TimeMs};
use crate::signal::{Analyzer, Recommendation, Stand};

/// The state after `candles`, and the changes on them.
pub(super) fn run(
    checkpoint: &Analyzer,
    candles: &VecDeque<Candle>,
    key: &SeriesKey,
) -> (Analyzer, Vec<Stand>) {
    let mut analyzer = checkpoint.clone();
    let mut changes = Vec::new();
    let mut previous: Option<Recommendation> = checkpoint.last().map(|last| last.recommendation);
    for candle in candles {
        let recommendation = analyzer.push(candle).recommendation;
        if let Some(previous) = previous.filter(|previous| *previous != recommendation) {
            let candle_close_time = key.interval.close_time(candle.open_time);
            changes.push(Stand {
                candle_close_time,
                recommendation,
                previous,
            });
        }
        previous = Some(recommendation);
    }
    (analyzer, changes)
}

/// What a revision takes back and what stands instead, among the changes after `base`; none when nothing differs.
pub(super) fn difference(
    told: &[Stand],
    now: &[Stand],
    base: TimeMs,
) -> Option<(Vec<TimeMs>, Vec<Stand>)> {
    let after_base = |stand: &&Stand| stand.candle_close_time > base;
    let corrects: Vec<_> = told
        .iter()
        .filter(after_base)
        .filter(|stand| !now.contains(stand))
        .map(|stand| stand.candle_close_time)
        .collect();
    let stands: Vec<_> = now
        .iter()
        .filter(after_base)
        .filter(|stand| !told.contains(stand))
        .copied()
        .collect();
    (!corrects.is_empty() || !stands.is_empty()).then_some((corrects, stands))
}
