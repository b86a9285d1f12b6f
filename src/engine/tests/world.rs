//! A made-up market of one series, an engine that follows it, and everything that engine said.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Mono;
use crate::engine::{
    Effect, Engine, EngineSettings, Event, FetchJob, Moment, OrderError, Urgency, WatchList,
};
use crate::exchange::{CandleRequest, ConnectionId, FeedEvent};
use crate::market::{Candle, Interval, OpenTime, SeriesKey, SeriesStatus, Symbol, TimeMs};
use crate::signal::{
    Analyzer, ChangeBody, Correction, FeedStatus, Recommendation, SignalChange, SignalResult,
    Technical,
};
use crate::store::{Occasion, Write};

pub(super) const MINUTE: i64 = 60_000;

/// Minute 0 of the made-up market, and how far it has come when the engine starts.
pub(super) const ORIGIN_MS: i64 = 1_700_000_040_000;
pub(super) const START: i64 = 600;

/// A price that trends and turns, so that BUY, SELL and HOLD all come up; the same for the same minute.
pub(super) fn price(minute: i64) -> f64 {
    let t = minute as f64;
    100.0 + 4.0 * (t / 37.0).sin() + 1.5 * (t / 11.0).sin() + 0.3 * (t * 1.7).sin()
}

pub(super) fn candle(minute: i64) -> Candle {
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

pub(super) fn key() -> SeriesKey {
    SeriesKey::new(Symbol::parse("BTCUSDT").unwrap(), Interval::M1)
}

/// The changes an uninterrupted run would tell of the candles that close after `after`.
pub(super) fn changes_of(
    candles: &[Candle],
    after: TimeMs,
) -> Vec<(TimeMs, Recommendation, Recommendation)> {
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
pub(super) struct World {
    pub(super) engine: Engine,
    pub(super) market: BTreeMap<OpenTime, Candle>,
    pub(super) now: Moment,
    /// How far the REST side is behind.
    pub(super) lag_ms: i64,
    pub(super) asked: Vec<FetchJob>,
    /// Reads of the sweep; they are answered by `answer_audits` only.
    pub(super) audits: Vec<FetchJob>,
    /// Its samples of older candles; answered by `answer_samples` only.
    pub(super) samples: Vec<FetchJob>,
    /// How many reads were asked for so far.
    pub(super) requests: usize,
    pub(super) changes: Vec<SignalChange>,
    pub(super) corrections: Vec<Correction>,
    pub(super) results: Vec<(SignalResult, Occasion)>,
    pub(super) statuses: Vec<FeedStatus>,
    pub(super) refreshed: Vec<(SeriesKey, Result<(), OrderError>)>,
    pub(super) technicals: usize,
    /// As they were told last.
    pub(super) technical: Technical,
    /// What was said of the watch list.
    pub(super) of_the_list: Vec<Write>,
    /// What the streams are to carry.
    pub(super) followed: BTreeSet<SeriesKey>,
    /// How often the listing was to be read anew.
    pub(super) listings_asked: usize,
    /// How much was said so far, of whatever kind.
    pub(super) writes: usize,
    pub(super) first_write: Option<Write>,
}

impl World {
    pub(super) fn new(market: impl Iterator<Item = Candle>) -> Self {
        let settings = EngineSettings::new(WatchList::Top(1), vec![Interval::M1]);
        Self::of(&settings, market)
    }

    pub(super) fn of(settings: &EngineSettings, market: impl Iterator<Item = Candle>) -> Self {
        let exchange = TimeMs::new(ORIGIN_MS + START * MINUTE + 10_000);
        let now = Moment {
            exchange,
            mono: Mono::from_ms(1_000),
            wall: exchange,
            speed: 1.0,
            error_ms: 0,
            doubt_ms: 0,
        };
        let mut world = Self::watching_nothing(settings, market, now);
        world.apply(Event::Universe(BTreeSet::from([key().symbol])));
        world
    }

    pub(super) fn watching_nothing(
        settings: &EngineSettings,
        market: impl Iterator<Item = Candle>,
        now: Moment,
    ) -> Self {
        Self {
            engine: Engine::new(settings),
            market: market.map(|candle| (candle.open_time, candle)).collect(),
            now,
            lag_ms: 0,
            asked: Vec::new(),
            audits: Vec::new(),
            samples: Vec::new(),
            requests: 0,
            changes: Vec::new(),
            corrections: Vec::new(),
            results: Vec::new(),
            statuses: Vec::new(),
            refreshed: Vec::new(),
            technicals: 0,
            technical: Technical::default(),
            of_the_list: Vec::new(),
            followed: BTreeSet::new(),
            listings_asked: 0,
            writes: 0,
            first_write: None,
        }
    }

    /// A world whose series is live, at `START` and ten seconds.
    pub(super) fn live() -> Self {
        Self::live_with((0..START + 2_000).map(candle))
    }

    pub(super) fn live_with(market: impl Iterator<Item = Candle>) -> Self {
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

    pub(super) fn apply(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.engine.apply(event, &self.now, &mut effects);
        for effect in effects {
            if let Effect::Write(write) = &effect {
                self.writes += 1;
                self.first_write.get_or_insert_with(|| write.clone());
            }
            match effect {
                Effect::Ask(job) if job.urgency == Urgency::Audit => {
                    if job.rank == self.engine.intervals.len() {
                        self.samples.push(job);
                    } else {
                        self.audits.push(job);
                    }
                }
                Effect::Ask(job) => {
                    self.requests += 1;
                    self.asked.push(job);
                }
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
                Effect::Write(Write::Status(status)) => self.statuses.push(status),
                Effect::Write(Write::Technical { technical, .. }) => {
                    self.technicals += 1;
                    self.technical = *technical;
                }
                Effect::Refreshed(key, outcome) => self.refreshed.push((key, outcome)),
                Effect::Write(
                    write @ (Write::Ended(_) | Write::Symbols { .. } | Write::Tradable(_)),
                ) => self.of_the_list.push(write),
                Effect::Watch(keys) => self.followed = keys,
                Effect::ReadListing => self.listings_asked += 1,
                Effect::Write(Write::Turn(_) | Write::Scheduler(_)) => {}
            }
        }
    }

    pub(super) fn status(&self) -> SeriesStatus {
        self.engine.watched[&key()].status()
    }

    pub(super) fn last_result(&self) -> &SignalResult {
        &self.results.last().unwrap().0
    }

    pub(super) fn up(&mut self, connection: u64) {
        self.up_with(connection, &key());
    }

    pub(super) fn up_with(&mut self, connection: u64, key: &SeriesKey) {
        let keys = Arc::from([key.clone()]);
        self.apply(Event::Feed(FeedEvent::Up {
            connection: ConnectionId::new(connection),
            keys,
        }));
    }

    pub(super) fn down(&mut self, connection: u64) {
        self.down_after_silence(connection, Duration::ZERO);
    }

    pub(super) fn down_after_silence(&mut self, connection: u64, silent_for: Duration) {
        let (connection, keys) = (ConnectionId::new(connection), Arc::from([key()]));
        self.apply(Event::Feed(FeedEvent::Down {
            connection,
            keys,
            reason: "cut".into(),
            code: None,
            silent_for,
        }));
    }

    /// Moves both clocks, in ticks of half a second, answering nothing.
    pub(super) fn wait_ms(&mut self, ms: i64) {
        for _ in 0..ms / 500 {
            self.now.exchange = self.now.exchange.plus_ms(500);
            self.now.mono = self.now.mono.plus_ms(500);
            self.apply(Event::Tick);
        }
    }

    /// As the exchange would answer what was asked: from its market, closed candles only.
    pub(super) fn answer_all(&mut self) {
        while let Some(job) = self.asked.pop() {
            let rows = self.rows(&job.request);
            self.answer(job.request, rows);
        }
    }

    /// Has a hole read until REST shows a candle behind it.
    pub(super) fn see_the_hole(&mut self) {
        for _ in 0..4 {
            self.answer_all();
            self.wait_ms(2_500);
        }
        assert_eq!(self.asked, [], "seen; the second look is a minute away");
    }

    /// The same for what the sweep asked.
    pub(super) fn answer_audits(&mut self) {
        while let Some(job) = self.audits.pop() {
            let rows = self.rows(&job.request);
            self.answer(job.request, rows);
        }
    }

    /// The same for the samples of older candles.
    pub(super) fn answer_samples(&mut self) {
        while let Some(job) = self.samples.pop() {
            let rows = self.rows(&job.request);
            self.answer(job.request, rows);
        }
    }

    /// What the exchange has of it, as far as its REST side has come.
    pub(super) fn rows(&self, request: &CandleRequest) -> Vec<Candle> {
        let shown = self.now.exchange.plus_ms(-self.lag_ms);
        let mut rows: Vec<_> = self
            .market
            .range(request.from.unwrap_or(OpenTime::from_ms(0))..=request.until)
            .filter(|(open, _)| shown > Interval::M1.close_time(**open))
            .map(|(_, candle)| *candle)
            .collect();
        let limit = usize::from(request.limit);
        if request.from.is_some() {
            rows.truncate(limit);
        } else {
            rows.drain(..rows.len().saturating_sub(limit));
        }
        rows
    }

    pub(super) fn answer(&mut self, request: CandleRequest, rows: Vec<Candle>) {
        let rows = Some(rows);
        self.apply(Event::Answer { request, rows });
    }

    pub(super) fn open(&mut self, candle: Candle) {
        let event_time = self.now.exchange;
        self.apply(Event::Feed(FeedEvent::Open {
            key: key(),
            candle,
            event_time,
        }));
    }

    pub(super) fn close(&mut self, candle: Candle) {
        let event_time = self.now.exchange;
        self.apply(Event::Feed(FeedEvent::Closed {
            key: key(),
            candle,
            event_time,
        }));
    }

    /// The minute that is forming at `now`.
    pub(super) fn minute(&self) -> i64 {
        (self.now.exchange.ms() - ORIGIN_MS).div_euclid(MINUTE)
    }

    /// Lets the forming minute end; its close event comes unless `lost`.
    pub(super) fn next_minute(&mut self, close_event: CloseEvent) {
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

    pub(super) fn told(&self) -> Vec<(TimeMs, Recommendation, Recommendation)> {
        let told = |change: &SignalChange| {
            (
                change.candle_close_time,
                change.previous,
                change.recommendation,
            )
        };
        self.changes.iter().map(told).collect()
    }

    /// What stands of what was told, after all corrections.
    pub(super) fn stands(&self) -> Vec<(TimeMs, Recommendation, Recommendation)> {
        let mut stands = self.told();
        for correction in &self.corrections {
            stands.retain(|(close, ..)| !correction.corrects.contains(close));
            stands.extend(correction.stands.iter().map(|stand| {
                (
                    stand.candle_close_time,
                    stand.previous,
                    stand.recommendation,
                )
            }));
        }
        stands.sort_by_key(|(close, ..)| *close);
        stands
    }

    /// What should have been told since the series became live, by the market's candles up to its newest.
    pub(super) fn expected(&self) -> Vec<(TimeMs, Recommendation, Recommendation)> {
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
pub(super) enum CloseEvent {
    Comes,
    Lost,
}
