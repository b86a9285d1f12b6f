//! Stop and start, silence and the word: what is said, and as what.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::world::{CloseEvent, START, World, candle, changes_of, key};
use crate::engine::{Beginning, EngineSettings, Event, Operation, TechnicalFigures, WatchList};
use crate::market::{Candle, Interval, SeriesStatus, Symbol};
use crate::signal::{Recommendation, Source, Stand, Technical};
use crate::store::{Base, Occasion, Told, ToldOfAll, Voice, Write};

fn speaking(turn: u64, told: ToldOfAll) -> Event {
    let told = Arc::new(told);
    Event::Voice(Voice::Speaking {
        turn,
        told,
        scheduler: None,
    })
}

/// What an undisturbed run has told up to now, of which readers know all up to `lag` changes.
fn told(world: &World, lag: usize) -> Told {
    told_since(world, START - 1, lag)
}

/// The same of a run that has been live since an earlier minute.
fn told_since(world: &World, first: i64, lag: usize) -> Told {
    let close = |minute| Interval::M1.close_time(candle(minute).open_time);
    let candles: Vec<_> = world
        .market
        .range(..candle(world.minute()).open_time)
        .map(|(_, candle)| *candle)
        .collect();
    let mut changes = changes_of(&candles, close(first));
    changes.truncate(changes.len() - lag);
    let stands: Vec<_> = changes
        .iter()
        .map(|(close, previous, now)| Stand {
            candle_close_time: *close,
            recommendation: *now,
            previous: *previous,
        })
        .collect();
    let last = stands.last().unwrap();
    Told {
        base: Base {
            close_time: last.candle_close_time,
            recommendation: last.recommendation,
        },
        stands,
        revisions: BTreeMap::new(),
    }
}

fn minutes(world: &mut World, count: usize) {
    for _ in 0..count {
        world.next_minute(CloseEvent::Comes);
        world.answer_audits();
    }
}

#[test]
fn a_stop_is_told_once_then_nothing_leaves_and_a_start_tells_what_was_missed_as_caught_up() {
    let mut world = World::live();
    minutes(&mut world, 100);
    world.statuses.clear();
    world.apply(Event::Stop);
    world.apply(Event::Stop);
    assert_eq!(world.last_result().status, SeriesStatus::Stopped);
    assert_eq!(world.results.last().unwrap().1, Occasion::Status);
    let (results, changes) = (world.results.len(), world.changes.len());
    minutes(&mut world, 600);
    assert_eq!(
        (world.results.len(), world.changes.len()),
        (results, changes)
    );
    assert!(world.statuses.len() >= 600, "told on, each second");
    for status in &world.statuses {
        assert_eq!((status.series.stopped, status.series.live), (1, 0));
    }
    world.apply(Event::Start(None));
    world.apply(Event::Start(None));
    assert_eq!(world.told(), world.expected());
    let missed = &world.changes[changes..];
    assert!(missed.len() > 2);
    assert!(missed.iter().all(|change| change.source == Source::CatchUp));
    assert_eq!(world.results.len(), results + 1);
    assert_eq!(world.last_result().status, SeriesStatus::Live);
    minutes(&mut world, 600);
    assert_eq!(world.told(), world.expected());
    assert_eq!(world.changes.last().unwrap().source, Source::Stream);
}

#[test]
fn a_change_that_closed_a_moment_before_the_start_is_still_one_that_was_missed() {
    let mut world = World::live();
    world.apply(Event::Stop);
    let mut missed = 0;
    while missed == 0 {
        minutes(&mut world, 1);
        missed = world.expected().len();
    }
    world.apply(Event::Start(None));
    assert_eq!(world.changes.len(), 1);
    assert_eq!(world.changes[0].source, Source::CatchUp);
}

#[test]
fn what_is_revised_during_a_stop_is_told_as_it_now_stands() {
    let mut world = World::live();
    minutes(&mut world, 30);
    world.apply(Event::Stop);
    minutes(&mut world, 60);
    let truth = candle(world.minute() - 40);
    let revised = Candle {
        high: truth.high * 3.0,
        close: truth.close * 3.0,
        ..truth
    };
    world.market.insert(revised.open_time, revised);
    world.close(revised);
    world.wait_ms(3_000);
    world.answer_all();
    minutes(&mut world, 60);
    assert!(world.requests < 20, "{} reads", world.requests);
    world.apply(Event::Start(None));
    assert_eq!(world.told(), world.expected());
    assert_eq!(world.corrections, [], "nobody was told of what was revised");
}

