//! What the exchange's REST side may do to a series, and what one wrong event may not.

use std::collections::BTreeSet;

use super::world::{CloseEvent, START, World, candle, key};
use crate::engine::Event;
use crate::market::{Candle, SeriesStatus};
use crate::signal::{Analyzer, History, Recommendation};

/// Minutes of a year.
const YEAR: i64 = 365 * 24 * 60;

fn spike(minute: i64) -> Candle {
    Candle {
        high: 200.0,
        close: 180.0,
        ..candle(minute)
    }
}

#[test]
fn a_candle_that_claims_a_time_to_come_neither_waits_nor_is_shown_nor_bridged_to() {
    let mut world = World::live();
    let minute = world.minute();
    world.open(candle(minute));
    let shown = world.last_result().live;
    world.open(candle(minute + YEAR));
    world.close(candle(minute + YEAR));
    world.close(spike(minute)); // on the grid, and not over yet
    assert_eq!(world.last_result().live, shown);
    world.open(spike(minute));
    assert_eq!(world.last_result().live.unwrap().price, 180.0);
    for _ in 0..150 {
        world.next_minute(CloseEvent::Comes);
        assert_eq!((world.status(), world.asked.len()), (SeriesStatus::Live, 0));
    }
    assert_eq!(world.told(), world.expected());
    assert_eq!(world.engine.info().bad_candles, 3);
}

#[test]
fn h04_while_a_close_is_missing_the_open_candle_after_it_says_nothing() {
    let mut world = World::live();
    world.next_minute(CloseEvent::Lost);
    world.open(candle(world.minute()));
    assert_eq!(world.last_result().live, None);
    world.wait_ms(2_500);
    world.answer_all();
    world.open(candle(world.minute()));
    assert!(world.last_result().live.is_some());
}

#[test]
fn h22_a_rest_side_that_lags_never_confirms_a_hole() {
    let mut world = World::live();
    world.lag_ms = 600_000;
    world.next_minute(CloseEvent::Lost);
    for _ in 0..8 {
        world.next_minute(CloseEvent::Comes);
        world.answer_all();
    }
    assert_eq!(world.status(), SeriesStatus::Dirty);
    world.lag_ms = 0;
    world.wait_ms(61_000);
    world.answer_all();
    world.next_minute(CloseEvent::Comes);
    world.answer_all();
    assert_eq!(world.status(), SeriesStatus::Live);
    assert_eq!(world.last_result().holes, 0);
    assert_eq!(world.told(), world.expected());
}

#[test]
fn h22_a_hole_before_a_candle_only_the_stream_has_is_confirmed_by_later_ones() {
    let missing = START + 20..START + 23;
    let market = (0..START + 600).filter(|minute| !missing.contains(minute));
    let mut world = World::live_with(market.map(candle));
    while world.minute() < START + 22 {
        world.next_minute(CloseEvent::Comes);
    }
    world.next_minute(CloseEvent::Lost);
    world.close(candle(START + 22)); // REST never has it
    for _ in 0..4 {
        world.next_minute(CloseEvent::Comes);
        world.answer_all();
        world.wait_ms(2_500);
        world.answer_all();
    }
    assert_eq!(world.status(), SeriesStatus::Live);
    assert_eq!(world.last_result().holes, 2);
}

#[test]
fn h19_a_candle_of_a_fast_exchange_is_not_read_before_its_margin_in_real_time() {
    let mut world = World::live();
    world.now.speed = 3_600.0; // 250 ms of ours are 15 of its minutes
    world.next_minute(CloseEvent::Lost);
    world.next_minute(CloseEvent::Comes);
    assert!(world.engine.watched[&key()].series().hole().is_some());
    assert_eq!(world.asked, vec![]);
    for _ in 0..16 {
        world.next_minute(CloseEvent::Comes);
    }
    world.answer_all();
    assert_eq!(world.told(), world.expected());
    assert_eq!(world.status(), SeriesStatus::Live);
}

