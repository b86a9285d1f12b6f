//! Six series, two intervals, a stream that loses, doubles and delays closes, and a REST side that lags, fails, answers
//! with nothing and answers late: the record of each series is that of an undisturbed run, and no hole is believed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Mono;
use crate::engine::{Beginning, Effect, Engine, EngineSettings, Event, Moment, WatchList};
use crate::exchange::{CandleRequest, ConnectionId, FeedEvent};
use crate::market::{Candle, Interval, OpenTime, SeriesKey, SeriesStatus, Symbol, TimeMs};
use crate::signal::{Analyzer, ChangeBody, Recommendation, SignalResult};
use crate::store::{Base, Occasion, Write};

const INTERVALS: [Interval; 2] = [Interval::M1, Interval::M5];
const SYMBOLS: [&str; 3] = ["AAAUSDT", "BBBUSDT", "CCCUSDT"];

/// A multiple of five minutes; the market began 600 five-minute candles before it.
const START_MS: i64 = 1_700_000_100_000;
const BEGAN_MS: i64 = START_MS - 600 * 300_000;

type Changes = Vec<(TimeMs, Recommendation, Recommendation)>;

pub(super) struct Storm {
    dice: fastrand::Rng,
    pub(super) engine: Engine,
    now: Moment,
    /// Events that are on their way: when they arrive, in which order they were sent, what they are.
    coming: BTreeMap<(TimeMs, u64), Event>,
    sent: u64,
    calm: Calm,
    /// What the engine has said since somebody last took it.
    pub(super) writes: Vec<Write>,
    up: Option<ConnectionId>,
    connections: u64,
}

/// What readers were told.
#[derive(Default)]
pub(super) struct Log {
    pub(super) changes: BTreeMap<SeriesKey, Changes>,
    /// Close time the first live result of each series spoke of.
    pub(super) first: BTreeMap<SeriesKey, TimeMs>,
    pub(super) base: BTreeMap<SeriesKey, Base>,
    pub(super) results: BTreeMap<SeriesKey, SignalResult>,
    pub(super) corrections: usize,
}

