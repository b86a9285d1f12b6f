//! What the exchange says after the fact, beside what the server holds and has told.

use hamacast::market::{Candle, SeriesKey, TimeMs};
use hamacast::signal::Analyzer;
use hamacast::simulator::{Simulator, TruthCandle};
use serde_json::Value;

use super::reader::Record;

/// Candles of a page of `Simulator::truth`.
const PAGE: i64 = 1_500;

/// As far back as the engine looks for the last cross.
const LOOK_BACK: i64 = 5_000;

/// Compares every closed candle of a chart with the exchange's; how many there were.
pub(super) fn assert_candles(exchange: &Simulator, key: &SeriesKey, chart: &Value) -> usize {
    let rows = chart["candles"].as_array().unwrap();
    let ours: Vec<_> = rows.iter().filter(|row| row["closed"] == true).collect();
    let first = ours[0]["open_time"].as_i64().unwrap();
    let truth = exchange.truth(&key.symbol, key.interval, TimeMs::new(first), None);
    assert!(truth.len() >= ours.len(), "{key}: candles nobody else has");
    for (ours, truth) in ours.iter().zip(&truth) {
        let open = truth.open_time.ms();
        assert_eq!(
            ours["open_time"], open,
            "{key}: a candle is missing or too much"
        );
        let truth = parsed(truth);
        let values = [
            ("open", truth.open),
            ("high", truth.high),
            ("low", truth.low),
            ("close", truth.close),
            ("volume", truth.volume),
        ];
        for (name, value) in values {
            assert_eq!(ours[name].as_f64(), Some(value), "{key} {name} at {open}");
        }
    }
    ours.len()
}

/// Compares what stands of a series in the record with what the exchange's candles say after the record's first result;
/// how many changes there were.
pub(super) fn assert_record(
    exchange: &Simulator,
    key: &SeriesKey,
    record: &Record,
    until: TimeMs,
) -> usize {
    let Some(base) = record.bases.get(&key.to_string()).copied() else {
        panic!("{key}: not one result was told");
    };
    let until = until.ms();
    let mut told = record.stands(key).unwrap_or_else(|wrong| panic!("{wrong}"));
    told.retain(|(close, _)| (base + 1..=until).contains(close));
    assert_eq!(
        told,
        changes(exchange, key, base, until),
        "{key} after {base}"
    );
    told.len()
}

/// Close time and recommendation of the changes the exchange's candles make within `(base, until]`.
fn changes(exchange: &Simulator, key: &SeriesKey, base: i64, until: i64) -> Vec<(i64, String)> {
    let interval = key.interval;
    let mut from = interval.steps(interval.open_at(TimeMs::new(base)), -LOOK_BACK);
    let mut analyzer = Analyzer::default();
    let (mut changes, mut last) = (Vec::new(), None);
    while from.time().ms() <= until {
        let to = interval.steps(from, PAGE - 1);
        let page = exchange.truth(&key.symbol, interval, from.time(), Some(to.time()));
        for candle in &page {
            let now = analyzer.push(&parsed(candle)).recommendation.word();
            let close = interval.close_time(candle.open_time).ms();
            if (base + 1..=until).contains(&close) && last != Some(now) {
                changes.push((close, now.to_owned()));
            }
            last = Some(now);
        }
        from = interval.after(to);
    }
    changes
}

fn parsed(truth: &TruthCandle) -> Candle {
    let number = |text: &str| text.parse().unwrap();
    Candle {
        open_time: truth.open_time,
        open: number(&truth.open),
        high: number(&truth.high),
        low: number(&truth.low),
        close: number(&truth.close),
        volume: number(&truth.volume),
    }
}
