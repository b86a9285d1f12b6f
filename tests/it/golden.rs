//! The golden sets: the indicator equals the chart's, and the same candles give the same bits however they come.
//! `tests/data/golden/<set>.csv` are candles, `<set>.expected` the reference at each of them, made by plain
//! full-window arithmetic and checked against the original script. Values within 1e-9 relative, words exact.

use std::path::PathBuf;
use std::process::Command;

use hamacast::indicator::{BandState, BodyColor, MaTrend};
use hamacast::market::{Candle, OpenTime, candles_from_csv};
use hamacast::signal::{Analysis, Analyzer};

const SETS: [&str; 13] = [
    "trend", "chop", "long", "flat", "huge", "tiny", "gaps", "ties", "steps", "strong", "short99",
    "short100", "short399",
];
const HEADER: &str = "open_time_ms,hama_open,hama_high,hama_low,hama_close,ma,bb_basis,bb_upper,bb_lower,bb_width,\
                      bb_state,cross,last_cross_direction,last_cross_time,deviation_pct,recommendation,body_color,ma_trend";
/// Columns of prices and ratios; all others are compared as text.
const VALUES: [usize; 10] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 14];
const TOLERANCE: f64 = 1e-9;

fn path(set: &str, extension: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/golden/{set}.{extension}"))
}

fn candles(set: &str) -> Vec<Candle> {
    candles_from_csv(&std::fs::read(path(set, "csv")).unwrap()).unwrap()
}

/// The rows of a table, its header checked.
fn rows(table: &str) -> Vec<Vec<String>> {
    let mut lines = table.lines();
    assert_eq!(lines.next(), Some(HEADER));
    lines
        .map(|line| line.split(',').map(str::to_owned).collect())
        .collect()
}

fn expected(set: &str) -> Vec<Vec<String>> {
    rows(&std::fs::read_to_string(path(set, "expected")).unwrap())
}

/// What `hamacast analyze` writes of a set.
fn analyzed_by_the_binary(set: &str) -> Vec<Vec<String>> {
    let output = Command::new(env!("CARGO_BIN_EXE_hamacast"))
        .arg("analyze")
        .arg(path(set, "csv"))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{set}");
    assert!(output.status.success(), "{set}");
    rows(&String::from_utf8(output.stdout).unwrap())
}

/// The same row from an analysis, written here a second time so that the command's own writing is checked as well.
fn row(analysis: &Analysis) -> Vec<String> {
    let values = &analysis.values;
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
    let word = |word: Option<&str>| word.unwrap_or_default().to_owned();
    vec![
        analysis.open_time.to_string(),
        number(values.hama_open),
        number(values.hama_high),
        number(values.hama_low),
        number(values.hama_close),
        number(values.ma),
        number(values.bb_basis),
        number(values.bb_upper),
        number(values.bb_lower),
        number(values.bb_width),
        word(values.bb_state.map(BandState::word)),
        analysis.cross.number().to_string(),
        analysis.last_cross_direction.to_string(),
        analysis
            .last_cross_time
            .as_ref()
            .map_or_else(String::new, OpenTime::to_string),
        number(values.deviation_pct),
        analysis.recommendation.word().to_owned(),
        word(values.body_color.map(BodyColor::word)),
        word(values.ma_trend.map(MaTrend::word)),
    ]
}

/// Every double of an analysis as its bits: equality of doubles would let -0 pass for 0.
fn bits(analysis: &Analysis) -> [Option<u64>; 10] {
    let values = &analysis.values;
    [
        values.hama_open,
        values.hama_high,
        values.hama_low,
        values.hama_close,
        values.ma,
        values.bb_basis,
        values.bb_upper,
        values.bb_lower,
        values.bb_width,
        values.deviation_pct,
    ]
    .map(|value| value.map(f64::to_bits))
}

fn assert_same(found: &Analysis, expected: &Analysis, what: &str) {
    assert_eq!(bits(found), bits(expected), "{what}");
    assert_eq!(found, expected, "{what}");
}

fn assert_golden(set: &str, found: &[Vec<String>]) {
    let expected = expected(set);
    assert_eq!(found.len(), expected.len(), "{set}: rows");
    let names: Vec<&str> = HEADER.split(',').collect();
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert_eq!(found.len(), expected.len(), "{set} row {i}: columns");
        for (column, (found, expected)) in found.iter().zip(expected).enumerate() {
            let agrees = if VALUES.contains(&column) {
                is_close(found, expected)
            } else {
                found == expected
            };
            assert!(
                agrees,
                "{set} row {i} {}: found '{found}', expected '{expected}'",
                names[column]
            );
        }
    }
}

