//! The engine: owns every watched series. Plain code without async, I/O or clock: the same events at the same moments
//! give the same effects, which is what lets replay, a standby and the tests call the same `apply`.

use std::collections::{BTreeMap, BTreeSet};

use super::chart::{self, Chart};
use super::complaints::Complaints;
use super::effect::Effect;
use super::handle::EngineInfo;
use super::moment::Moment;
use super::watched::{Tally, Watched};
use crate::clock::Mono;
use crate::exchange::{CandleRequest, FeedEvent};
use crate::market::{Candle, Interval, SeriesKey, SeriesStatus, Symbol, TimeMs};
use crate::signal::{FeedState, FeedStatus, SeriesCounts, StoreState};
use crate::store::Write;

/// The feed's status is written again after so long, for its lag.
const STATUS_EVERY_MS: u64 = 1_000;

/// What the engine is told.
#[derive(Debug)]
pub enum Event {
    /// Watch exactly these contracts from now on.
    Universe(BTreeSet<Symbol>),
    /// What the streams say.
    Feed(FeedEvent),
    /// Candles that were asked for; none when there will be no answer.
    Answer {
        /// What was asked.
        request: CandleRequest,
        /// The candles, oldest first.
        rows: Option<Vec<Candle>>,
    },
    /// The exchange says that it is simulated, or not.
    Simulated(bool),
    /// Time has passed.
    Tick,
}

/// Every watched series and what is known of the feed as a whole.
pub struct Engine {
    intervals: Vec<Interval>,
    pub(super) watched: BTreeMap<SeriesKey, Watched>,
    symbols: BTreeSet<Symbol>,
    simulated: bool,
    lag_ms: Option<i64>,
    told: Option<(FeedStatus, Mono)>,
    tally: Tally,
    impossible: Complaints,
    overflow: Complaints,
}

impl Engine {
    /// An engine that watches nothing yet and will follow each contract at `intervals`, the first being the primary one.
    pub fn new(intervals: Vec<Interval>) -> Self {
        Self {
            intervals,
            watched: BTreeMap::new(),
            symbols: BTreeSet::new(),
            simulated: false,
            lag_ms: None,
            told: None,
            tally: Tally::default(),
            impossible: Complaints::default(),
            overflow: Complaints::default(),
        }
    }

    /// Takes one event in at `now`; what must be done is appended to `out`, in order.
    pub fn apply(&mut self, event: Event, now: &Moment, out: &mut Vec<Effect>) {
        match event {
            Event::Universe(symbols) => self.watch(symbols, now, out),
            Event::Feed(event) => self.feed(event, now, out),
            Event::Answer { request, rows } => {
                if let Some(watched) = self.watched.get_mut(&request.key) {
                    watched.answered(&request, rows.as_deref(), now, out);
                }
            }
            Event::Simulated(simulated) => self.simulated = simulated,
            Event::Tick => {
                for watched in self.watched.values_mut() {
                    watched.tick(now, out);
                }
                self.tell_status(now, out);
            }
        }
    }

    /// The last `limit` candles of a series as a chart shows them; none when it is not watched.
    pub fn chart(&self, key: &SeriesKey, limit: usize) -> Option<Chart> {
        self.watched
            .get(key)
            .map(|watched| chart::of(watched, limit))
    }

    /// The engine's figures. Weight and connections wanted are the caller's to fill in.
    pub fn info(&self) -> EngineInfo {
        let mut sum = self.tally;
        let mut connections = BTreeSet::new();
        for watched in self.watched.values() {
            sum.add(&watched.tally);
            connections.extend(watched.connection());
        }
        EngineInfo {
            connections_up: connections.len(),
            closes_from_stream: sum.from_stream,
            closes_from_rest: sum.from_rest,
            holes_opened: sum.holes_opened,
            holes_closed: sum.holes_closed,
            corrections: sum.corrections,
            bad_candles: sum.bad_candles,
            ..EngineInfo::default()
        }
    }

