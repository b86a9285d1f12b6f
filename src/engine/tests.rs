//! The engine against a made-up exchange: events in, effects out, no clock and no socket.
//! What readers are told must equal what the indicator says of the true candles, whatever happened on the way.

mod audit;
mod faults;
mod repair;
mod storm;
mod sweep;
mod turns;
mod universe;
mod voice;
mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use self::world::{CloseEvent, MINUTE, ORIGIN_MS, START, World, candle, key};
use crate::engine::Event;
use crate::exchange::Proof;
use crate::market::{Candle, Interval, SeriesKey, SeriesStatus, Symbol};
use crate::signal::{History, Recommendation, Source};
use crate::store::Occasion;

#[test]
fn the_first_live_result_tells_no_change_and_every_change_after_it_is_told_once() {
    let mut world = World::live();
    assert_eq!(
        world
            .results
            .iter()
            .filter(|(_, occasion)| *occasion == Occasion::FirstLive)
            .count(),
        1
    );
    assert_eq!(
        (world.last_result().history, world.changes.len()),
        (Some(History::Full), 0)
    );
    for _ in 0..400 {
        world.next_minute(CloseEvent::Comes);
    }
    assert_eq!(world.told(), world.expected());
    let kinds: BTreeSet<_> = world
        .changes
        .iter()
        .map(|change| change.recommendation)
        .collect();
    assert_eq!(kinds.len(), 3, "BUY, SELL and HOLD all come up");
    assert!(
        world
            .changes
            .iter()
            .all(|change| change.source == Source::Stream)
    );
    assert_eq!(
        world.asked,
        vec![],
        "nothing is read while every close comes"
    );
}

#[test]
fn h04_a_close_that_never_comes_is_read_from_rest_after_its_deadline() {
    let mut world = World::live();
    for _ in 0..200 {
        world.next_minute(CloseEvent::Lost);
        world.wait_ms(1_500);
        assert_eq!(world.asked, vec![], "T + 2 s has not passed");
        world.wait_ms(1_000);
        assert_eq!((world.asked.len(), world.asked[0].request.weight()), (1, 1));
        assert_eq!(world.asked[0].request.proof, Proof::NextCandle);
        world.answer_all();
    }
    assert_eq!(world.told(), world.expected());
    assert!(
        !world.changes.is_empty()
            && world
                .changes
                .iter()
                .all(|change| change.source == Source::Rest)
    );
}

#[test]
fn h09_a_connection_given_up_for_its_silence_is_stale_at_once() {
    let mut world = World::live();
    world.now.mono = world.now.mono.plus_ms(60_000);
    world.down_after_silence(1, Duration::from_secs(30));
    assert_eq!(world.status(), SeriesStatus::Stale);
    assert_eq!(
        world.last_result().status,
        SeriesStatus::Stale,
        "and readers know"
    );
}

#[test]
fn h05_closes_lost_in_a_reconnect_come_from_rest_once_and_in_order() {
    let mut world = World::live();
    world.down(1);
    world.wait_ms(4_500);
    assert_eq!(world.status(), SeriesStatus::Live, "a hiccup");
    world.wait_ms(1_000);
    assert_eq!(world.status(), SeriesStatus::Stale);
    for _ in 0..300 {
        world.next_minute(CloseEvent::Lost);
    }
    assert_eq!(
        (world.told(), world.asked.len()),
        (vec![], 0),
        "nothing is said or read while it is down"
    );
    world.up(2);
    assert_eq!(world.status(), SeriesStatus::Dirty);
    world.answer_all();
    world.next_minute(CloseEvent::Comes);
    world.answer_all();
    assert_eq!(world.status(), SeriesStatus::Live);
    assert_eq!(world.told(), world.expected());
    assert!(world.changes.len() > 2, "{}", world.changes.len());
    let found_late = world
        .changes
        .iter()
        .filter(|change| change.source == Source::CatchUp)
        .count();
    assert!(
        found_late + 1 >= world.changes.len(),
        "all but the newest are told as caught up"
    );
}