#[test]
fn an_engine_that_waits_for_the_operator_follows_and_says_so() {
    let settings = EngineSettings {
        operation: Operation::Stopped,
        ..EngineSettings::new(WatchList::Top(1), vec![Interval::M1])
    };
    let mut world = World::of(&settings, (0..START + 600).map(candle));
    world.up(1);
    world.answer_all();
    assert_eq!(world.last_result().status, SeriesStatus::Stopped);
    assert_eq!(world.results.len(), 1);
    assert!(world.audits.is_empty());
    minutes(&mut world, 3);
    world.apply(Event::Start(None));
    assert_eq!(world.results.last().unwrap().1, Occasion::FirstLive);
    assert_eq!(world.changes, []);
    assert_eq!(world.audits.len(), 1, "the sweep begins at once");
}

fn standby() -> World {
    let settings = EngineSettings {
        beginning: Beginning::Silent,
        ..EngineSettings::new(WatchList::Top(1), vec![Interval::M1])
    };
    let mut world = World::of(&settings, (0..START + 2_000).map(candle));
    world.up(1);
    world.answer_all();
    minutes(&mut world, 900);
    assert_eq!(world.writes, 0, "a standby says nothing at all");
    assert_eq!(world.status(), SeriesStatus::Live);
    world
}

#[test]
fn a_standby_given_the_word_tells_exactly_what_readers_do_not_know() {
    for lag in 0..4 {
        let mut world = standby();
        let known = told(&world, lag);
        let before = known.stands.len();
        world.apply(speaking(7, ToldOfAll::from([(key(), known.clone())])));
        assert_eq!(world.first_write, Some(Write::Turn(7)));
        assert_eq!(world.told(), world.expected()[before..]);
        assert_eq!(world.changes.len(), lag);
        assert_eq!(world.results.len(), 1);
        assert_eq!(world.results[0].1, Occasion::Status);
        minutes(&mut world, 600);
        assert_eq!(world.told(), world.expected()[before..]);
        assert_eq!(world.corrections, []);
    }
}

#[test]
fn the_newest_candles_change_keeps_its_source_at_a_takeover() {
    let mut world = standby();
    let before = world.expected().len();
    while world.expected().len() == before {
        minutes(&mut world, 1);
    }
    let known = told(&world, 1);
    world.apply(speaking(1, ToldOfAll::from([(key(), known)])));
    let sources: Vec<_> = world.changes.iter().map(|change| change.source).collect();
    assert_eq!(sources, [Source::Stream]);
}

#[test]
fn what_closed_long_before_a_takeover_is_told_as_caught_up() {
    for (waited_ms, source) in [(5_000, Source::Stream), (30_000, Source::CatchUp)] {
        let mut world = standby();
        let before = world.expected().len();
        while world.expected().len() == before {
            minutes(&mut world, 1);
        }
        let known = told(&world, 1);
        world.wait_ms(waited_ms);
        world.apply(speaking(1, ToldOfAll::from([(key(), known)])));
        let sources: Vec<_> = world.changes.iter().map(|change| change.source).collect();
        assert_eq!(sources, [source], "{waited_ms} ms after the close");
    }
}

#[test]
fn a_standby_behind_the_log_waits_for_the_candle_and_says_nothing_twice() {
    let mut world = standby();
    let before = world.expected().len();
    // The other engine has told of a close that has not come here yet.
    let mut ahead = 0;
    let known = loop {
        ahead += 1;
        let last = candle(world.minute() + ahead - 1).open_time;
        let candles: Vec<_> = world
            .market
            .range(..=last)
            .map(|(_, candle)| *candle)
            .collect();
        let close = |minute| Interval::M1.close_time(candle(minute).open_time);
        let changes = changes_of(&candles, close(START - 1));
        if changes.len() > before {
            let (close, previous, now) = changes[before];
            let base = Base {
                close_time: close,
                recommendation: now,
            };
            let stands = vec![Stand {
                candle_close_time: close,
                recommendation: now,
                previous,
            }];
            let revisions = BTreeMap::new();
            break Told {
                base,
                stands,
                revisions,
            };
        }
    };
    minutes(&mut world, usize::try_from(ahead).unwrap() - 1);
    world.apply(speaking(1, ToldOfAll::from([(key(), known)])));
    assert_eq!((world.results.len(), world.changes.len()), (0, 0));
    minutes(&mut world, 1);
    assert_eq!(world.results[0].1, Occasion::Status);
    assert_eq!(world.changes, []);
    minutes(&mut world, 400);
    assert_eq!(world.told(), world.expected()[before + 1..]);
}

