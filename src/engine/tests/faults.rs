//! The commit rule under what an exchange does to candles: each test is named by its hazard and fails when the rule it
//! speaks of is switched off (docs/feed.md says how that was tried).

use super::world::{CloseEvent, MINUTE, START, World, candle, key};
use crate::engine::{CLOSE_DELAY_BUCKETS_MS, Event, FetchJob, Urgency};
use crate::exchange::FeedEvent;
use crate::market::{Candle, HISTORY_MAX, SeriesStatus};
use crate::signal::{SignalChange, Source};

/// A world whose exchange has confirmed that it has no candle of `missing`.
fn bridged(missing: std::ops::Range<i64>) -> World {
    let mut world = World::live_with(
        (0..START + 2_000)
            .filter(|minute| !missing.contains(minute))
            .map(candle),
    );
    while world.minute() <= missing.end {
        world.next_minute(CloseEvent::Comes);
    }
    world.see_the_hole();
    world.wait_ms(60_500);
    world.answer_all();
    assert_eq!(world.status(), SeriesStatus::Live);
    let holes = u32::try_from(missing.end - missing.start).unwrap();
    assert_eq!(world.last_result().holes, holes);
    world
}

fn pass_minutes(world: &mut World, minutes: usize) {
    for _ in 0..minutes {
        world.next_minute(CloseEvent::Comes);
        world.answer_all();
    }
}

#[test]
fn h22_a_row_that_comes_late_for_a_bridged_hole_is_taken_in_recomputed_and_corrected() {
    let missing = START + 20..START + 23;
    let mut world = bridged(missing.clone());
    pass_minutes(&mut world, 40);
    world.answer_audits();
    for minute in missing {
        world
            .market
            .insert(candle(minute).open_time, candle(minute));
    }
    pass_minutes(&mut world, 6);
    world.answer_audits(); // the sweep reads the newest 98 candles
    assert_eq!(world.last_result().holes, 0);
    assert_eq!(world.stands(), world.expected());
    let audit = world.engine.info().audit;
    assert_eq!((audit.added, audit.replaced, audit.lacking), (3, 0, 0));
    pass_minutes(&mut world, 200);
    assert_eq!(world.stands(), world.expected(), "averages forget nothing");
    let series = world.engine.watched[&key()].series();
    let opens: Vec<_> = series.history().iter().map(|c| c.open_time.ms()).collect();
    assert!(opens.windows(2).all(|pair| pair[1] - pair[0] == MINUTE));
}

#[test]
fn h22_h17_a_late_row_the_stream_brings_is_believed_once_rest_has_it() {
    let missing = START + 20..START + 23;
    let mut world = bridged(missing);
    let late = candle(START + 21);
    world.close(late);
    world.answer_all(); // REST still has none
    assert_eq!(world.last_result().holes, 3);
    world.market.insert(late.open_time, late);
    world.wait_ms(61_000);
    world.answer_all();
    assert_eq!(world.last_result().holes, 2);
    pass_minutes(&mut world, 150);
    assert_eq!(world.stands(), world.expected());
}

#[test]
fn h22_an_answer_without_a_candle_behind_the_hole_is_no_sight_of_it() {
    let missing = START + 20..START + 23;
    let market = (0..START + 600).filter(|minute| !missing.contains(minute));
    let mut world = World::live_with(market.map(candle));
    while world.minute() <= missing.end {
        world.next_minute(CloseEvent::Comes);
    }
    // REST has not come so far: neither the hole nor what lies behind it.
    world.lag_ms = 10 * MINUTE;
    for _ in 0..26 {
        world.wait_ms(2_500);
        world.answer_all();
    }
    world.lag_ms = 0;
    while world.asked.is_empty() {
        world.wait_ms(500);
    }
    world.answer_all();
    assert_eq!(
        world.status(),
        SeriesStatus::Dirty,
        "now it is seen, for the first time"
    );
    world.wait_ms(60_500);
    world.answer_all();
    assert_eq!(world.last_result().holes, 3);
}

#[test]
fn h05_pages_of_an_outage_follow_at_once_though_closes_wait_behind_it() {
    let mut world = World::live_with((0..START + 4_000).map(candle));
    world.down(1);
    let gap = 1_300 * MINUTE;
    world.now.exchange = world.now.exchange.plus_ms(gap);
    world.now.mono = world.now.mono.plus_ms(gap.unsigned_abs());
    world.up(2);
    world.next_minute(CloseEvent::Comes);
    world.answer_all(); // while anything is asked, in no time at all
    world.wait_ms(2_500);
    world.answer_all();
    assert_eq!(world.status(), SeriesStatus::Live);
    assert_eq!(world.told(), world.expected());
}