/// Two contracts on a connection each; one of the two connections is lost for five minutes.
#[test]
fn h06_a_reconnect_has_its_own_series_repaired_and_no_others_read() {
    let mut world = World::live();
    let lost = SeriesKey::new(Symbol::parse("ETHUSDT").unwrap(), Interval::M1);
    let both = BTreeSet::from([key().symbol, lost.symbol.clone()]);
    world.apply(Event::Universe(both));
    world.up_with(2, &lost);
    world.answer_all();
    let lives = |world: &World| {
        [&key(), &lost].map(|key| world.engine.watched[key].status() == SeriesStatus::Live)
    };
    assert_eq!(lives(&world), [true, true]);
    world.down(2);
    for _ in 0..5 {
        world.next_minute(CloseEvent::Comes);
    }
    assert_eq!(lives(&world), [true, false]);
    world.wait_ms(5_000);
    assert_eq!(world.asked, vec![], "nothing is read while it is down");
    world.up_with(3, &lost);
    let read: Vec<_> = world.asked.iter().map(|job| &job.request.key).collect();
    assert_eq!(read, [&lost], "what it missed, once, and nothing else");
    world.answer_all();
    assert_eq!(lives(&world), [true, true]);
    let newest = |key: &SeriesKey| world.engine.watched[key].series().last().copied();
    assert_eq!(newest(&lost), newest(&key()));
    world.down(3);
    world.up_with(4, &lost);
    assert_eq!(world.asked, vec![], "nothing was missed");
    assert_eq!(lives(&world), [true, true]);
}

#[test]
fn h05_a_signal_waits_while_the_hole_before_it_is_open() {
    let mut world = World::live();
    world.next_minute(CloseEvent::Lost);
    for _ in 0..120 {
        world.next_minute(CloseEvent::Comes);
    }
    assert_eq!(
        (world.status(), world.told()),
        (SeriesStatus::Dirty, vec![])
    );
    world.answer_all();
    assert_eq!(
        (world.status(), world.told()),
        (SeriesStatus::Live, world.expected())
    );
    assert!(!world.changes.is_empty());
}

#[test]
fn h22_a_hole_counts_only_when_the_exchange_shows_it_twice_a_minute_apart() {
    let missing = START + 20..START + 23;
    let mut world = World::live_with(
        (0..START + 2_000)
            .filter(|minute| !missing.contains(minute))
            .map(candle),
    );
    while world.minute() <= missing.end {
        world.next_minute(CloseEvent::Comes);
    }
    assert_eq!(world.status(), SeriesStatus::Dirty);
    world.see_the_hole();
    world.wait_ms(50_000);
    assert_eq!(
        (world.status(), world.asked.len()),
        (SeriesStatus::Dirty, 0),
        "seen once is not enough"
    );
    world.wait_ms(10_500);
    world.answer_all();
    assert_eq!(world.status(), SeriesStatus::Live);
    for _ in 0..200 {
        world.next_minute(CloseEvent::Comes);
        world.answer_all();
    }
    assert_eq!(world.last_result().holes, 3);
    assert_eq!(world.told(), world.expected());
}

#[test]
fn h02_open_candle_flips_that_do_not_hold_never_become_changes() {
    let mut world = World::live();
    let mut flips = 0;
    for _ in 0..150 {
        let truth = candle(world.minute());
        let confirmed = world.last_result().recommendation;
        for factor in [0.6, 1.6, 1.0] {
            let close = truth.open * factor;
            let (high, low) = (truth.high.max(close), truth.low.min(close));
            world.open(Candle {
                close,
                high,
                low,
                ..truth
            });
            let result = world.last_result();
            assert_eq!(
                result.recommendation, confirmed,
                "the confirmed answer does not move"
            );
            flips += usize::from(result.live.unwrap().recommendation != confirmed);
        }
        world.next_minute(CloseEvent::Comes);
    }
    assert!(flips > 20, "the open candle flipped {flips} times");
    assert_eq!(world.told(), world.expected());
}

