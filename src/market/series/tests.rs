//! The commit rule, case by case.

use super::*;

const MINUTE: i64 = 60_000;

fn candle(minute: i64, close: f64) -> Candle {
    let open_time = OpenTime::from_ms(minute * MINUTE);
    Candle {
        open_time,
        open: close,
        high: close + 1.0,
        low: close - 1.0,
        close,
        volume: 1.0,
    }
}

fn begun(minutes: i64) -> Series {
    let mut series = Series::new(Interval::M1);
    series.begin(
        (0..minutes).map(|minute| candle(minute, 100.0)).collect(),
        0,
    );
    series
}

/// Offers candles in turn; the verdicts and the minutes that were committed.
fn offer_all(series: &mut Series, candles: &[Candle], origin: Origin) -> (Vec<Verdict>, Vec<i64>) {
    let mut committed = Vec::new();
    let verdicts = candles
        .iter()
        .map(|candle| series.offer(*candle, origin, &mut committed).unwrap())
        .collect();
    (
        verdicts,
        committed
            .iter()
            .map(|done| done.candle.open_time.ms() / MINUTE)
            .collect(),
    )
}

#[test]
fn h05_a_candle_after_a_hole_waits_until_the_hole_is_filled_in_order() {
    let mut series = begun(3);
    let (verdicts, committed) = offer_all(
        &mut series,
        &[candle(5, 105.0), candle(6, 106.0)],
        Origin::Stream,
    );
    assert_eq!(
        (verdicts, committed),
        (vec![Verdict::Waits, Verdict::Waits], vec![])
    );
    assert_eq!(
        series.hole(),
        Some(Hole {
            from: OpenTime::from_ms(3 * MINUTE),
            until: OpenTime::from_ms(4 * MINUTE)
        })
    );
    let (verdicts, committed) = offer_all(
        &mut series,
        &[candle(4, 104.0), candle(3, 103.0)],
        Origin::Rest,
    );
    assert_eq!(verdicts, vec![Verdict::Waits, Verdict::Committed]);
    assert_eq!(committed, vec![3, 4, 5, 6]);
    assert_eq!(series.hole(), None);
}

#[test]
fn h16_the_same_close_again_is_dropped() {
    let mut series = begun(3);
    let (verdicts, committed) = offer_all(
        &mut series,
        &[candle(3, 1.5), candle(3, 1.5)],
        Origin::Stream,
    );
    assert_eq!(
        (verdicts, committed),
        (vec![Verdict::Committed, Verdict::Known], vec![3])
    );
}

#[test]
fn h17_h19_another_version_of_a_known_candle_is_disputed_by_the_stream_and_revised_by_rest() {
    let mut series = begun(3);
    let (verdicts, committed) = offer_all(&mut series, &[candle(1, 99.0)], Origin::Stream);
    assert_eq!((verdicts, committed), (vec![Verdict::Disputed], vec![]));
    let (verdicts, _) = offer_all(&mut series, &[candle(1, 99.0)], Origin::Rest);
    assert_eq!(verdicts, vec![Verdict::Revised]);
    series.replace(candle(1, 99.0));
    assert_eq!(series.history()[1], candle(1, 99.0));
    let (verdicts, _) = offer_all(&mut series, &[candle(-7, 99.0)], Origin::Rest);
    assert_eq!(verdicts, vec![Verdict::TooOld]);
}

#[test]
fn h18_a_waiting_candle_is_replaced_as_a_whole_by_rests_version_only() {
    let mut series = begun(1);
    offer_all(
        &mut series,
        &[candle(2, 102.0), candle(2, 555.0)],
        Origin::Stream,
    );
    offer_all(&mut series, &[candle(2, 202.0)], Origin::Rest);
    offer_all(&mut series, &[candle(2, 777.0)], Origin::Stream);
    offer_all(&mut series, &[candle(2, 303.0)], Origin::Rest);
    let mut committed = Vec::new();
    series
        .offer(candle(1, 101.0), Origin::Stream, &mut committed)
        .unwrap();
    let newest = Committed {
        candle: candle(2, 303.0),
        origin: Origin::Rest,
    };
    assert_eq!(committed[1], newest, "REST's newest word");
}

#[test]
fn h18_the_streams_second_word_on_a_waiting_candle_is_disputed_where_it_is_another() {
    for mut series in [begun(1), Series::new(Interval::M1)] {
        let said = [candle(2, 102.0), candle(2, 102.0), candle(2, 555.0)];
        let (verdicts, _) = offer_all(&mut series, &said, Origin::Stream);
        assert_eq!(
            verdicts,
            [Verdict::Waits, Verdict::Waits, Verdict::Disputed]
        );
        let (verdicts, _) = offer_all(&mut series, &[candle(2, 555.0)], Origin::Rest);
        assert_eq!(verdicts, [Verdict::Waits]);
        let (verdicts, _) = offer_all(&mut series, &[candle(2, 102.0)], Origin::Stream);
        assert_eq!(verdicts, [Verdict::Disputed]);
    }
}

#[test]
fn h22_a_confirmed_hole_is_bridged_and_counted_and_nothing_is_invented() {
    let mut series = begun(2);
    offer_all(
        &mut series,
        &[candle(4, 104.0), candle(5, 105.0), candle(7, 107.0)],
        Origin::Stream,
    );
    let mut committed = Vec::new();
    series.bridge(&mut committed);
    let minutes: Vec<_> = committed
        .iter()
        .map(|done| done.candle.open_time.ms() / MINUTE)
        .collect();
    assert_eq!(minutes, vec![4, 5]);
    assert_eq!((series.bridged(), series.history().len()), (2, 4));
    assert!(
        series.hole().is_some(),
        "the second hole still waits for its own confirmation"
    );
}