#[test]
fn h18_another_version_of_a_waiting_close_is_decided_by_rest_once_the_hole_is_closed() {
    let mut world = World::live();
    pass_minutes(&mut world, 40);
    world.next_minute(CloseEvent::Lost);
    let minute = world.minute();
    let truth = Candle {
        high: 190.0,
        close: 180.0,
        ..candle(minute)
    };
    world.next_minute(CloseEvent::Comes); // waits, and is not what REST will say
    world.market.insert(truth.open_time, truth);
    world.close(truth);
    let lost = candle(minute - 1).open_time;
    let job = world.asked.pop();
    if let Some(job) = job {
        world.answer(job.request, vec![]);
    }
    world.close(candle(minute - 1)); // the stream fills the hole
    let series = world.engine.watched[&key()].series();
    assert!(series.hole().is_none() && series.history().iter().any(|c| c.open_time == lost));
    world.wait_ms(4_000);
    world.answer_all();
    assert_eq!(world.engine.info().corrections, 1);
    assert_eq!(world.stands(), world.expected());
}

#[test]
fn h19_revisions_of_one_answer_are_computed_forward_and_corrected_together() {
    let mut world = World::live();
    pass_minutes(&mut world, 120);
    let minute = world.minute();
    for back in [20, 40, 60] {
        let revised = Candle {
            high: 190.0,
            close: 180.0,
            ..candle(minute - back)
        };
        world.market.insert(revised.open_time, revised);
    }
    world.apply(Event::Refresh(key()));
    world.answer_all();
    assert_eq!(world.engine.info().corrections, 3);
    let [correction] = &world.corrections[..] else {
        panic!("{:?}", world.corrections)
    };
    assert_eq!(
        correction.candle_open_time,
        candle(minute - 60).open_time,
        "the first of them"
    );
    assert_eq!(world.stands(), world.expected());
    pass_minutes(&mut world, 200);
    assert_eq!(world.stands(), world.expected());
}

#[test]
fn h04_a_close_counts_as_missing_by_the_exchanges_clock_however_wrong_ours_may_be() {
    let mut world = World::live();
    world.now.error_ms = 20_000;
    world.next_minute(CloseEvent::Lost);
    world.wait_ms(49_500);
    assert_eq!(world.engine.info().late_closes, 0);
    world.wait_ms(1_000);
    assert_eq!(world.engine.info().late_closes, 1);
}

#[test]
fn h04_slow_streams_put_off_neither_the_read_of_a_close_nor_the_word_that_it_is_missing() {
    let mut world = World::live();
    world.now.doubt_ms = 20_000; // every stamp is so old on arrival
    for _ in 0..60 {
        world.next_minute(CloseEvent::Lost);
        world.wait_ms(2_500);
        assert_eq!(world.asked.len(), 1, "T + 2 s, as ever");
        world.answer_all();
        assert_eq!(world.status(), SeriesStatus::Live);
    }
    assert_eq!(world.told(), world.expected());
    let in_time = |source| source == Source::Rest;
    assert!(world.changes.iter().all(|change| in_time(change.source)));
    // REST is away as well.
    world.next_minute(CloseEvent::Lost);
    world.wait_ms(29_500);
    assert_eq!(world.status(), SeriesStatus::Live);
    world.wait_ms(1_000);
    assert_eq!(world.status(), SeriesStatus::Dirty);
    assert_eq!(world.engine.info().late_closes, 1);
}

#[test]
fn h29_where_rest_agrees_with_the_streams_against_the_clock_a_series_stays_live_and_asks_rarely() {
    let mut world = World::live();
    let (minute, ahead_ms) = (world.minute(), 60 * MINUTE);
    world.now.exchange = world.now.exchange.plus_ms(ahead_ms + 50_000);
    world.now.mono = world.now.mono.plus_ms(50_000);
    (world.now.doubt_ms, world.lag_ms) = (ahead_ms, ahead_ms);
    world.apply(Event::Tick);
    let mut asked = world.asked.clone();
    world.answer_all(); // until then nobody knows who is right
    for closed in minute..minute + 40 {
        world.close(candle(closed)); // by the exchange's true time
        for _ in 0..24 {
            asked.append(&mut world.asked.clone());
            world.answer_all();
            world.wait_ms(2_500);
            assert_eq!(world.status(), SeriesStatus::Live, "{closed}");
        }
    }
    assert_eq!(world.told(), world.expected());
    assert!(asked.len() < 60, "{} reads in 40 minutes", asked.len());
    let spares = |job: &FetchJob| job.urgency > Urgency::Repair;
    assert!(asked[1..].iter().all(spares), "they leave room for others");
    // The clock is right again, and so is all else.
    world.now.exchange = world.now.exchange.plus_ms(-ahead_ms);
    (world.now.doubt_ms, world.lag_ms) = (0, 0);
    world.answer_all();
    for _ in 0..3 {
        world.next_minute(CloseEvent::Lost);
        world.wait_ms(2_500);
        world.answer_all();
    }
    assert_eq!(world.told(), world.expected());
}