#[test]
fn h19_a_revised_candle_is_recomputed_forward_and_corrected_once() {
    let mut world = World::live();
    for _ in 0..120 {
        world.next_minute(CloseEvent::Comes);
    }
    let told = world.told();
    let (revised_at, _, _) = told[told.len() - 1];
    let minute = (revised_at.ms() + 1 - ORIGIN_MS) / MINUTE - 1;
    let spike = Candle {
        high: 200.0,
        close: 180.0,
        ..candle(minute - 3)
    };
    world.market.insert(spike.open_time, spike);
    world.close(spike); // the stream disputes it, REST decides
    world.wait_ms(500);
    world.answer_all();
    assert_eq!(world.corrections.len(), 1);
    let correction = &world.corrections[0];
    let mut stands = told;
    stands.retain(|(close, ..)| !correction.corrects.contains(close));
    stands.extend(correction.stands.iter().map(|stand| {
        (
            stand.candle_close_time,
            stand.previous,
            stand.recommendation,
        )
    }));
    stands.sort_by_key(|(close, ..)| *close);
    assert_eq!(
        stands,
        world.expected(),
        "what was told, less what is taken back, plus what stands instead"
    );
    assert_eq!(
        (correction.revision, Some(correction.recommendation)),
        (1, world.last_result().recommendation)
    );
    world.close(spike);
    world.wait_ms(500);
    world.answer_all();
    assert_eq!(
        world.corrections.len(),
        1,
        "the same revision again is no news"
    );
}

#[test]
fn where_no_cross_is_found_older_history_is_read_until_one_is() {
    let flat_at = |minute: i64, close: f64| {
        let open_time = candle(minute).open_time;
        Candle {
            open_time,
            open: close,
            high: close,
            low: close,
            close,
            volume: 1.0,
        }
    };
    let bottom = -1_900; // the last turn lies 2,500 candles before the start
    let turned = (-3_000..START + 10)
        .map(|minute| flat_at(minute, 1_000.0 + 0.5 * (minute - bottom).abs() as f64));
    let world = World::live_with(turned);
    let result = world.last_result();
    assert_eq!(result.recommendation, Some(Recommendation::Buy));
    assert_eq!(result.history, Some(History::Full));
    let rising = (-6_000..START + 10).map(|minute| flat_at(minute, 10_000.0 + 0.5 * minute as f64));
    let capped = World::live_with(rising);
    let result = capped.last_result();
    assert_eq!(
        (result.recommendation, result.last_cross_direction),
        (Some(Recommendation::Hold), 0)
    );
    assert_eq!(result.history, Some(History::Capped));
}

#[test]
fn h25_a_young_contract_is_live_from_100_candles_on() {
    let mut world = World::new((START - 98..START + 600).map(candle));
    world.up(1);
    world.answer_all();
    assert_eq!(world.status(), SeriesStatus::Warming, "98 candles");
    world.next_minute(CloseEvent::Comes);
    assert_eq!(world.status(), SeriesStatus::Warming, "99 candles");
    world.next_minute(CloseEvent::Comes);
    assert_eq!(
        (world.status(), world.last_result().history),
        (SeriesStatus::Live, Some(History::Young))
    );
    assert_eq!(world.last_result().bollinger, None);
    for _ in 0..399 {
        world.next_minute(CloseEvent::Comes);
    }
    assert_eq!(world.last_result().history, Some(History::Full));
    assert_eq!(
        world.asked,
        vec![],
        "the beginning was seen: nothing is read again"
    );
}

/// Whatever is lost, doubled, late or cut on the way: the record equals that of an undisturbed run.
#[test]
fn under_seeded_random_transport_faults_the_record_is_that_of_an_undisturbed_run() {
    for seed in 0..20 {
        let mut dice = fastrand::Rng::with_seed(seed);
        let mut world = World::live();
        let mut connection = 1;
        for _ in 0..400 {
            let minute = world.minute();
            match dice.u32(..20) {
                0 => world.down(connection),
                1 => {
                    connection += 1;
                    world.up(connection);
                }
                2 => world.close(candle(minute - dice.i64(1..30))), // an old close again
                3 => world.open(candle(minute)),
                _ => {}
            }
            let lost = dice.u32(..5) == 0 || world.engine.watched[&key()].connection().is_none();
            world.next_minute(if lost {
                CloseEvent::Lost
            } else {
                CloseEvent::Comes
            });
            if dice.u32(..3) == 0 {
                world.wait_ms(dice.i64(1..8) * 1_000);
                world.answer_all();
            }
        }
        world.up(connection + 1);
        for _ in 0..3 {
            world.wait_ms(5_000);
            world.answer_all();
        }
        assert_eq!(world.status(), SeriesStatus::Live, "seed {seed}");
        assert_eq!(world.told(), world.expected(), "seed {seed}");
        assert_eq!(world.corrections.len(), 0, "seed {seed}");
    }
}