#[test]
fn an_engine_that_has_just_started_takes_nothing_back_of_what_lies_before_its_knowledge() {
    for lag in [0, 2, 5] {
        let settings = EngineSettings {
            beginning: Beginning::Silent,
            ..EngineSettings::new(WatchList::Top(1), vec![Interval::M1])
        };
        let mut world = World::of(&settings, (0..START + 2_000).map(candle));
        world.up(1);
        world.answer_all();
        let known = told_since(&world, 60, lag);
        let before = told_since(&world, 60, 0).stands;
        assert!(before.len() > 8, "{}", before.len());
        world.apply(speaking(1, ToldOfAll::from([(key(), known)])));
        assert_eq!(world.corrections, []);
        let missed: Vec<_> = before[before.len() - lag..]
            .iter()
            .map(|stand| {
                (
                    stand.candle_close_time,
                    stand.previous,
                    stand.recommendation,
                )
            })
            .collect();
        assert_eq!(world.told(), missed);
    }
}

/// Readers have heard everything up to `minute`, and nothing for a long time before the change they heard last.
fn told_until(world: &World, minute: i64) -> Told {
    let mut told = told_since(world, i64::MIN / 100_000, 0);
    let until = Interval::M1.close_time(candle(minute).open_time);
    told.stands.retain(|stand| stand.candle_close_time <= until);
    let last = told.stands.last().unwrap();
    told.base = Base {
        close_time: last.candle_close_time,
        recommendation: last.recommendation,
    };
    told
}

/// An engine that has just started, on a market with a long past.
fn restarted() -> World {
    let settings = EngineSettings {
        beginning: Beginning::Silent,
        ..EngineSettings::new(WatchList::Top(1), vec![Interval::M1])
    };
    let mut world = World::of(&settings, (-7_000..START + 2_000).map(candle));
    world.up(1);
    world
}

#[test]
fn h05_a_restart_tells_all_that_was_missed_however_long_it_was_away() {
    for away in [0, 20, 150, 480, 520, 1_400, 1_600, 4_000] {
        for is_read_first in [true, false] {
            let mut world = restarted();
            if is_read_first {
                world.answer_all();
            }
            let known = told_until(&world, START - 1 - away);
            let since = known.base.close_time;
            world.apply(speaking(1, ToldOfAll::from([(key(), known)])));
            for _ in 0..3 {
                world.wait_ms(500);
                world.answer_all();
            }
            assert_eq!(world.status(), SeriesStatus::Live);
            minutes(&mut world, 40);
            let market: Vec<_> = world.market.values().copied().collect();
            let now = candle(world.minute()).open_time;
            let closed = market.partition_point(|candle| candle.open_time < now);
            let missed = changes_of(&market[..closed], since);
            assert_eq!(world.told(), missed, "{away} minutes away");
            assert_eq!(world.corrections, []);
        }
    }
}

#[test]
fn what_held_before_all_that_can_be_read_is_gone_on_from() {
    let mut world = restarted();
    world.answer_all();
    let known = told_until(&world, -5_500);
    let base = known.base;
    world.apply(speaking(1, ToldOfAll::from([(key(), known)])));
    world.wait_ms(500);
    world.answer_all();
    assert_eq!(world.corrections, []);
    assert_eq!(world.changes[0].previous, base.recommendation);
    assert!(world.changes.len() > 50, "{}", world.changes.len());
    for pair in world.changes.windows(2) {
        assert_eq!(pair[1].previous, pair[0].recommendation);
    }
    let last = world.changes.last().unwrap();
    assert_eq!(
        Some(last.recommendation),
        world.last_result().recommendation
    );
}