/// Both missing, or both within the tolerance.
fn is_close(found: &str, expected: &str) -> bool {
    match (found.parse::<f64>(), expected.parse::<f64>()) {
        (Ok(found), Ok(expected)) => (found - expected).abs() <= TOLERANCE * expected.abs(),
        _ => found == expected,
    }
}

fn pushed(candles: &[Candle]) -> Vec<Analysis> {
    let mut analyzer = Analyzer::default();
    candles.iter().map(|candle| analyzer.push(candle)).collect()
}

/// An open candle as it might have stood before `candle` closed, or wildly elsewhere.
fn some_open_candle(candle: &Candle, random: &mut fastrand::Rng) -> Candle {
    let close = candle.close * (0.5 + random.f64());
    Candle {
        close,
        high: candle.open.max(close) * (1.0 + 0.1 * random.f64()),
        low: candle.open.min(close) * (1.0 - 0.1 * random.f64()),
        ..*candle
    }
}

#[test]
fn every_set_is_the_charts_through_the_library() {
    for set in SETS {
        let rows: Vec<Vec<String>> = pushed(&candles(set)).iter().map(row).collect();
        assert_golden(set, &rows);
    }
}

#[test]
fn every_set_is_the_charts_through_the_command_to_the_same_double() {
    for set in SETS {
        let found = analyzed_by_the_binary(set);
        assert_golden(set, &found);
        // Shortest digits name one double, so equal text is equal bits.
        for (i, (found, analysis)) in found.iter().zip(pushed(&candles(set))).enumerate() {
            assert_eq!(*found, row(&analysis), "{set} row {i}");
        }
    }
}

#[test]
fn a_thousand_peeks_leave_no_trace() {
    let mut random = fastrand::Rng::with_seed(20_260_101);
    for set in SETS {
        let candles = candles(set);
        let mut analyzer = Analyzer::default();
        for (i, (candle, expected)) in candles.iter().zip(pushed(&candles)).enumerate() {
            for _ in 0..random.usize(0..4) {
                analyzer.peek(&some_open_candle(candle, &mut random));
            }
            assert_same(&analyzer.push(candle), &expected, &format!("{set} row {i}"));
        }
    }
}

#[test]
fn a_peek_is_what_the_push_would_be_bit_for_bit() {
    let mut random = fastrand::Rng::with_seed(7);
    for set in SETS {
        let mut analyzer = Analyzer::default();
        for (i, candle) in candles(set).iter().enumerate() {
            let open = some_open_candle(candle, &mut random);
            let peeked = analyzer.peek(&open);
            assert_same(
                &analyzer.clone().push(&open),
                &peeked,
                &format!("{set} row {i}, open"),
            );
            let peeked = analyzer.peek(candle);
            assert_same(&analyzer.push(candle), &peeked, &format!("{set} row {i}"));
            assert_eq!(analyzer.last(), Some(&peeked));
        }
    }
}

#[test]
fn the_recommendation_does_not_depend_on_when_the_program_started() {
    // Both lines are sums over their windows alone, so from its first cross on a late start knows what all history
    // knows. The EMAs never forget their seed and may differ.
    for set in ["trend", "chop", "long", "gaps", "huge", "tiny"] {
        let candles = candles(set);
        let whole = pushed(&candles);
        for start in [137, 500, 777] {
            let Some(late) = candles.get(start..) else {
                continue;
            };
            let late = pushed(late);
            let Some(crossed) = late.iter().position(|row| row.last_cross_direction != 0) else {
                continue;
            };
            for (late, whole) in late.iter().zip(&whole[start..]).skip(crossed) {
                assert_eq!(
                    late.recommendation, whole.recommendation,
                    "{set} from {start}"
                );
                assert_eq!(
                    late.last_cross_time, whole.last_cross_time,
                    "{set} from {start}"
                );
                assert_eq!(
                    late.values.hama_close.map(f64::to_bits),
                    whole.values.hama_close.map(f64::to_bits)
                );
                assert_eq!(
                    late.values.ma.map(f64::to_bits),
                    whole.values.ma.map(f64::to_bits)
                );
            }
        }
    }
}