    fn watch(&mut self, symbols: BTreeSet<Symbol>, now: &Moment, out: &mut Vec<Effect>) {
        let added: Vec<_> = symbols.difference(&self.symbols).cloned().collect();
        let removed: Vec<_> = self.symbols.difference(&symbols).cloned().collect();
        if added.is_empty() && removed.is_empty() {
            return;
        }
        for (rank, interval) in self.intervals.iter().enumerate() {
            for symbol in &added {
                let key = SeriesKey::new(symbol.clone(), *interval);
                self.watched
                    .insert(key.clone(), Watched::new(key, rank, now, out));
            }
            for symbol in &removed {
                let gone = self
                    .watched
                    .remove(&SeriesKey::new(symbol.clone(), *interval));
                self.tally
                    .add(&gone.map(|watched| watched.tally).unwrap_or_default());
            }
        }
        self.symbols = symbols;
        out.push(Effect::Watch(self.watched.keys().cloned().collect()));
        out.push(Effect::Write(Write::Symbols { added, removed }));
        self.tell_status(now, out);
    }

    fn feed(&mut self, event: FeedEvent, now: &Moment, out: &mut Vec<Effect>) {
        match event {
            FeedEvent::Up { connection, keys } => {
                for key in keys.iter() {
                    if let Some(watched) = self.watched.get_mut(key) {
                        watched.linked(connection, now, out);
                    }
                }
                tracing::info!(%connection, series = keys.len(), "stream connection up");
            }
            FeedEvent::Down {
                connection,
                keys,
                reason,
                code,
                silent_for,
            } => {
                for key in keys.iter() {
                    if let Some(watched) = self.watched.get_mut(key) {
                        watched.unlinked(connection, silent_for, now, out);
                    }
                }
                tracing::warn!(%connection, series = keys.len(), reason, ?code, "stream connection lost");
            }
            FeedEvent::Open {
                key,
                candle,
                event_time,
            } => {
                self.note_lag(event_time, now);
                if let Some(watched) = self.watched.get_mut(&key) {
                    watched.open(candle, now, out);
                    complain(watched, &mut self.impossible, now);
                }
            }
            FeedEvent::Closed {
                key,
                candle,
                event_time,
            } => {
                self.note_lag(event_time, now);
                if let Some(watched) = self.watched.get_mut(&key) {
                    watched.closed(candle, now, out);
                    complain(watched, &mut self.impossible, now);
                }
            }
            // The close that was lost is read from REST as any other that does not come: by its deadline.
            FeedEvent::Refused { key } => {
                if let Some(unsaid) = self.overflow.due(now.mono) {
                    tracing::warn!(series = %key, unsaid, "a closed candle did not fit the queue");
                }
            }
        }
    }

    fn note_lag(&mut self, event_time: TimeMs, now: &Moment) {
        self.lag_ms = Some(now.exchange.ms_since(event_time).max(0));
    }

    /// Writes the feed's status when it changed, and from time to time for its lag.
    fn tell_status(&mut self, now: &Moment, out: &mut Vec<Effect>) {
        let status = self.feed_status(now);
        let due = self.told.as_ref().is_none_or(|(told, at)| {
            FeedStatus {
                lag_ms: told.lag_ms,
                ..status
            } != *told
                || now.mono.ms_since(*at) >= STATUS_EVERY_MS
        });
        if due {
            if self
                .told
                .as_ref()
                .is_none_or(|(told, _)| told.feed != status.feed)
            {
                tracing::info!(feed = ?status.feed, series = ?status.series, "feed");
            }
            self.told = Some((status, now.mono));
            out.push(Effect::Write(Write::Status(status)));
        }
    }

    fn feed_status(&self, now: &Moment) -> FeedStatus {
        let mut series = SeriesCounts::default();
        let mut all_up = true;
        for watched in self.watched.values() {
            *series.of(watched.status()) += 1;
            all_up &= watched.connection().is_some() || watched.status() == SeriesStatus::Ended;
        }
        let feed = if series.live == 0 {
            FeedState::Down
        } else if series.stale + series.dirty > 0 || !all_up {
            FeedState::Degraded
        } else {
            FeedState::Live
        };
        FeedStatus {
            feed,
            store: StoreState::Memory,
            series,
            lag_ms: self.lag_ms,
            speed: now.speed,
            simulated: self.simulated,
        }
    }
}

fn complain(watched: &mut Watched, complaints: &mut Complaints, now: &Moment) {
    if let Some(refusal) = watched.refused.take()
        && let Some(unsaid) = complaints.due(now.mono)
    {
        tracing::warn!(series = %watched.key(), %refusal, unsaid, "candle dropped");
    }
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.from_stream += other.from_stream;
        self.from_rest += other.from_rest;
        self.holes_opened += other.holes_opened;
        self.holes_closed += other.holes_closed;
        self.corrections += other.corrections;
        self.bad_candles += other.bad_candles;
    }
}
