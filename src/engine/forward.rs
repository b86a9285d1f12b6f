//! Computing a series forward from the checkpoint before its oldest kept candle: after a revision (averages carry a bad
//! row on), and to find what readers were told against what now stands.

use crate::market::{Candle, SeriesKey, TimeMs};
use crate::signal::{Analysis, Analyzer, Recommendation, Stand};

/// A change on one of the kept candles.
pub(super) struct Turn {
    pub(super) stand: Stand,
    pub(super) analysis: Analysis,
    pub(super) price: f64,
}

/// What the kept candles say.
pub(super) struct Run {
    /// The state after them.
    pub(super) analyzer: Analyzer,
    /// The changes on them.
    pub(super) turns: Vec<Turn>,
    /// Close of the first candle at which the way of the last cross is known: before it a recommendation is HOLD only
    /// for want of candles. None: no cross is known at all.
    pub(super) known_from: Option<TimeMs>,
}

/// Computes `candles` forward from `checkpoint`.
pub(super) fn run<'a>(
    checkpoint: &Analyzer,
    candles: impl IntoIterator<Item = &'a Candle>,
    key: &SeriesKey,
) -> Run {
    let mut analyzer = checkpoint.clone();
    let mut turns = Vec::new();
    let mut known_from = None;
    let mut previous: Option<Recommendation> = checkpoint.last().map(|last| last.recommendation);
    for candle in candles {
        let analysis = analyzer.push(candle);
        let recommendation = analysis.recommendation;
        if known_from.is_none() && analysis.last_cross_direction != 0 {
            known_from = Some(key.interval.close_time(candle.open_time));
        }
        if let Some(previous) = previous.filter(|previous| *previous != recommendation) {
            let candle_close_time = key.interval.close_time(candle.open_time);
            turns.push(Turn {
                stand: Stand {
                    candle_close_time,
                    recommendation,
                    previous,
                },
                analysis,
                price: candle.close,
            });
        }
        previous = Some(recommendation);
    }
    Run {
        analyzer,
        turns,
        known_from,
    }
}

/// The bare changes.
pub(super) fn stands(turns: &[Turn]) -> Vec<Stand> {
    turns.iter().map(|turn| turn.stand).collect()
}

/// What a revision takes back and what stands instead, among the changes after `since`; none when nothing differs.
pub(super) fn difference(
    told: &[Stand],
    now: &[Stand],
    since: TimeMs,
) -> Option<(Vec<TimeMs>, Vec<Stand>)> {
    let counts = |stand: &&Stand| stand.candle_close_time > since;
    let corrects: Vec<_> = told
        .iter()
        .filter(counts)
        .filter(|stand| !now.contains(stand))
        .map(|stand| stand.candle_close_time)
        .collect();
    let stands: Vec<_> = now
        .iter()
        .filter(counts)
        .filter(|stand| !told.contains(stand))
        .copied()
        .collect();
    (!corrects.is_empty() || !stands.is_empty()).then_some((corrects, stands))
}
