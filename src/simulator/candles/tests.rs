//! Sums are exact, spans keep the right end, open candles grow into their rows.

//! What generated candles promise.

use super::super::bar::Scale;
use super::super::generator::Personality;
use super::*;

const NOW_MS: i64 = 1_767_225_600_000 + 37 * 60_000 + 12_345; // 2026-01-01T00:37:12.345Z

fn contract() -> Candles {
    let scale = Scale {
        price_decimals: 4,
        volume_decimals: 1,
        tick: 1,
    };
    let like = Personality {
        price: 2.5,
        quote_volume: 5e7,
        minute_move: 0.001,
        trend: 1.1,
        naps: 0.05,
    };
    let voice = Voice::new(7, "XRPUSDT", scale, like);
    Candles::Generated(Box::new(Generated::new(voice, 1_700_006_400_000)))
}

fn all(from_ms: i64, to_ms: i64) -> Span {
    Span {
        from: OpenTime::from_ms(from_ms),
        to: OpenTime::from_ms(to_ms),
        limit: usize::MAX,
        keep: Keep::Oldest,
    }
}

#[test]
fn every_interval_is_the_exact_sum_of_its_minutes() {
    let candles = contract();
    let now = TimeMs::new(NOW_MS);
    let from = NOW_MS - 9 * 86_400_000;
    let minutes = candles.closed(Interval::M1, all(from, NOW_MS), now);
    for interval in Interval::ALL {
        for (open, bar) in candles.closed(interval, all(from, NOW_MS), now) {
            let (begin, end) = (open, interval.after(open));
            let parts = minutes.iter().filter(|(at, _)| *at >= begin && *at < end);
            assert_eq!(
                Some(bar),
                Bar::of(parts.map(|(_, b)| b)),
                "{interval} {open}"
            );
        }
    }
}

#[test]
fn a_span_keeps_the_end_that_was_asked_for() {
    let candles = contract();
    let now = TimeMs::new(NOW_MS);
    let mut span = all(0, i64::MAX);
    span.limit = 3;
    let oldest = candles.closed(Interval::H4, span, now);
    assert_eq!(oldest[0].0.ms(), 1_700_006_400_000);
    span.keep = Keep::Newest;
    let newest = candles.closed(Interval::H4, span, now);
    assert_eq!(newest.len(), 3);
    assert_eq!(newest[2].0.ms(), 1_767_225_600_000 - 4 * 3_600_000);
}

#[test]
fn an_open_candle_grows_into_its_row() {
    let candles = contract();
    for interval in [Interval::M1, Interval::M15, Interval::H4, Interval::D1] {
        let open = interval.open_at(TimeMs::new(NOW_MS));
        let whole = candles.whole(interval, open).unwrap();
        let mut last = candles.forming(interval, open.time(), 1).unwrap();
        assert_eq!(last, Bar::flat(whole.open));
        let end = interval.close_time(open);
        let step = (interval.nominal_ms() / 500).max(1);
        let mut now = open.time();
        while now <= end {
            let bar = candles.forming(interval, now, 1).unwrap();
            assert!(bar.high >= last.high && bar.low <= last.low && bar.open == whole.open);
            assert!(bar.volume >= last.volume && bar.trades >= last.trades);
            assert!(bar.high <= whole.high && bar.low >= whole.low && bar.volume <= whole.volume);
            last = bar;
            now = now.plus_ms(step);
        }
    }
}

#[test]
fn a_delisted_contract_ends() {
    let mut candles = contract();
    candles.end_at(TimeMs::new(NOW_MS - 86_400_000));
    let now = TimeMs::new(NOW_MS);
    let rows = candles.closed(Interval::H1, all(0, NOW_MS), now);
    assert!(rows.last().unwrap().0.ms() < NOW_MS - 86_400_000);
    assert_eq!(candles.forming(Interval::H1, now, 1), None);
}
