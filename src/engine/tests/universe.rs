//! Contracts that end, leave and come back, as the engine tells of them: which stay is `universe/roll`'s to decide.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::world::{CloseEvent, START, World, candle, key};
use crate::engine::{Beginning, EngineSettings, Event, WatchList};
use crate::exchange::{ConnectionId, FeedEvent};
use crate::market::{Candle, Interval, SeriesStatus, Symbol};
use crate::store::{Occasion, ToldOfAll, Voice, Write};

fn ended() -> Event {
    Event::Ended(BTreeSet::from([key().symbol]))
}

fn minutes(world: &mut World, count: usize) {
    for _ in 0..count {
        world.next_minute(CloseEvent::Comes);
    }
}

fn speaking(told: ToldOfAll) -> Event {
    Event::Voice(Voice::Speaking {
        turn: 1,
        told: Arc::new(told),
        scheduler: None,
    })
}

#[test]
fn h24_a_delisted_contract_ends_with_one_last_result_and_flat_closes_after_it_say_nothing() {
    let mut world = World::live();
    minutes(&mut world, 50);
    assert_eq!(world.followed, BTreeSet::from([key()]));
    let (changes, results) = (world.changes.len(), world.results.len());
    let last = world.last_result().clone();
    world.apply(ended());
    assert_eq!(world.status(), SeriesStatus::Ended);
    let (told, occasion) = world.results.last().unwrap();
    assert_eq!(
        (told.status, *occasion),
        (SeriesStatus::Ended, Occasion::Status)
    );
    assert_eq!(
        (told.recommendation, told.candle_close_time, told.price),
        (last.recommendation, last.candle_close_time, last.price),
        "what it said last stands"
    );
    assert_eq!(world.of_the_list.last(), Some(&Write::Ended(key())));
    assert_eq!(world.followed, BTreeSet::new(), "its stream is let go");
    // The exchange goes on sending closes, and a price that stands still crosses the average sooner or later.
    let flat = candle(world.minute()).open;
    for minute in world.minute()..world.minute() + 300 {
        let close = Candle {
            open: flat,
            high: flat,
            low: flat,
            close: flat,
            volume: 0.0,
            ..candle(minute)
        };
        world.market.insert(close.open_time, close);
    }
    minutes(&mut world, 300);
    world.answer_all();
    world.answer_audits();
    assert_eq!(world.changes.len(), changes);
    assert_eq!(world.results.len(), results + 1, "one last result");
    assert_eq!(world.status(), SeriesStatus::Ended);
}

#[test]
fn h24_an_answer_that_was_on_its_way_and_a_connection_that_is_lost_do_not_revive_what_has_ended() {
    let mut world = World::live();
    world.next_minute(CloseEvent::Lost);
    world.wait_ms(3_000);
    let request = world.asked.remove(0).request;
    world.apply(ended());
    let rows = world.rows(&request);
    world.answer(request, rows);
    world.down(1);
    world.up(2);
    world.wait_ms(120_000);
    assert_eq!(world.status(), SeriesStatus::Ended);
    assert_eq!((world.asked.len(), world.changes.len()), (0, 0));
    let counts = world.statuses.last().unwrap().series;
    assert_eq!((counts.ended, counts.live, counts.stale), (1, 0, 0));
    let total = world.engine.scheduler().sweep.progress.map(|p| p.total);
    assert_eq!(total, None, "there is nothing left to sweep");
}

#[test]
fn h24_what_has_ended_is_not_read_anew_and_grows_by_no_answer_that_was_on_its_way() {
    let mut world = World::live();
    world.answer_audits();
    minutes(&mut world, 6);
    world.apply(Event::Refresh(key()));
    let (refresh, audit) = (
        world.asked.remove(0).request,
        world.audits.remove(0).request,
    );
    world.next_minute(CloseEvent::Lost);
    world.next_minute(CloseEvent::Lost);
    world.asked.clear(); // the lost close
    world.apply(ended());
    let known = world.engine.watched[&key()].series().history().len();
    for request in [refresh, audit] {
        let rows = (START..world.minute()).map(candle).collect();
        world.answer(request, rows);
    }
    world.wait_ms(2_000); // what was read is fresh no longer
    world.apply(Event::Refresh(key()));
    assert_eq!(world.refreshed, [(key(), Ok(())), (key(), Ok(()))]);
    assert_eq!(world.asked, []);
    let series = world.engine.watched[&key()].series();
    assert_eq!(series.history().len(), known);
    assert_eq!(world.status(), SeriesStatus::Ended);
}

#[test]
fn a_contract_that_trades_again_begins_anew() {
    let mut world = World::live();
    world.apply(ended());
    world.apply(Event::Universe(BTreeSet::new()));
    world.apply(Event::Ended(BTreeSet::new()));
    world.apply(Event::Universe(BTreeSet::from([key().symbol])));
    assert_eq!(world.followed, BTreeSet::from([key()]));
    world.up(2);
    world.answer_all();
    assert_eq!(world.status(), SeriesStatus::Live);
    assert_eq!(world.results.last().unwrap().1, Occasion::FirstLive);
}