impl Log {
    pub(super) fn append(&mut self, writes: impl IntoIterator<Item = Write>) {
        for write in writes {
            match write {
                Write::Change(ChangeBody::Signal(change)) => {
                    let base = Base {
                        close_time: change.candle_close_time,
                        recommendation: change.recommendation,
                    };
                    self.base.insert(change.key.clone(), base);
                    self.changes.entry(change.key).or_default().push((
                        change.candle_close_time,
                        change.previous,
                        change.recommendation,
                    ));
                }
                Write::Change(ChangeBody::Correction(_)) => self.corrections += 1,
                Write::Result { result, occasion } => {
                    if occasion == Occasion::FirstLive {
                        let base = Base {
                            close_time: result.candle_close_time.unwrap(),
                            recommendation: result.recommendation.unwrap(),
                        };
                        let before = self.base.insert(result.key(), base);
                        assert_eq!(before, None, "{} was live before", result.key());
                        self.first.insert(result.key(), base.close_time);
                    }
                    self.results.insert(result.key(), *result);
                }
                Write::Technical { .. }
                | Write::Turn(_)
                | Write::Scheduler(_)
                | Write::Ended(_)
                | Write::Symbols { .. }
                | Write::Tradable(_)
                | Write::Status(_) => {}
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Calm {
    Storm,
    After,
}

pub(super) fn keys() -> Vec<SeriesKey> {
    let symbols = SYMBOLS.map(|name| Symbol::parse(name).unwrap());
    let of = |symbol: &Symbol| INTERVALS.map(|interval| SeriesKey::new(symbol.clone(), interval));
    symbols.iter().flat_map(of).collect()
}

/// The same candle whenever it is asked for; the shorter interval's swings are the shorter ones.
fn candle(key: &SeriesKey, open_time: OpenTime) -> Candle {
    let step = key.interval.nominal_ms();
    let shift = f64::from(key.symbol.as_str().as_bytes()[0]);
    let price = |ms: i64| {
        let t = (ms / step % 1_000_000) as f64 + 13.0 * shift;
        100.0 + 4.0 * (t / 37.0).sin() + 1.5 * (t / 11.0).sin() + 0.3 * (t * 1.7).sin()
    };
    let (open, close) = (price(open_time.ms()), price(open_time.ms() + step));
    Candle {
        open_time,
        open,
        high: open.max(close) + 0.1,
        low: open.min(close) - 0.1,
        close,
        volume: 1.0,
    }
}

fn candles(key: &SeriesKey, until: OpenTime) -> Vec<Candle> {
    let first = key.interval.open_at(TimeMs::new(BEGAN_MS));
    let count = key.interval.count_between(first, until);
    (0..=count)
        .map(|at| candle(key, key.interval.steps(first, at)))
        .collect()
}

impl Storm {
    pub(super) fn new(seed: u64, beginning: Beginning) -> Self {
        let list = WatchList::Top(3);
        let settings = EngineSettings {
            beginning,
            ..EngineSettings::new(list, INTERVALS.to_vec())
        };
        let mut storm = Self {
            dice: fastrand::Rng::with_seed(seed),
            engine: Engine::new(&settings),
            now: Moment {
                exchange: TimeMs::new(START_MS + 20_000),
                mono: Mono::from_ms(1_000),
                wall: TimeMs::new(START_MS),
                speed: 1.0,
                error_ms: 40,
                doubt_ms: 0,
            },
            coming: BTreeMap::new(),
            sent: 0,
            calm: Calm::Storm,
            writes: Vec::new(),
            up: None,
            connections: 0,
        };
        let symbols: BTreeSet<_> = keys().into_iter().map(|key| key.symbol).collect();
        storm.apply(Event::Universe(symbols));
        storm.connect();
        storm
    }

    pub(super) fn apply(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.engine.apply(event, &self.now, &mut effects);
        for effect in effects {
            match effect {
                Effect::Ask(job) => self.ask(job.request),
                Effect::Write(write) => {
                    if let Write::Change(body) = &write {
                        let status = self.engine.watched[body.key()].status();
                        assert_eq!(status, SeriesStatus::Live, "{}", body.key());
                    }
                    self.writes.push(write);
                }
                Effect::Watch(_) | Effect::ReadListing | Effect::Refreshed(..) => {}
            }
        }
    }

    fn send(&mut self, delay_ms: i64, event: Event) {
        self.sent += 1;
        let at = self.now.exchange.plus_ms(delay_ms);
        self.coming.insert((at, self.sent), event);
    }

    /// The answer is made when it is asked for and arrives when it likes.
    fn ask(&mut self, request: CandleRequest) {
        let rows = match (self.calm, self.dice.u32(..10)) {
            (Calm::Storm, 0 | 1) => None,
            (Calm::Storm, 2) => Some(Vec::new()),
            (Calm::Storm, 3 | 4) => {
                let lag_ms = self.dice.i64(1_000..150_000);
                Some(self.rows(&request, lag_ms))
            }
            (Calm::Storm | Calm::After, _) => Some(self.rows(&request, 0)),
        };
        let delay_ms = match self.calm {
            Calm::Storm => self.dice.i64(0..25_000),
            Calm::After => 100,
        };
        self.send(delay_ms, Event::Answer { request, rows });
    }

    fn rows(&self, request: &CandleRequest, lag_ms: i64) -> Vec<Candle> {
        let key = &request.key;
        let shown = self.now.exchange.plus_ms(-lag_ms);
        let last = key.interval.steps(key.interval.open_at(shown), -1);
        let mut rows = candles(key, request.until.min(last));
        let limit = usize::from(request.limit);
        if let Some(from) = request.from {
            rows.retain(|candle| candle.open_time >= from);
            rows.truncate(limit);
        } else {
            rows.drain(..rows.len().saturating_sub(limit));
        }
        rows
    }

    fn connect(&mut self) {
        self.connections += 1;
        let connection = ConnectionId::new(self.connections);
        self.up = Some(connection);
        let keys = Arc::from(keys());
        self.apply(Event::Feed(FeedEvent::Up { connection, keys }));
    }

    fn disconnect(&mut self) {
        let Some(connection) = self.up.take() else {
            return;
        };
        let (keys, reason) = (Arc::from(keys()), "cut".into());
        self.apply(Event::Feed(FeedEvent::Down {
            connection,
            keys,
            reason,
            code: None,
            silent_for: Duration::ZERO,
        }));
    }

    /// Half a second passes.
    pub(super) fn step(&mut self) {
        self.now.exchange = self.now.exchange.plus_ms(500);
        self.now.mono = self.now.mono.plus_ms(500);
        if self.now.exchange.ms() % 60_000 == 0 {
            self.close_candles();
        }
        while let Some(next) = self.coming.first_entry()
            && next.key().0 <= self.now.exchange
        {
            let event = next.remove();
            self.apply(event);
        }
        if self.calm == Calm::Storm {
            match self.dice.u32(..240) {
                0 => self.disconnect(),
                1..9 if self.up.is_none() => self.connect(),
                _ => {}
            }
        }
        self.apply(Event::Tick);
    }

    fn close_candles(&mut self) {
        for key in keys() {
            let forming = key.interval.open_at(self.now.exchange);
            if forming.time() != self.now.exchange {
                continue;
            }
            let closed = candle(&key, key.interval.steps(forming, -1));
            self.close(&key, closed);
            if self.dice.u32(..10) == 0 {
                let back = self.dice.i64(1..20);
                let again = candle(&key, key.interval.steps(forming, -back));
                self.close(&key, again);
            }
            let event_time = self.now.exchange;
            let candle = candle(&key, forming);
            self.apply(Event::Feed(FeedEvent::Open {
                key,
                candle,
                event_time,
            }));
        }
    }

    fn close(&mut self, key: &SeriesKey, candle: Candle) {
        let storm = self.calm == Calm::Storm;
        if self.up.is_none() || (storm && self.dice.u32(..4) == 0) {
            return;
        }
        let late = storm && self.dice.u32(..4) == 0;
        let delay_ms = if late { self.dice.i64(0..90_000) } else { 0 };
        let event_time = self.now.exchange;
        let key = key.clone();
        self.send(
            delay_ms,
            Event::Feed(FeedEvent::Closed {
                key,
                candle,
                event_time,
            }),
        );
    }

    /// The storm is over: everything is connected and answers.
    pub(super) fn calm_down(&mut self) {
        self.calm = Calm::After;
        self.disconnect();
        self.connect();
    }

    /// What an undisturbed run tells of the candles that close after `first`.
    pub(super) fn expected(&self, key: &SeriesKey, first: TimeMs) -> Changes {
        let last = *self.engine.watched[key].series().last().unwrap();
        let mut analyzer = Analyzer::default();
        let mut previous = Recommendation::Hold;
        let mut told = Vec::new();
        for candle in candles(key, last.open_time) {
            let now = analyzer.push(&candle).recommendation;
            let close = key.interval.close_time(candle.open_time);
            if now != previous && close > first {
                told.push((close, previous, now));
            }
            previous = now;
        }
        told
    }
}

#[test]
fn under_a_storm_on_stream_and_rest_every_series_tells_what_an_undisturbed_one_would() {
    let mut changes = 0;
    for seed in 0..8 {
        let mut storm = Storm::new(seed, Beginning::Speaking);
        for _ in 0..4 * 7_200 {
            storm.step();
        }
        storm.calm_down();
        for _ in 0..2 * 360 {
            storm.step();
        }
        let mut log = Log::default();
        log.append(storm.writes.drain(..));
        for key in keys() {
            let told = log.changes.get(&key).cloned().unwrap_or_default();
            let status = storm.engine.watched[&key].status();
            assert_eq!(status, SeriesStatus::Live, "seed {seed}, {key}");
            let expected = storm.expected(&key, log.first[&key]);
            assert_eq!(told, expected, "seed {seed}, {key}");
            assert_eq!(log.results[&key].holes, 0, "seed {seed}, {key}");
            changes += told.len();
        }
        assert_eq!(log.corrections, 0, "seed {seed}");
    }
    assert!(changes > 100, "only {changes} changes");
}