#[test]
fn h22_a_clock_that_jumps_between_two_looks_at_a_hole_neither_hastens_nor_delays_the_second() {
    let missing = START + 20..START + 23;
    let market = (0..START + 2_000).filter(|minute| !missing.contains(minute));
    for (at_first_min, then_min) in [(60, 0), (0, 60)] {
        let mut world = World::live_with(market.clone().map(candle));
        while world.minute() <= missing.end {
            world.next_minute(CloseEvent::Comes);
        }
        let jump = |world: &mut World, by_min: i64| {
            world.now.exchange = world.now.exchange.plus_ms(by_min * MINUTE);
            world.lag_ms += by_min * MINUTE; // its candles close by its true time
        };
        jump(&mut world, at_first_min);
        world.see_the_hole();
        jump(&mut world, then_min - at_first_min);
        world.wait_ms(45_000);
        world.answer_all();
        let series = |world: &World| world.engine.watched[&key()].series().clone();
        assert!(series(&world).hole().is_some(), "{then_min}");
        world.wait_ms(15_500);
        world.answer_all();
        assert_eq!(series(&world).bridged(), 3, "{then_min}");
    }
}

#[test]
fn h19_a_candle_rest_never_has_holds_up_no_other_dispute_and_is_let_go_with_its_time() {
    let mut world = bridged(START + 20..START + 23);
    pass_minutes(&mut world, 120);
    world.close(candle(START + 21)); // REST never has it
    world.answer_all();
    let revised = Candle {
        high: 200.0,
        close: 180.0,
        ..candle(world.minute() - 3)
    };
    world.market.insert(revised.open_time, revised);
    world.close(revised);
    world.answer_all();
    assert_eq!(world.engine.info().corrections, 1);
    assert_eq!(world.stands(), world.expected());
    let before = world.requests;
    pass_minutes(&mut world, 5);
    assert!(
        world.requests - before >= 4,
        "it is asked for once a minute"
    );
    pass_minutes(&mut world, HISTORY_MAX);
    let before = world.requests;
    pass_minutes(&mut world, 5);
    assert_eq!(world.requests, before, "older than all that is kept");
}

#[test]
fn h19_many_disputes_are_decided_in_one_read_and_told_as_one_correction() {
    let mut world = World::live();
    pass_minutes(&mut world, 120);
    let minute = world.minute();
    for back in [20, 40, 60] {
        let revised = Candle {
            high: 190.0,
            close: 180.0,
            ..candle(minute - back)
        };
        world.market.insert(revised.open_time, revised);
        world.close(revised);
    }
    let before = world.requests;
    world.answer_all();
    assert_eq!(world.engine.info().corrections, 3);
    assert!(world.requests - before <= 1);
    assert_eq!(world.corrections.len(), 1);
    assert_eq!(world.stands(), world.expected());
}

#[test]
fn h10_of_a_mute_series_no_open_candle_is_shown_until_it_is_heard_again() {
    let mut world = World::live();
    world.open(candle(world.minute()));
    assert!(world.last_result().live.is_some());
    let said = world.results.len();
    world.apply(Event::Feed(FeedEvent::Mute { key: key() }));
    assert_eq!(world.results.len(), said + 1, "readers are told");
    assert_eq!(world.last_result().live, None);
    assert_eq!(world.last_result().status, SeriesStatus::Live);
    let shown = |world: &World| world.engine.chart(&key(), 9).unwrap().candles;
    assert!(shown(&world).iter().all(|row| row.closed));
    world.wait_ms(20_000);
    assert_eq!(world.last_result().live, None);
    world.next_minute(CloseEvent::Lost);
    world.wait_ms(2_500);
    world.answer_all(); // its closes come from REST meanwhile
    assert_eq!(world.last_result().live, None);
    assert_eq!(world.status(), SeriesStatus::Live);
    world.apply(Event::Feed(FeedEvent::Heard { key: key() }));
    world.open(candle(world.minute()));
    assert!(world.last_result().live.is_some());
    assert_eq!(world.told(), world.expected());
}