#[test]
fn h24_a_contract_ended_before_it_is_watched_is_shown_as_ended_and_never_read() {
    let settings = EngineSettings::new(WatchList::Top(1), vec![Interval::M1]);
    let now = World::live().now;
    let mut world = World::watching_nothing(&settings, (0..START).map(candle), now);
    world.apply(ended());
    world.apply(Event::Universe(BTreeSet::from([key().symbol])));
    world.up(1);
    world.wait_ms(5_000);
    assert_eq!(world.status(), SeriesStatus::Ended);
    assert_eq!(world.last_result().status, SeriesStatus::Ended);
    assert_eq!((world.requests, &world.followed), (0, &BTreeSet::new()));
}

#[test]
fn h24_a_standby_follows_an_end_in_silence_and_tells_it_when_it_may_speak() {
    let settings = EngineSettings {
        beginning: Beginning::Silent,
        ..EngineSettings::new(WatchList::Top(1), vec![Interval::M1])
    };
    let mut world = World::of(&settings, (0..START + 2_000).map(candle));
    let tradable = Arc::new(BTreeSet::from([Symbol::parse("ETHUSDT").unwrap()]));
    world.apply(Event::Tradable(tradable.clone()));
    world.up(1);
    world.answer_all();
    minutes(&mut world, 3);
    world.apply(ended());
    assert_eq!(world.writes, 0);
    world.apply(speaking(ToldOfAll::new()));
    assert_eq!(world.last_result().status, SeriesStatus::Ended);
    assert!(world.last_result().recommendation.is_some());
    assert_eq!(world.of_the_list, [Write::Tradable(tradable)]);
}

#[test]
fn an_operators_stop_and_start_leave_what_has_ended_ended() {
    let mut world = World::live();
    world.apply(Event::Stop);
    world.apply(ended());
    assert_eq!(world.last_result().status, SeriesStatus::Stopped);
    world.apply(Event::Start(None));
    assert_eq!(world.last_result().status, SeriesStatus::Ended);
    assert_eq!(world.of_the_list.last(), Some(&Write::Ended(key())));
}

#[test]
fn a_contract_back_before_its_connection_noticed_is_carried_and_one_it_let_go_waits_for_the_next() {
    let mut world = World::live();
    let only = BTreeSet::from([key().symbol]);
    let left = |connection| {
        Event::Feed(FeedEvent::Left {
            connection: ConnectionId::new(connection),
            keys: Arc::from([key()]),
        })
    };
    // Its connection was replaced meanwhile: what the old one says counts no more.
    world.up(2);
    world.apply(Event::Universe(BTreeSet::new()));
    world.apply(left(1));
    world.apply(Event::Universe(only.clone()));
    world.answer_all();
    assert_eq!(
        world.status(),
        SeriesStatus::Live,
        "the second never let it go"
    );
    // Let go, and back: nothing is believed of a connection that does not carry it.
    world.apply(Event::Universe(BTreeSet::new()));
    world.apply(left(2));
    world.apply(Event::Universe(only.clone()));
    assert_eq!(world.asked, []);
    world.up(2);
    world.answer_all();
    assert_eq!(world.status(), SeriesStatus::Live);
    // Back before the word arrives that it was let go.
    world.apply(Event::Universe(BTreeSet::new()));
    world.apply(Event::Universe(only));
    world.apply(left(2));
    world.wait_ms(6_000);
    assert_ne!(world.status(), SeriesStatus::Live, "nobody carries it");
    world.up(3);
    world.answer_all();
    assert_eq!(world.status(), SeriesStatus::Live);
}

#[test]
fn one_contract_more_or_less_does_not_begin_the_sweep_anew() {
    let mut world = World::live();
    world.apply(Event::Tick);
    let next_at = world.engine.scheduler().sweep.next_at;
    assert!(next_at.is_some());
    let other = Symbol::parse("ETHUSDT").unwrap();
    world.apply(Event::Universe(BTreeSet::from([key().symbol, other])));
    world.answer_audits();
    assert_eq!(world.engine.scheduler().sweep.next_at, next_at);
    assert_eq!(world.engine.scheduler().sweep.last.unwrap().ok, 1);
    world.wait_ms(301_000);
    world.apply(Event::Universe(BTreeSet::from([key().symbol])));
    world.answer_audits();
    let last = world.engine.scheduler().sweep.last.unwrap();
    assert_eq!(
        (
            last.ok + last.failed,
            world.engine.scheduler().sweep.progress
        ),
        (1, None),
        "who left is not waited for"
    );
}

#[test]
fn h24_a_word_of_the_exchange_about_any_contract_has_its_listing_read_anew() {
    let mut world = World::live();
    world.apply(Event::Feed(FeedEvent::Listing {
        symbol: "FOOUSDT".into(),
        status: "SETTLING".into(),
    }));
    assert_eq!(
        (world.listings_asked, world.status()),
        (1, SeriesStatus::Live)
    );
}