#[test]
fn h19_a_disputed_candle_is_decided_though_another_answer_comes_first() {
    let mut world = World::live();
    for _ in 0..120 {
        world.next_minute(CloseEvent::Comes);
    }
    let revised = spike(world.minute() - 3);
    world.market.insert(revised.open_time, revised);
    world.next_minute(CloseEvent::Lost);
    world.wait_ms(2_500);
    world.close(revised);
    assert_eq!(world.asked.len(), 1, "the missing close is asked for");
    world.answer_all();
    assert_eq!(world.engine.info().corrections, 1);
}

#[test]
fn h19_a_dispute_rest_says_nothing_of_is_asked_once_a_minute_and_holds_up_nothing() {
    let mut world = World::live();
    for _ in 0..20 {
        world.next_minute(CloseEvent::Comes);
    }
    let disputed = spike(world.minute() - 3);
    world.market.remove(&disputed.open_time);
    world.close(disputed);
    let before = world.requests;
    for _ in 0..5 {
        world.next_minute(CloseEvent::Comes);
        world.answer_all();
    }
    let asked = world.requests - before;
    assert!((2..=6).contains(&asked), "asked {asked} times");
    world.next_minute(CloseEvent::Lost);
    world.wait_ms(2_500);
    assert_eq!(world.asked.len(), 1, "a missing close waits for nothing");
    world.market.insert(disputed.open_time, disputed);
    world.answer_all();
    world.wait_ms(61_000);
    world.answer_all();
    assert_eq!(world.engine.info().corrections, 1);
}

#[test]
fn h29_an_update_of_a_candle_that_rest_has_shown_as_closed_has_it_read_once_more() {
    let mut world = World::live();
    for _ in 0..20 {
        world.next_minute(CloseEvent::Comes);
    }
    world.next_minute(CloseEvent::Lost);
    world.wait_ms(2_500);
    world.answer_all();
    let moving = spike(world.minute() - 1);
    world.market.insert(moving.open_time, moving);
    world.open(moving);
    world.wait_ms(1_000);
    assert_eq!(world.asked.len(), 1, "was it closed?");
    world.answer_all();
    assert_eq!(world.engine.info().corrections, 1);
}

#[test]
fn h19_a_revision_shows_in_the_result_before_anything_else_happens() {
    let mut world = World::live();
    for _ in 0..120 {
        world.next_minute(CloseEvent::Comes);
    }
    let revised = spike(world.minute() - 3);
    world.market.insert(revised.open_time, revised);
    world.close(revised);
    world.answer_all();
    let mut truth = Analyzer::default();
    let end = candle(world.minute()).open_time;
    for candle in world.market.range(..end).map(|(_, candle)| candle) {
        truth.push(candle);
    }
    let truth = truth.last().unwrap();
    let result = world.last_result();
    assert_eq!(result.ma, truth.values.ma);
    assert_eq!(result.recommendation, Some(truth.recommendation));
}

#[test]
fn an_answer_to_a_series_that_has_left_is_not_taken_for_one_to_its_successor() {
    let mut world = World::new((0..START + 600).map(candle));
    world.up(1);
    let old = world.asked.remove(0).request;
    let stub = (START - 120..START).map(candle).collect();
    world.apply(Event::Universe(BTreeSet::new()));
    world.next_minute(CloseEvent::Comes);
    world.next_minute(CloseEvent::Comes);
    world.apply(Event::Universe(BTreeSet::from([key().symbol])));
    world.up(2);
    world.next_minute(CloseEvent::Comes);
    world.answer(old.clone(), stub);
    world.answer(old, vec![]);
    assert_eq!(world.status(), SeriesStatus::Warming);
    assert_eq!(world.asked.len(), 1, "its own request is still on its way");
    world.answer_all();
    assert_eq!(
        (world.status(), world.last_result().history),
        (SeriesStatus::Live, Some(History::Full))
    );
}

#[test]
fn h25_one_short_answer_is_not_the_contracts_beginning() {
    let mut world = World::new((0..START + 600).map(candle));
    world.up(1);
    let first = world.asked.remove(0).request;
    world.answer(first, (START - 120..START).map(candle).collect());
    assert_eq!(world.status(), SeriesStatus::Warming);
    world.answer_all();
    assert_eq!(
        (world.status(), world.last_result().history),
        (SeriesStatus::Live, Some(History::Full))
    );
}