#[test]
fn a_hole_between_the_past_and_what_waited_behind_it_counts_as_opened() {
    let mut world = World::new((0..START + 600).map(candle));
    world.up(1);
    let first = world.asked.remove(0).request;
    let rows = world.rows(&first);
    world.next_minute(CloseEvent::Lost);
    world.next_minute(CloseEvent::Comes);
    world.answer(first, rows);
    let holes = |world: &World| {
        let info = world.engine.info();
        (info.holes_opened, info.holes_closed)
    };
    assert_eq!(holes(&world), (1, 0));
    world.wait_ms(2_500);
    world.answer_all();
    assert_eq!(
        (holes(&world), world.status()),
        ((1, 1), SeriesStatus::Live)
    );
}

#[test]
fn h20_in_a_hole_nothing_is_invented() {
    let mut world = bridged(START + 20..START + 23);
    pass_minutes(&mut world, 20);
    let chart = world.engine.chart(&key(), 200).unwrap();
    for row in chart.candles.iter().filter(|row| row.closed) {
        assert!(world.market.contains_key(&row.open_time), "{row:?}");
    }
}

#[test]
fn h03_time_alone_makes_no_close_and_only_has_rest_asked() {
    let mut world = World::live();
    world.open(candle(world.minute()));
    let known = *world.engine.watched[&key()].series().last().unwrap();
    world.wait_ms(10 * MINUTE);
    let last = *world.engine.watched[&key()].series().last().unwrap();
    assert_eq!(last, known, "ten minutes without a word of the exchange");
    assert_eq!(world.asked.len(), 1);
    assert_eq!(world.status(), SeriesStatus::Dirty);
    world.answer_all();
    assert_eq!(world.status(), SeriesStatus::Live);
    assert_eq!(world.told(), world.expected());
}

#[test]
fn h04_a_close_that_comes_from_nowhere_raises_one_alarm_half_a_minute_after_it() {
    let mut world = World::live();
    world.next_minute(CloseEvent::Lost);
    world.wait_ms(29_500);
    assert_eq!(world.engine.info().late_closes, 0);
    world.wait_ms(1_000);
    let info = world.engine.info();
    assert_eq!((info.late_closes, world.status()), (1, SeriesStatus::Dirty));
    world.wait_ms(20_000);
    let info = world.engine.info();
    assert_eq!(info.late_closes, 1, "once of each candle");
    assert!((19_000..22_000).contains(&info.dirty_ms), "{info:?}");
    world.answer_all();
    assert_eq!(world.status(), SeriesStatus::Live);
}

#[test]
fn h16_a_close_sent_twice_is_counted_and_changes_nothing() {
    let mut world = World::live();
    for _ in 0..150 {
        let minute = world.minute();
        world.next_minute(CloseEvent::Comes);
        let said = world.writes;
        world.close(candle(minute));
        assert_eq!(world.writes, said);
    }
    assert_eq!(world.told(), world.expected());
    assert_eq!(world.engine.info().duplicates, 150);
}

#[test]
fn h34_a_close_the_queue_could_not_hold_is_read_from_rest() {
    let mut world = World::live();
    for _ in 0..100 {
        world.next_minute(CloseEvent::Lost);
        world.apply(Event::Feed(FeedEvent::Refused { key: key() }));
        world.wait_ms(2_500);
        world.answer_all();
    }
    assert_eq!(world.told(), world.expected());
    assert_eq!(world.engine.info().closes_from_rest, 100);
}

#[test]
fn h05_an_outage_of_many_pages_is_filled_one_page_at_a_time_and_nothing_is_lost() {
    let mut world = World::live_with((0..START + 4_000).map(candle));
    world.down(1);
    let gap = 1_400 * MINUTE;
    world.now.exchange = world.now.exchange.plus_ms(gap);
    world.now.mono = world.now.mono.plus_ms(gap.unsigned_abs());
    world.up(2);
    let mut limits = Vec::new();
    while let Some(job) = world.asked.pop() {
        assert_eq!(world.asked, [], "one page at a time");
        limits.push(job.request.limit);
        let rows = world.rows(&job.request);
        world.answer(job.request, rows);
    }
    assert_eq!(limits, [498, 498, 404]);
    assert_eq!(world.status(), SeriesStatus::Live);
    assert_eq!(world.told(), world.expected());
    assert!(world.changes.len() > 10);
    let late = |source| source == Source::CatchUp;
    assert!(world.changes.iter().all(|change| late(change.source)));
}