#[test]
fn h02_h03_an_open_candle_never_becomes_history() {
    let mut series = begun(2);
    assert_eq!(series.preview(candle(2, 102.0)), Ok(true));
    assert_eq!(series.preview(candle(3, 103.0)), Ok(true));
    assert_eq!(
        series.preview(candle(2, 999.0)),
        Ok(false),
        "an older open candle is no news"
    );
    assert_eq!(
        series.preview(candle(1, 999.0)),
        Ok(false),
        "nor is one that has closed"
    );
    assert_eq!(series.last().map(|last| last.open_time.ms()), Some(MINUTE));
    let (_, committed) = offer_all(&mut series, &[candle(2, 102.5)], Origin::Stream);
    assert_eq!(committed, vec![2]);
    assert_eq!(
        series.open_candle(),
        Some(&candle(3, 103.0)),
        "the newer preview stands"
    );
}

#[test]
fn h15_closes_seen_before_the_history_follow_it_without_a_seam() {
    let mut series = Series::new(Interval::M1);
    offer_all(
        &mut series,
        &[candle(4, 104.0), candle(5, 105.0)],
        Origin::Stream,
    );
    let committed = series.begin((0..5).map(|minute| candle(minute, 100.0)).collect(), 0);
    assert_eq!(
        committed.len(),
        1,
        "minute 4 was in the history, minute 5 follows"
    );
    assert_eq!(
        series.last().map(|last| last.open_time.ms()),
        Some(5 * MINUTE)
    );
}

#[test]
fn h23_what_cannot_be_a_candle_is_refused_and_changes_nothing() {
    let mut series = begun(2);
    let off_grid = Candle {
        open_time: OpenTime::from_ms(2 * MINUTE + 7),
        ..candle(2, 100.0)
    };
    let upside_down = Candle {
        low: 200.0,
        ..candle(2, 100.0)
    };
    let mut committed = Vec::new();
    for bad in [off_grid, upside_down] {
        assert!(series.offer(bad, Origin::Rest, &mut committed).is_err());
        assert!(series.preview(bad).is_err());
    }
    assert_eq!(
        (
            committed.len(),
            series.history().len(),
            series.open_candle()
        ),
        (0, 2, None)
    );
}

#[test]
fn the_waiting_room_and_the_history_have_bounds() {
    let mut series = begun(1);
    let far: Vec<_> = (2..=2_000).map(|minute| candle(minute, 100.0)).collect();
    offer_all(&mut series, &far, Origin::Stream);
    let (_, committed) = offer_all(&mut series, &[candle(1, 100.0)], Origin::Rest);
    assert_eq!(committed.len(), PENDING_MAX + 1);
    let mut trimmed = 0;
    while series.trim_oldest().is_some() {
        trimmed += 1;
    }
    assert_eq!((series.history().len(), trimmed), (HISTORY_MAX, 2));
}

#[test]
fn h22_a_candle_that_comes_late_takes_its_place_in_the_bridged_hole() {
    let mut series = begun(2);
    offer_all(&mut series, &[candle(4, 104.0)], Origin::Stream);
    series.bridge(&mut Vec::new());
    let late = candle(3, 103.0);
    let (verdicts, _) = offer_all(&mut series, &[late], Origin::Stream);
    assert_eq!(verdicts, vec![Verdict::Disputed], "REST has to say so too");
    let (verdicts, _) = offer_all(&mut series, &[late], Origin::Rest);
    assert_eq!(verdicts, vec![Verdict::Late]);
    series.insert(late);
    let minutes: Vec<_> = series
        .history()
        .iter()
        .map(|candle| candle.open_time.ms() / MINUTE)
        .collect();
    assert_eq!((minutes, series.bridged()), (vec![0, 1, 3, 4], 1));
    let (verdicts, _) = offer_all(&mut series, &[late], Origin::Rest);
    assert_eq!(verdicts, vec![Verdict::Known]);
}

#[test]
fn what_rows_do_not_have_is_told_between_their_ends_only() {
    let series = begun(6);
    let rows = [candle(1, 100.0), candle(2, 100.0), candle(4, 100.0)];
    assert_eq!(series.lacking_in(&rows), [OpenTime::from_ms(3 * MINUTE)]);
    assert_eq!(series.lacking_in(&[]), []);
}

#[test]
fn h17_an_older_candle_never_goes_to_the_end() {
    let mut series = begun(3);
    let before = series.history().clone();
    for minute in [-5, 0, 1, 2] {
        offer_all(&mut series, &[candle(minute, 777.0)], Origin::Stream);
        offer_all(&mut series, &[candle(minute, 777.0)], Origin::Rest);
    }
    assert_eq!(*series.history(), before);
}

#[test]
fn h03_time_and_newer_open_candles_never_make_a_close() {
    let mut series = begun(2);
    for minute in 2..50 {
        series.preview(candle(minute, 100.0)).unwrap();
        assert_eq!(series.last().map(|last| last.open_time.ms()), Some(MINUTE));
        assert_eq!(series.hole(), None);
    }
    assert_eq!(series.open_candle(), None, "it does not follow history");
}
