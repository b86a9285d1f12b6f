//! The sweep and the reads somebody waits for.

use std::collections::BTreeSet;
use std::time::Duration;

use super::world::{CloseEvent, START, World, candle, key};
use crate::engine::{EngineSettings, Event, OrderError, Urgency, WatchList};
use crate::exchange::FeedEvent;
use crate::market::{Candle, Interval, SeriesKey, SeriesStatus, Symbol};
use crate::store::Occasion;

fn sweeps(world: &World) -> usize {
    let results = world.results.iter();
    results
        .filter(|(_, occasion)| *occasion == Occasion::Sweep)
        .count()
}

/// Time passes, and every close is read from REST.
fn wait(world: &mut World, ms: i64) {
    for _ in 0..ms / 500 {
        world.wait_ms(500);
        world.answer_all();
    }
}

#[test]
fn a_sweep_begins_at_once_reads_the_last_candles_and_comes_again_by_the_clock() {
    let mut world = World::live();
    world.apply(Event::Tick);
    let [audit] = &world.audits[..] else {
        panic!("{:?}", world.audits)
    };
    assert_eq!((audit.urgency, audit.request.weight()), (Urgency::Audit, 1));
    assert_eq!(
        sweeps(&world),
        0,
        "nothing is written before the answer is in"
    );
    world.answer_audits();
    assert_eq!(sweeps(&world), 1);
    let last = world.engine.scheduler().sweep.last.unwrap();
    assert_eq!((last.ok, last.failed), (1, 0));
    wait(&mut world, 299_000);
    assert_eq!(world.audits, []);
    wait(&mut world, 2_000);
    assert_eq!(
        world.audits.len(),
        1,
        "five minutes after the start of the first"
    );
    world.answer_audits();
    world.apply(Event::Start(Some(Duration::from_secs(60))));
    wait(&mut world, 298_000);
    assert_eq!(world.audits, [], "the one that was due stays due");
    wait(&mut world, 3_000);
    world.answer_audits();
    wait(&mut world, 61_000);
    assert_eq!(
        world.audits.len(),
        1,
        "a minute after the start of that one"
    );
}

#[test]
fn a_revision_the_stream_never_told_of_is_found_by_the_sweep() {
    let mut world = World::live();
    for _ in 0..3 {
        world.next_minute(CloseEvent::Comes);
    }
    world.answer_audits();
    let truth = candle(world.minute() - 3);
    let revised = Candle {
        volume: truth.volume + 1.0,
        ..truth
    };
    world.market.insert(revised.open_time, revised);
    wait(&mut world, 301_000);
    world.answer_audits();
    world.answer_all(); // a close was read while the audit was on its way: what it would change is read once more
    assert_eq!(world.engine.info().corrections, 1);
}

#[test]
fn a_read_that_fails_or_never_ends_fails_its_contract_and_not_the_sweep() {
    let mut world = World::live();
    world.apply(Event::Tick);
    let request = world.audits.pop().unwrap().request;
    let rows = None;
    world.apply(Event::Answer { request, rows });
    let last = world.engine.scheduler().sweep.last.unwrap();
    assert_eq!((last.ok, last.failed, sweeps(&world)), (0, 1, 1));
    wait(&mut world, 301_000);
    assert_eq!(world.audits.len(), 1);
    wait(&mut world, 21_000);
    let last = world.engine.scheduler().sweep.last.unwrap();
    assert_eq!((last.ok, last.failed, sweeps(&world)), (0, 1, 2));
    // Still unanswered: it is not asked a second time.
    wait(&mut world, 301_000);
    assert_eq!((world.audits.len(), sweeps(&world)), (1, 3));
    world.answer_audits();
    assert_eq!(sweeps(&world), 3, "the sweep that asked has ended long ago");
    wait(&mut world, 301_000);
    assert_eq!(world.audits.len(), 1);
}

#[test]
fn a_stop_ends_the_sweep_and_a_start_begins_one() {
    let mut world = World::live();
    world.apply(Event::Tick);
    world.apply(Event::Stop);
    assert_eq!(world.engine.scheduler().sweep.next_at, None);
    world.answer_audits();
    wait(&mut world, 400_000);
    assert_eq!((world.audits.len(), sweeps(&world)), (0, 0));
    world.apply(Event::Start(None));
    assert_eq!(world.audits.len(), 1);
}