#[test]
fn candles_that_contradict_the_log_give_one_correction_with_the_next_revision() {
    let mut world = standby();
    let mut known = told(&world, 2);
    let at = known.stands.len() - 2;
    let wrong = known.stands[at].candle_close_time.plus_ms(-3 * 60_000);
    let right = known.stands[at];
    known.stands[at].candle_close_time = wrong;
    known.revisions.insert(wrong, 2);
    world.apply(speaking(1, ToldOfAll::from([(key(), known.clone())])));
    let [correction] = &world.corrections[..] else {
        panic!("{:?}", world.corrections)
    };
    assert_eq!(correction.corrects, [wrong]);
    assert_eq!(correction.stands, [right]);
    assert_eq!(
        (correction.candle_close_time, correction.revision),
        (wrong, 3)
    );
    let base = known.base.recommendation;
    assert_eq!(
        (correction.previous, correction.recommendation),
        (base, base)
    );
    assert_eq!(world.changes.len(), 2, "and then what is new");
    minutes(&mut world, 100);
    assert_eq!(world.corrections.len(), 1);
}

#[test]
fn a_base_that_says_something_else_is_corrected_though_no_change_is_remembered() {
    let mut world = standby();
    let mut known = told(&world, 0);
    let truth = known.base.recommendation;
    known.base.recommendation = match truth {
        Recommendation::Buy => Recommendation::Sell,
        Recommendation::Sell | Recommendation::Hold => Recommendation::Buy,
    };
    known.stands.clear();
    world.apply(speaking(1, ToldOfAll::from([(key(), known.clone())])));
    let [correction] = &world.corrections[..] else {
        panic!("{:?}", world.corrections)
    };
    assert_eq!(correction.candle_close_time, known.base.close_time);
    assert_eq!(correction.previous, known.base.recommendation);
    assert_eq!(correction.recommendation, truth);
}

#[test]
fn a_series_nobody_was_told_of_is_live_for_the_first_time() {
    let mut world = standby();
    world.apply(speaking(1, ToldOfAll::new()));
    assert_eq!(world.results[0].1, Occasion::FirstLive);
    assert_eq!(world.changes, []);
    world.apply(Event::Voice(Voice::Silent));
    let writes = world.writes;
    minutes(&mut world, 100);
    assert_eq!(world.writes, writes);
    world.apply(speaking(2, ToldOfAll::new()));
    assert_eq!(world.results.last().unwrap().1, Occasion::FirstLive);
}

#[test]
fn what_was_told_is_remembered_until_the_watch_list_is_read_and_the_series_is_live() {
    let mut world = standby();
    let known = told(&world, 1);
    let before = known.stands.len();
    let settings = EngineSettings {
        beginning: Beginning::Silent,
        ..EngineSettings::new(WatchList::Top(1), vec![Interval::M1])
    };
    let mut late = World::watching_nothing(&settings, (0..START + 2_000).map(candle), world.now);
    late.apply(speaking(1, ToldOfAll::from([(key(), known)])));
    late.apply(Event::Universe(BTreeSet::from([key().symbol])));
    late.up(1);
    assert_eq!(late.last_result().status, SeriesStatus::Warming);
    late.answer_all();
    assert_eq!(late.told(), late.expected()[before..]);
    assert_eq!(late.changes.len(), 1);
    minutes(&mut world, 1);
}

#[test]
fn what_was_told_of_a_contract_readers_want_holds_when_their_wish_comes_after_the_list() {
    let settings = EngineSettings {
        beginning: Beginning::Silent,
        ..EngineSettings::new(WatchList::Top(1), vec![Interval::M1])
    };
    let listed = Symbol::parse("ETHUSDT").unwrap();
    for (later_ms, begins_anew) in [(59_000, false), (61_000, true)] {
        let world = standby();
        let known = told(&world, 1);
        let before = known.stands.len();
        let market = (0..START + 2_000).map(candle);
        let mut late = World::watching_nothing(&settings, market, world.now);
        late.apply(speaking(1, ToldOfAll::from([(key(), known)])));
        late.apply(Event::Universe(BTreeSet::from([listed.clone()])));
        late.wait_ms(later_ms);
        late.apply(Event::Universe(BTreeSet::from([
            listed.clone(),
            key().symbol,
        ])));
        late.asked.retain(|job| job.request.key == key());
        late.up(1);
        late.asked.retain(|job| job.request.key == key());
        late.answer_all();
        let first = late.results.iter().filter(|(result, occasion)| {
            result.symbol == key().symbol && *occasion == Occasion::FirstLive
        });
        assert_eq!(first.count() == 1, begins_anew, "after {later_ms} ms");
        if begins_anew {
            assert_eq!(late.told(), []);
        } else {
            assert_eq!(late.told(), late.expected()[before..]);
            assert!(!late.told().is_empty());
        }
    }
}