#[test]
fn one_empty_answer_does_not_end_the_search_for_the_last_cross() {
    let flat = |minute: i64, close: f64| Candle {
        open: close,
        high: close,
        low: close,
        close,
        ..candle(minute)
    };
    let bottom = -1_900;
    let turned = (-3_000..START + 10)
        .map(|minute| flat(minute, 1_000.0 + 0.5 * (minute - bottom).abs() as f64));
    let mut world = World::new(turned);
    world.up(1);
    let first = world.asked.remove(0).request;
    world.answer(first.clone(), world.rows(&first));
    let older = world.asked.remove(0).request;
    world.answer(older, vec![]);
    assert_eq!(world.status(), SeriesStatus::Warming);
    world.wait_ms(1_500);
    world.answer_all();
    assert_eq!(world.last_result().last_cross_direction, 1);
    assert_eq!(world.last_result().history, Some(History::Full));
}

#[test]
fn h25_behind_a_full_page_nothing_is_the_contracts_beginning_only_when_seen_twice_a_minute_apart() {
    let rising = |minute: i64| Candle {
        open: 1_000.0 + minute as f64,
        high: 1_000.0 + minute as f64,
        low: 1_000.0 + minute as f64,
        close: 1_000.0 + minute as f64,
        ..candle(minute)
    };
    let page = 499;
    let mut world = World::new((START - page..START + 600).map(rising));
    world.up(1);
    world.answer_all(); // the full page, and then nothing before it
    let mut waited_ms = 0;
    while world.status() == SeriesStatus::Warming {
        world.wait_ms(500);
        world.answer_all();
        waited_ms += 500;
        assert!(waited_ms < 100_000);
    }
    assert!(waited_ms >= 60_000, "after {waited_ms} ms");
    assert!(world.requests < 12, "{} requests", world.requests);
    assert_eq!(world.last_result().history, Some(History::Full));
}

#[test]
fn h25_a_contract_without_a_candle_is_asked_rarely_and_repaired_as_fast_as_any() {
    let mut world = World::new((START + 10..START + 600).map(candle));
    world.up(1);
    for _ in 0..9 {
        world.wait_ms(50_000);
        world.next_minute(CloseEvent::Comes);
        world.answer_all();
    }
    assert!(world.requests <= 16, "{} requests", world.requests);
    assert_eq!(world.status(), SeriesStatus::Warming);
    for _ in 0..101 {
        world.next_minute(CloseEvent::Comes);
        world.wait_ms(2_500);
        world.answer_all();
    }
    assert_eq!(
        (world.status(), world.last_result().history),
        (SeriesStatus::Live, Some(History::Young))
    );
    assert_eq!(world.last_result().holes, 0);
}

#[test]
fn a_first_read_that_fails_often_does_not_slow_the_first_repair() {
    let mut world = World::new((0..START + 600).map(candle));
    world.up(1);
    for _ in 0..7 {
        let request = world.asked.remove(0).request;
        let rows = None;
        world.apply(Event::Answer { request, rows });
        world.wait_ms(61_000);
    }
    world.answer_all();
    world.lag_ms = 300_000;
    world.wait_ms(61_000);
    world.answer_all();
    world.lag_ms = 0;
    world.wait_ms(1_500);
    assert_eq!(world.asked.len(), 1, "asked again after a second");
    world.answer_all();
    assert_eq!(world.status(), SeriesStatus::Live);
}

#[test]
fn h19_a_revision_of_the_candle_the_first_result_spoke_of_is_told() {
    let mut world = World::live();
    let first = world.last_result().recommendation.unwrap();
    assert_eq!(first, Recommendation::Sell);
    let truth = candle(START - 1);
    let close = truth.open * 40.0; // a cross up, however far below it was
    let revised = Candle {
        high: truth.high.max(close),
        low: truth.low.min(close),
        close,
        ..truth
    };
    world.market.insert(revised.open_time, revised);
    world.close(revised);
    world.answer_all();
    let now = world.last_result().recommendation.unwrap();
    assert_ne!(now, first);
    let [correction] = &world.corrections[..] else {
        panic!("{:?}", world.corrections)
    };
    assert_eq!(
        (correction.previous, correction.recommendation),
        (first, now)
    );
}