#[test]
fn h05_an_outage_longer_than_what_is_kept_warms_up_anew_back_to_what_was_told() {
    let mut world = World::live_with((0..START + 9_000).map(candle));
    world.open(candle(world.minute()));
    world.down(1);
    let gap = (HISTORY_MAX as i64 + 500) * MINUTE;
    world.now.exchange = world.now.exchange.plus_ms(gap);
    world.now.mono = world.now.mono.plus_ms(gap.unsigned_abs());
    let before = world.requests;
    world.up(2);
    assert_eq!(world.status(), SeriesStatus::Warming);
    assert_eq!(world.last_result().status, SeriesStatus::Warming);
    assert_eq!(
        world.last_result().price,
        None,
        "what it said is out of date"
    );
    world.answer_all();
    assert_eq!(world.status(), SeriesStatus::Live);
    assert_eq!(
        world.requests - before,
        5,
        "pages of 499, back to a cross before what was told"
    );
    for _ in 0..150 {
        world.next_minute(CloseEvent::Comes);
    }
    assert_eq!(world.told(), world.expected());
    assert!(world.changes.len() > 30, "{}", world.changes.len());
    let caught_up = |change: &&SignalChange| change.source == Source::CatchUp;
    assert!(world.changes.iter().filter(caught_up).count() > 25);
    assert_eq!(world.corrections.len(), 0);
}

#[test]
fn h29_an_exchange_clock_stepped_either_way_closes_nothing_early_and_nothing_twice() {
    let mut world = World::live();
    for step_min in [-90, 90, -7, 7] {
        for _ in 0..30 {
            world.next_minute(CloseEvent::Comes);
            world.answer_all();
        }
        let forming = candle(world.minute());
        world.open(forming);
        world.now.exchange = world.now.exchange.plus_ms(step_min * MINUTE);
        if step_min > 0 {
            // The streams contradict it, and so it is in doubt by as much; its candles close by its true time.
            world.now.doubt_ms = step_min * MINUTE;
            world.lag_ms = step_min * MINUTE;
        }
        world.apply(Event::Tick);
        for _ in 0..10 {
            world.answer_all();
            world.wait_ms(500);
        }
        let last = world.engine.watched[&key()].series().last().unwrap();
        assert!(last.open_time < forming.open_time);
        world.now.exchange = world.now.exchange.plus_ms(-step_min * MINUTE);
        (world.now.doubt_ms, world.lag_ms) = (0, 0);
        world.asked.clear();
        world.apply(Event::Tick);
    }
    pass_minutes(&mut world, 30);
    let opens: Vec<_> = world.engine.watched[&key()]
        .series()
        .history()
        .iter()
        .map(|candle| candle.open_time)
        .collect();
    assert!(opens.is_sorted_by(|a, b| a < b));
    assert_eq!(world.stands(), world.expected());
    assert_eq!(world.corrections.len(), 0);
}

#[test]
fn h29_a_series_whose_streams_run_ahead_of_the_exchanges_clock_is_not_called_live() {
    let mut world = World::live();
    let minute = world.minute();
    world.now.exchange = world.now.exchange.plus_ms(-30 * MINUTE);
    for tick in 0..7 {
        world.open(Candle {
            volume: f64::from(tick),
            ..candle(minute)
        });
    }
    assert_eq!(world.status(), SeriesStatus::Live, "a slip or two");
    world.close(candle(minute));
    world.apply(Event::Tick);
    assert_eq!(world.status(), SeriesStatus::Dirty);
    assert_eq!(world.engine.info().refused.early, 8);
    world.now.exchange = world.now.exchange.plus_ms(30 * MINUTE);
    world.next_minute(CloseEvent::Comes);
    assert_eq!(world.status(), SeriesStatus::Live);
    assert_eq!(world.told(), world.expected());
}

#[test]
fn closes_are_counted_by_how_long_after_their_time_they_came() {
    let mut world = World::live();
    let before = world.engine.info().close_delays;
    world.next_minute(CloseEvent::Comes); // 100 ms after it
    world.next_minute(CloseEvent::Lost);
    world.wait_ms(2_500);
    world.answer_all();
    let delays = world.engine.info().close_delays;
    let bucket = |end_ms| {
        let at = CLOSE_DELAY_BUCKETS_MS.iter().position(|end| *end == end_ms);
        delays.counts[at.unwrap()] - before.counts[at.unwrap()]
    };
    assert_eq!((bucket(250), bucket(5_000)), (1, 1));
    assert!(delays.sum_ms - before.sum_ms > 2_000);
}
