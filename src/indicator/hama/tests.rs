//! Edges of the indicator that no candle file shows: first values, words at their thresholds, small windows.

use super::*;
use crate::indicator::{Length, Lengths};
use crate::market::OpenTime;

fn candle(i: i64, close: f64) -> Candle {
    Candle {
        open_time: OpenTime::from_ms(i * 60_000),
        open: close,
        high: close,
        low: close,
        close,
        volume: 1.0,
    }
}

fn small() -> HamaParams {
    let of = |count| Length::new(count).unwrap();
    let lengths = Lengths {
        hama_open: of(2),
        hama_high: of(1),
        hama_low: of(1),
        hama_close: of(2),
        ma: of(3),
        bands: of(4),
    };
    HamaParams::new(lengths, Thresholds::default()).unwrap()
}

#[test]
fn each_series_is_missing_until_its_first_value() {
    let mut hama = Hama::default();
    for i in 0..500 {
        let values = hama.push(&candle(i, 100.0 + (i % 7) as f64));
        assert_eq!(values.hama_open.is_some(), i >= 45, "{i}");
        assert_eq!(values.body_color.is_some(), i >= 45, "{i}");
        assert_eq!(values.hama_high.is_some(), i >= 19, "{i}");
        assert_eq!(values.hama_low.is_some(), i >= 19, "{i}");
        assert_eq!(values.hama_close.is_some(), i >= 39, "{i}");
        assert_eq!(values.ma.is_some(), i >= 99, "{i}");
        assert_eq!(values.deviation_pct.is_some(), i >= 99, "{i}");
        assert_eq!(values.ma_trend.is_some(), i >= 101, "{i}");
        assert_eq!(values.bb_basis.is_some(), i >= 399, "{i}");
        assert_eq!(values.bb_state.is_some(), i >= 399, "{i}");
    }
}

#[test]
fn any_valid_windows_are_computed() {
    let mut hama = Hama::new(small());
    let prices = [1.0, 2.0, 4.0, 8.0];
    let values = prices.map(|price| hama.push(&candle(0, price)));
    assert_eq!(values[2].hama_open, Some(1.5)); // mean of the closes before: 1 and 2
    assert_eq!(values[3].hama_open, Some(1.5 + 2.0 / 3.0 * (4.0 - 1.5)));
    assert_eq!(values[3].hama_high, Some(8.0));
    assert_eq!(values[3].hama_close, Some((4.0 + 2.0 * 8.0) / 3.0));
    assert_eq!(values[3].ma, Some((2.0 + 2.0 * 4.0 + 3.0 * 8.0) / 6.0));
    assert_eq!(values[3].bb_basis, Some(3.75));
    assert_eq!(values[3].bb_state, Some(BandState::Expansion));
}

#[test]
fn the_source_open_is_of_the_candle_before_and_high_and_low_reach_to_the_close() {
    let mut hama = Hama::new(small());
    let first = Candle {
        open: 4.0,
        high: 9.0,
        low: 3.0,
        close: 6.0,
        ..candle(0, 1.0)
    };
    assert_eq!(hama.push(&first).hama_open, None);
    let second = Candle {
        open: 6.0,
        high: 7.0, // below the close: a feed that is off by one tick
        low: 5.0,
        close: 8.0,
        ..candle(1, 1.0)
    };
    let values = hama.push(&second);
    assert_eq!((values.hama_high, values.hama_low), (Some(8.0), Some(5.0)));
    let third = hama.peek(&candle(2, 50.0));
    assert_eq!(third.hama_open, Some(f64::midpoint(5.0, 7.0))); // nothing of candle 2
}

#[test]
fn a_width_on_its_threshold_is_normal() {
    let state = |width| {
        let bands = BandValues {
            basis: 1.0,
            upper: 1.0,
            lower: 1.0,
            width,
        };
        band_state(&bands, &Thresholds::default())
    };
    assert_eq!(state(0.1_f64.next_down()), BandState::Squeeze);
    assert_eq!(state(0.1), BandState::Normal);
    assert_eq!(state(0.15), BandState::Normal);
    assert_eq!(state(0.15_f64.next_up()), BandState::Expansion);
}

#[test]
fn an_equal_step_is_neither_green_nor_a_trend() {
    assert_eq!(body_color(None, 1.0), BodyColor::Red);
    assert_eq!(body_color(Some(1.0), 1.0), BodyColor::Red);
    assert_eq!(body_color(Some(1.0), 1.0_f64.next_up()), BodyColor::Green);
    let trend = |first, second, third| ma_trend([Some(second), Some(first)], Some(third));
    assert_eq!(trend(1.0, 2.0, 3.0), Some(MaTrend::Rising));
    assert_eq!(trend(3.0, 2.0, 1.0), Some(MaTrend::Falling));
    assert_eq!(trend(1.0, 1.0, 2.0), Some(MaTrend::Flat));
    assert_eq!(trend(2.0, 1.0, 2.0), Some(MaTrend::Flat));
    assert_eq!(ma_trend([Some(1.0), None], Some(2.0)), None);
}

#[test]
fn a_checkpoint_goes_its_own_way() {
    let mut hama = Hama::default();
    for i in 0..450 {
        hama.push(&candle(i, 100.0 + (i % 13) as f64));
    }
    let mut checkpoint = hama.clone();
    let expected = checkpoint.peek(&candle(450, 77.0));
    for i in 450..900 {
        hama.push(&candle(i, 3.0));
    }
    assert_eq!(checkpoint.push(&candle(450, 77.0)), expected);
}