#[test]
fn contracts_are_swept_in_order_few_at_a_time_and_the_interval_rotates() {
    let names = [
        "AAAUSDT", "BBBUSDT", "BTCUSDT", "CCCUSDT", "DDDUSDT", "EEEUSDT",
    ];
    let intervals = vec![Interval::M1, Interval::M5];
    let settings = EngineSettings::new(WatchList::Top(6), intervals.clone());
    let mut world = World::of(&settings, (-3_000..START + 600).map(candle));
    let symbols: BTreeSet<_> = names
        .iter()
        .map(|name| Symbol::parse(name).unwrap())
        .collect();
    world.apply(Event::Universe(symbols.clone()));
    assert_eq!(
        world.audits,
        [],
        "nothing to read while all of them warm up"
    );
    for interval in intervals {
        for symbol in &symbols {
            let keys = std::sync::Arc::from([SeriesKey::new(symbol.clone(), interval)]);
            let connection = crate::exchange::ConnectionId::new(1);
            world.apply(Event::Feed(FeedEvent::Up { connection, keys }));
        }
    }
    // Only the minutes have candles in this world: the longer interval stays without.
    while let Some(job) = world.asked.pop() {
        let rows = world.rows(&job.request);
        if job.request.key.interval == Interval::M1 {
            world.answer(job.request, rows);
        }
    }
    world.apply(Event::Tick);
    let mut seen = Vec::new();
    for _ in &names {
        assert!(world.audits.len() <= 4);
        let job = world.audits.remove(0);
        seen.push(job.request.key.symbol.as_str().to_owned());
        assert_eq!(job.request.key.interval, Interval::M1);
        let rows = world.rows(&job.request);
        world.answer(job.request, rows);
    }
    assert_eq!(seen, names);
    assert_eq!(sweeps(&world), 6, "the longer interval is not live");
    wait(&mut world, 301_000);
    let last = world.engine.scheduler().sweep.last.unwrap();
    assert_eq!(
        (last.ok, last.failed),
        (0, 6),
        "no history to hold against REST"
    );
}

#[test]
fn a_refresh_reads_a_page_anew_and_says_how_it_went() {
    let mut world = World::live();
    let (requests, results) = (world.requests, world.results.len());
    world.apply(Event::Refresh(key()));
    world.apply(Event::Refresh(key()));
    assert_eq!(world.requests, requests + 1, "one read serves both");
    assert_eq!(world.asked[0].urgency, Urgency::Refresh);
    let truth = candle(START - 200);
    let revised = Candle {
        volume: truth.volume + 1.0,
        ..truth
    };
    world.market.insert(revised.open_time, revised);
    world.answer_all();
    assert_eq!(world.refreshed, [(key(), Ok(()))]);
    assert_eq!(world.engine.info().corrections, 1);
    assert_eq!(
        world.results.len(),
        results + 2,
        "the revised one, and for the cache once more"
    );
    world.refreshed.clear();
    world.apply(Event::Refresh(key()));
    assert_eq!(
        (world.asked.len(), &world.refreshed[..]),
        (0, &[(key(), Ok(()))][..]),
        "it has just been read"
    );
    world.wait_ms(1_000);
    world.apply(Event::Refresh(key()));
    let request = world.asked.remove(0).request;
    let rows = None;
    world.apply(Event::Answer { request, rows });
    let unknown = SeriesKey::new(Symbol::parse("FOOUSDT").unwrap(), Interval::M1);
    world.apply(Event::Refresh(unknown.clone()));
    let [_, (_, failed), (_, nobody)] = &world.refreshed[..] else {
        panic!("{:?}", world.refreshed)
    };
    assert!(matches!(failed, Err(OrderError::Unreadable(_))));
    assert_eq!(*nobody, Err(OrderError::NotWatched(unknown)));
    let mut cold = World::new((0..START).map(candle));
    cold.apply(Event::Refresh(key()));
    assert_eq!(cold.refreshed, [(key(), Err(OrderError::Warming(key())))]);
    assert_eq!(cold.status(), SeriesStatus::Warming);
}
