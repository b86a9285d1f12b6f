//! The engine against a made-up exchange: events in, effects out, no clock and no socket.
//! What readers are told must equal what the indicator says of the true candles, whatever happened on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Effect, Engine, Event, FetchJob, Moment};
use crate::clock::Mono;
use crate::exchange::{ConnectionId, FeedEvent};
use crate::market::{Candle, Interval, OpenTime, SeriesKey, SeriesStatus, Symbol, TimeMs};
use crate::signal::{
    Analyzer, ChangeBody, Correction, History, Recommendation, SignalChange, SignalResult, Source,
};
use crate::store::{Occasion, Write};

const MINUTE: i64 = 60_000;

/// Minute 0 of the made-up market, and how far it has come when the engine starts.
const ORIGIN_MS: i64 = 1_700_000_040_000;
const START: i64 = 600;

/// A price that trends and turns, so that BUY, SELL and HOLD all come up; the same for the same minute.
fn price(minute: i64) -> f64 {
    let t = minute as f64;
    100.0 + 4.0 * (t / 37.0).sin() + 1.5 * (t / 11.0).sin() + 0.3 * (t * 1.7).sin()
}

fn candle(minute: i64) -> Candle {
    let (open, close) = (price(minute), price(minute + 1));
    Candle {
        open_time: OpenTime::from_ms(ORIGIN_MS + minute * MINUTE),
        open,
        high: open.max(close) + 0.1,
        low: open.min(close) - 0.1,
        close,
        volume: 1.0,
    }
}

fn key() -> SeriesKey {
    SeriesKey::new(Symbol::parse("BTCUSDT").unwrap(), Interval::M1)
}

/// The changes an uninterrupted run would tell from `first` on, with the first `listed` minutes never listed.
fn changes_of(candles: &[Candle], after: TimeMs) -> Vec<(TimeMs, Recommendation, Recommendation)> {
    let mut analyzer = Analyzer::default();
    let mut previous = Recommendation::Hold;
    let mut changes = Vec::new();
    for candle in candles {
        let now = analyzer.push(candle).recommendation;
        let close = Interval::M1.close_time(candle.open_time);
        if now != previous && close > after {
            changes.push((close, previous, now));
        }
        previous = now;
    }
    changes
}

/// An engine, the market it follows, and everything it said.
struct World {
    engine: Engine,
    market: BTreeMap<OpenTime, Candle>,
    now: Moment,
    asked: Vec<FetchJob>,
    changes: Vec<SignalChange>,
    corrections: Vec<Correction>,
    results: Vec<(SignalResult, Occasion)>,
}

impl World {
    fn new(market: impl Iterator<Item = Candle>) -> Self {
        let exchange = TimeMs::new(ORIGIN_MS + START * MINUTE + 10_000);
        let now = Moment {
            exchange,
            mono: Mono::from_ms(1_000),
            speed: 1.0,
            error_ms: 0,
        };
        let mut world = Self {
            engine: Engine::new(vec![Interval::M1]),
            market: market.map(|candle| (candle.open_time, candle)).collect(),
            now,
            asked: Vec::new(),
            changes: Vec::new(),
            corrections: Vec::new(),
            results: Vec::new(),
        };
        world.apply(Event::Universe(BTreeSet::from([key().symbol])));
        world
    }

    /// A world whose series is live, at `START` and ten seconds.
    fn live() -> Self {
        Self::live_with((0..START + 2_000).map(candle))
    }

    fn live_with(market: impl Iterator<Item = Candle>) -> Self {
        let mut world = Self::new(market);
        world.up(1);
        world.answer_all();
        assert_eq!(
            world.status(),
            SeriesStatus::Live,
            "{:?}",
            world.last_result()
        );
        world
    }

    fn apply(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.engine.apply(event, &self.now, &mut effects);
        for effect in effects {
            match effect {
                Effect::Ask(job) => self.asked.push(job),
                Effect::Write(Write::Change(ChangeBody::Signal(change))) => {
                    assert_eq!(
                        self.status(),
                        SeriesStatus::Live,
                        "only a live series gives signals"
                    );
                    self.changes.push(change);
                }
                Effect::Write(Write::Change(ChangeBody::Correction(correction))) => {
                    self.corrections.push(correction);
                }
                Effect::Write(Write::Result { result, occasion }) => {
                    self.results.push((*result, occasion));
                }
                Effect::Write(Write::Ended(_) | Write::Symbols { .. } | Write::Status(_))
                | Effect::Watch(_) => {}
            }
        }
    }