#[test]
fn stop_and_silence_are_two_things() {
    let mut world = standby();
    let known = told(&world, 2);
    let before = known.stands.len();
    world.apply(Event::Stop);
    assert_eq!(world.writes, 0);
    world.apply(speaking(1, ToldOfAll::from([(key(), known)])));
    minutes(&mut world, 30);
    assert_eq!((world.results.len(), world.changes.len()), (0, 0));
    assert!(
        world
            .statuses
            .iter()
            .all(|status| status.series.stopped == 1)
    );
    assert!(world.statuses.len() >= 30);
    world.apply(Event::Start(None));
    assert_eq!(world.told(), world.expected()[before..]);
    assert!(
        world
            .changes
            .iter()
            .all(|change| change.source == Source::CatchUp)
    );
}

#[test]
fn a_contract_that_comes_back_on_a_connection_it_never_left_warms_up_at_once() {
    let mut world = World::live();
    world.apply(Event::Universe(BTreeSet::new()));
    world.apply(Event::Universe(BTreeSet::from([key().symbol])));
    assert_eq!(world.status(), SeriesStatus::Warming);
    world.answer_all();
    assert_eq!(world.status(), SeriesStatus::Live);
    assert_eq!(world.results.last().unwrap().1, Occasion::FirstLive);
    // Its connection is lost while it is away: it waits for the next one.
    world.apply(Event::Universe(BTreeSet::new()));
    world.down(1);
    world.apply(Event::Universe(BTreeSet::from([key().symbol])));
    assert_eq!(world.asked, []);
    world.up(2);
    world.answer_all();
    assert_eq!(world.status(), SeriesStatus::Live);
}

#[test]
fn the_figures_beside_hama_go_before_the_results_the_cache_keeps() {
    let settings = EngineSettings {
        technical: TechnicalFigures::Written,
        ..EngineSettings::new(WatchList::Top(1), vec![Interval::M1])
    };
    let mut world = World::of(&settings, (0..START + 600).map(candle));
    world.up(1);
    world.answer_all();
    assert_eq!(world.technicals, 1, "the first live result");
    world.apply(Event::Tick);
    world.answer_audits();
    assert_eq!(world.technicals, 2, "the sweep");
    minutes(&mut world, 3);
    assert_eq!(world.technicals, 5);
    world.open(candle(world.minute()));
    assert_eq!(world.technicals, 5, "an open candle moves none of them");
    world.down(1);
    world.wait_ms(6_000);
    assert_eq!(world.technicals, 5, "nor does a series that is not live");
    world.up(2);
    assert_eq!(world.technicals, 6);
}

#[test]
fn the_figures_beside_hama_are_of_the_candles_as_they_stand_also_after_a_revision() {
    let settings = EngineSettings {
        technical: TechnicalFigures::Written,
        ..EngineSettings::new(WatchList::Top(1), vec![Interval::M1])
    };
    let mut world = World::of(&settings, (0..START + 2_000).map(candle));
    world.up(1);
    world.answer_all();
    minutes(&mut world, 30);
    let agrees = |world: &World| {
        let end = candle(world.minute()).open_time;
        let closed: Vec<_> = world.market.range(..end).map(|(_, c)| *c).collect();
        let (told, truth) = (world.technical, Technical::of(&closed));
        let off = told.ema_20.unwrap() - truth.ema_20.unwrap();
        assert!(off.abs() < 1e-9, "{told:?} is not {truth:?}");
        assert_eq!(told.resistance, truth.resistance);
    };
    agrees(&world);
    let old = candle(world.minute() - 3);
    let revised = Candle {
        close: old.high * 1.5,
        high: old.high * 1.5,
        ..old
    };
    world.market.insert(revised.open_time, revised);
    world.close(revised);
    world.answer_all();
    assert_eq!(world.engine.info().corrections, 1);
    agrees(&world);
}