    fn status(&self) -> SeriesStatus {
        self.engine.watched[&key()].status()
    }

    fn last_result(&self) -> &SignalResult {
        &self.results.last().unwrap().0
    }

    fn up(&mut self, connection: u64) {
        let keys = Arc::from([key()]);
        self.apply(Event::Feed(FeedEvent::Up {
            connection: ConnectionId::new(connection),
            keys,
        }));
    }

    fn down(&mut self, connection: u64) {
        let (connection, keys) = (ConnectionId::new(connection), Arc::from([key()]));
        self.apply(Event::Feed(FeedEvent::Down {
            connection,
            keys,
            reason: "cut".into(),
            code: None,
        }));
    }

    /// Moves both clocks, in ticks of half a second, answering nothing.
    fn wait_ms(&mut self, ms: i64) {
        for _ in 0..ms / 500 {
            self.now.exchange = self.now.exchange.plus_ms(500);
            self.now.mono = self.now.mono.plus_ms(500);
            self.apply(Event::Tick);
        }
    }

    /// As the exchange would answer what was asked: from its market, closed candles only.
    fn answer_all(&mut self) {
        while let Some(job) = self.asked.pop() {
            let request = job.request;
            let settled = |open: &OpenTime| self.now.exchange > Interval::M1.close_time(*open);
            let mut rows: Vec<_> = self
                .market
                .range(request.from.unwrap_or(OpenTime::from_ms(0))..=request.until)
                .filter(|(open, _)| settled(open))
                .map(|(_, candle)| *candle)
                .collect();
            let limit = usize::from(request.limit);
            if request.from.is_some() {
                rows.truncate(limit);
            } else {
                rows.drain(..rows.len().saturating_sub(limit));
            }
            self.apply(Event::Answer {
                key: request.key,
                rows: Some(rows),
            });
        }
    }

    fn open(&mut self, candle: Candle) {
        let event_time = self.now.exchange;
        self.apply(Event::Feed(FeedEvent::Open {
            key: key(),
            candle,
            event_time,
        }));
    }

    fn close(&mut self, candle: Candle) {
        let event_time = self.now.exchange;
        self.apply(Event::Feed(FeedEvent::Closed {
            key: key(),
            candle,
            event_time,
        }));
    }

    /// The minute that is forming at `now`.
    fn minute(&self) -> i64 {
        (self.now.exchange.ms() - ORIGIN_MS).div_euclid(MINUTE)
    }

    /// Lets the forming minute end; its close event comes unless `lost`.
    fn next_minute(&mut self, close_event: CloseEvent) {
        let minute = self.minute();
        let into_next = ORIGIN_MS + (minute + 1) * MINUTE + 100 - self.now.exchange.ms();
        self.now.exchange = self.now.exchange.plus_ms(into_next);
        self.now.mono = self.now.mono.plus_ms(u64::try_from(into_next).unwrap());
        if close_event == CloseEvent::Comes
            && let Some(candle) = self.market.get(&candle(minute).open_time).copied()
        {
            self.close(candle);
        }
        self.apply(Event::Tick);
    }

    fn told(&self) -> Vec<(TimeMs, Recommendation, Recommendation)> {
        let told = |change: &SignalChange| {
            (
                change.candle_close_time,
                change.previous,
                change.recommendation,
            )
        };
        self.changes.iter().map(told).collect()
    }

    /// What should have been told since the series became live, by the market's candles up to its newest.
    fn expected(&self) -> Vec<(TimeMs, Recommendation, Recommendation)> {
        let base = Interval::M1.close_time(candle(START - 1).open_time);
        let last = self.engine.watched[&key()]
            .series()
            .last()
            .unwrap()
            .open_time;
        changes_of(
            &self
                .market
                .range(..=last)
                .map(|(_, candle)| *candle)
                .collect::<Vec<_>>(),
            base,
        )
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CloseEvent {
    Comes,
    Lost,
}

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
    world.answer_all();
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
