//! The engine: owns every watched series. Plain code without async, I/O or clock: the same events at the same moments
//! give the same effects, which is what lets replay, a standby and the tests call the same `apply`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::chart::{self, Chart};
use super::complaints::Complaints;
use super::effect::Effect;
use super::feed_state::Feed;
use super::handle::EngineInfo;
use super::moment::Moment;
use super::order::{SchedulerInfo, names};
use super::settings::{Beginning, EngineSettings, Operation, TechnicalFigures};
use super::sweep::Sweeps;
use super::watched::{Leave, Tally, Watched};
use crate::clock::Mono;
use crate::exchange::{CandleRequest, ConnectionId, FeedEvent, RefusedRows};
use crate::market::{Candle, Interval, SeriesKey, SeriesStatus, Symbol};
use crate::store::{ToldOfAll, Voice, Write};

/// After a new leave to speak, or the first list under it, what was told of a contract that comes onto the list within this
/// time holds; of one that comes later it begins anew.
const WANTS_COME_WITHIN_MS: u64 = 60_000;

/// A takeover is done within this time: what closed before that was missed, and is told as caught up.
const HANDOVER_MS: f64 = 10_000.0;

/// What the engine is told.
#[derive(Debug)]
pub enum Event {
    /// Watch exactly these contracts from now on.
    Universe(BTreeSet<Symbol>),
    /// Of the contracts exactly these no longer trade. One that trades again must leave and come back.
    Ended(BTreeSet<Symbol>),
    /// Every perpetual that trades, watched or not.
    Tradable(Arc<BTreeSet<Symbol>>),
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
    /// Whether what is said reaches anybody.
    Voice(Voice),
    /// The operator: go on, and sweep so often from now on.
    Start(Option<Duration>),
    /// The operator: say nothing until `Start`.
    Stop,
    /// Read a series' newest closed candles anew; `Effect::Refreshed` tells how it went.
    Refresh(SeriesKey),
    /// Time has passed.
    Tick,
}

/// Every watched series and what is known of the feed as a whole.
pub struct Engine {
    pub(super) intervals: Vec<Interval>,
    technical: TechnicalFigures,
    voice: Beginning,
    operation: Operation,
    pub(super) watched: BTreeMap<SeriesKey, Watched>,
    pub(super) symbols: BTreeSet<Symbol>,
    ended: BTreeSet<Symbol>,
    tradable: Arc<BTreeSet<Symbol>>,
    /// What readers were told of series that are not watched yet: the watch list is still being read, or what readers want
    /// beside it.
    untold: ToldOfAll,
    /// Until when that counts; none: there is no list yet.
    untold_until: Option<Mono>,
    /// Which connection carries which series: a contract that comes back may never have left its connection.
    carried: BTreeMap<SeriesKey, ConnectionId>,
    pub(super) sweeps: Sweeps,
    /// Reads an operator or a client waits for.
    pub(super) refreshing: BTreeMap<SeriesKey, CandleRequest>,
    feed: Feed,
    tally: Tally,
    /// When time last passed, and how long all series together were dirty by then, real time.
    ticked_at: Option<Mono>,
    dirty_ms: u64,
    impossible: Complaints,
    overflow: Complaints,
    late: Complaints,
    pub(super) lacking: Complaints,
}

impl Engine {
    /// An engine that watches nothing yet: its watch list comes as an event.
    pub fn new(settings: &EngineSettings) -> Self {
        Self {
            intervals: settings.intervals.clone(),
            technical: settings.technical,
            voice: settings.beginning,
            operation: settings.operation,
            watched: BTreeMap::new(),
            symbols: BTreeSet::new(),
            ended: BTreeSet::new(),
            tradable: Arc::default(),
            untold: ToldOfAll::new(),
            untold_until: None,
            carried: BTreeMap::new(),
            sweeps: Sweeps::new(settings.sweep_every),
            refreshing: BTreeMap::new(),
            feed: Feed::default(),
            tally: Tally::default(),
            ticked_at: None,
            dirty_ms: 0,
            impossible: Complaints::default(),
            overflow: Complaints::default(),
            late: Complaints::default(),
            lacking: Complaints::default(),
        }
    }

    /// Takes one event in at `now`; what must be done is appended to `out`, in order.
    pub fn apply(&mut self, event: Event, now: &Moment, out: &mut Vec<Effect>) {
        match event {
            Event::Universe(symbols) => self.watch(symbols, now, out),
            Event::Ended(symbols) => self.end(symbols, now, out),
            Event::Tradable(tradable) => {
                self.tradable = tradable;
                self.tell_tradable(out);
            }
            Event::Feed(event) => self.feed(event, now, out),
            Event::Answer { request, rows } => self.answer(&request, rows.as_deref(), now, out),
            Event::Simulated(simulated) => self.feed.simulated = simulated,
            Event::Voice(Voice::Silent) => self.fall_silent(),
            Event::Voice(Voice::Speaking { turn, told, .. }) => self.speak(turn, &told, now, out),
            Event::Start(every) => self.start(every, now, out),
            Event::Stop => self.stop(now, out),
            Event::Refresh(key) => self.refresh(key, now, out),
            Event::Tick => self.tick(now, out),
        }
    }

    fn tick(&mut self, now: &Moment, out: &mut Vec<Effect>) {
        let since = self.ticked_at.replace(now.mono);
        let passed_ms = since.map_or(0, |since| now.mono.ms_since(since));
        for watched in self.watched.values_mut() {
            watched.tick(now, out);
            if let Some(open_time) = watched.alarm(now)
                && let Some(unsaid) = self.late.due(now.mono)
            {
                tracing::error!(series = %watched.key(), %open_time, unsaid, "a candle closed half a minute ago and has come from neither stream nor REST");
            }
            if watched.status() == SeriesStatus::Dirty {
                self.dirty_ms += passed_ms;
            }
        }
        self.tell_status(now, out);
        self.sweep(now, out);
    }

    /// Whether the operator lets it work, and how the sweeps go.
    pub fn scheduler(&self) -> SchedulerInfo {
        SchedulerInfo {
            running: self.operation == Operation::Running,
            symbols: self.symbols.len(),
            sweep_every: self.sweeps.every(),
            sweep: self.sweeps.figures(),
        }
    }

    /// Whether anything may be said at all.
    pub(super) const fn speaks(&self) -> bool {
        matches!(
            (self.voice, self.operation),
            (Beginning::Speaking, Operation::Running)
        )
    }

    const fn leave(&self) -> Leave {
        match (self.voice, self.operation) {
            (Beginning::Silent, _) => Leave::Silent,
            (Beginning::Speaking, Operation::Stopped) => Leave::Stopped,
            (Beginning::Speaking, Operation::Running) => Leave::Speak,
        }
    }

    fn fall_silent(&mut self) {
        self.voice = Beginning::Silent;
        self.sweeps.stop();
        self.untold.clear();
        for watched in self.watched.values_mut() {
            watched.fall_silent();
        }
    }

    fn speak(&mut self, turn: u64, told: &ToldOfAll, now: &Moment, out: &mut Vec<Effect>) {
        out.push(Effect::Write(Write::Turn(turn)));
        self.voice = Beginning::Speaking;
        self.tell_tradable(out);
        self.sweeps.stop();
        let leave = self.leave();
        let handed_over_at = now.exchange.plus_ms(-now.from_real_ms(HANDOVER_MS));
        for (key, watched) in &mut self.watched {
            watched.learn(told.get(key), leave, now);
            watched.is_late_until(handed_over_at);
        }
        let is_watched = |key: &SeriesKey| self.watched.contains_key(key);
        let untold = told.iter().filter(|(key, _)| !is_watched(key));
        self.untold = untold
            .map(|(key, told)| (key.clone(), told.clone()))
            .collect();
        let has_list = !self.symbols.is_empty();
        self.untold_until = has_list.then(|| now.mono.plus_ms(WANTS_COME_WITHIN_MS));
        self.feed.forget();
        self.go_on(now, out);
    }

    fn start(&mut self, every: Option<Duration>, now: &Moment, out: &mut Vec<Effect>) {
        if let Some(every) = every {
            self.sweeps.set_every(every);
        }
        if self.operation == Operation::Running {
            return;
        }
        self.operation = Operation::Running;
        for watched in self.watched.values_mut() {
            watched.is_late_until(now.exchange);
        }
        self.go_on(now, out);
    }

    /// Says what waits to be said, where nothing holds it back.
    fn go_on(&mut self, now: &Moment, out: &mut Vec<Effect>) {
        if self.speaks() {
            for watched in self.watched.values_mut() {
                watched.go_on(now, out);
            }
        }
        self.tell_status(now, out);
        self.sweep(now, out);
    }

    fn stop(&mut self, now: &Moment, out: &mut Vec<Effect>) {
        if self.operation == Operation::Stopped {
            return;
        }
        self.operation = Operation::Stopped;
        self.sweeps.stop();
        tracing::info!("HAMA scheduler stopped");
        if self.voice == Beginning::Speaking {
            for watched in self.watched.values_mut() {
                watched.stop(now, out);
            }
        }
        self.tell_status(now, out);
    }

    fn answer(
        &mut self,
        request: &CandleRequest,
        rows: Option<&[Candle]>,
        now: &Moment,
        out: &mut Vec<Effect>,
    ) {
        if self.audited(request, rows, now, out) || self.refreshed(request, rows, now, out) {
            return;
        }
        if let Some(watched) = self.trading(&request.key) {
            watched.answered(request, rows, now, out);
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
            bad_candles: sum.impossible + sum.early,
            refused: RefusedRows {
                early: sum.early,
                ..RefusedRows::default()
            },
            duplicates: sum.duplicates,
            late_closes: sum.late_closes,
            close_delays: sum.delays,
            audit: sum.audit,
            dirty_ms: self.dirty_ms,
            ..EngineInfo::default()
        }
    }

    fn watch(&mut self, symbols: BTreeSet<Symbol>, now: &Moment, out: &mut Vec<Effect>) {
        let added: Vec<_> = symbols.difference(&self.symbols).cloned().collect();
        let removed: Vec<_> = self.symbols.difference(&symbols).cloned().collect();
        if added.is_empty() && removed.is_empty() {
            return;
        }
        let until = now.mono.plus_ms(WANTS_COME_WITHIN_MS);
        if *self.untold_until.get_or_insert(until) < now.mono {
            self.untold.clear();
        }
        let mut begun = Vec::new();
        for (rank, interval) in self.intervals.clone().into_iter().enumerate() {
            for symbol in &added {
                let key = SeriesKey::new(symbol.clone(), interval);
                self.begin(key, rank, now, &mut begun);
            }
            for symbol in &removed {
                let gone = self
                    .watched
                    .remove(&SeriesKey::new(symbol.clone(), interval));
                self.tally
                    .add(&gone.map(|watched| watched.tally).unwrap_or_default());
            }
        }
        if symbols.is_disjoint(&self.symbols) {
            self.sweeps.stop(); // the next one begins at once, with the new list
        }
        self.sweeps.leave_out(&removed, now);
        self.symbols = symbols;
        self.follow(out); // before the first read is asked for: what nobody follows is not read
        out.append(&mut begun);
        if self.voice == Beginning::Speaking {
            out.push(Effect::Write(Write::Symbols { added, removed }));
        }
        self.tell_status(now, out);
    }

    /// A series is watched from now on.
    fn begin(&mut self, key: SeriesKey, rank: usize, now: &Moment, out: &mut Vec<Effect>) {
        let leave = self.leave();
        let mut watched = Watched::new(key.clone(), rank, leave, self.technical, now, out);
        if let Some(told) = self.untold.remove(&key) {
            watched.learn(Some(&told), leave, now);
        }
        if self.ended.contains(&key.symbol) {
            watched.end(now, out);
        } else if let Some(connection) = self.carried.get(&key) {
            watched.linked(*connection, now, out);
        }
        self.watched.insert(key, watched);
    }

    /// These contracts no longer trade: the last is said of their series, and their streams are let go.
    fn end(&mut self, ended: BTreeSet<Symbol>, now: &Moment, out: &mut Vec<Effect>) {
        let before = std::mem::replace(&mut self.ended, ended);
        let new: Vec<_> = self.ended.difference(&before).cloned().collect();
        if new.is_empty() {
            return;
        }
        for watched in self.watched.values_mut() {
            if new.contains(&watched.key().symbol) {
                watched.end(now, out);
            }
        }
        tracing::info!(contracts = %names(&new), "no longer traded");
        self.sweeps.leave_out(&new, now);
        self.follow(out);
        self.tell_status(now, out);
    }

    /// Has the streams carry what is watched and trades.
    fn follow(&self, out: &mut Vec<Effect>) {
        let keys = self.watched.keys();
        let trading = keys.filter(|key| !self.ended.contains(&key.symbol));
        out.push(Effect::Watch(trading.cloned().collect()));
    }

    fn tell_tradable(&self, out: &mut Vec<Effect>) {
        if self.voice == Beginning::Speaking && !self.tradable.is_empty() {
            out.push(Effect::Write(Write::Tradable(self.tradable.clone())));
        }
    }

    /// The watched series `key` as long as its contract trades: whatever comes of it after its end is not its own.
    pub(super) fn trading(&mut self, key: &SeriesKey) -> Option<&mut Watched> {
        if self.ended.contains(&key.symbol) {
            return None;
        }
        self.watched.get_mut(key)
    }

    /// The watched contracts that trade.
    pub(super) fn symbols_in_trade(&self) -> impl Iterator<Item = Symbol> {
        self.symbols.difference(&self.ended).cloned()
    }

    fn feed(&mut self, event: FeedEvent, now: &Moment, out: &mut Vec<Effect>) {
        match event {
            FeedEvent::Up { connection, keys } => {
                for key in keys.iter() {
                    self.carried.insert(key.clone(), connection);
                    if let Some(watched) = self.trading(key) {
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
                self.carried.retain(|_, carrier| *carrier != connection);
                for watched in self.watched.values_mut() {
                    watched.unlinked(connection, silent_for, now, out);
                }
                tracing::warn!(%connection, series = keys.len(), reason, ?code, "stream connection lost");
            }
            FeedEvent::Left { connection, keys } => {
                self.leave_connection(connection, &keys, now, out);
            }
            FeedEvent::Open {
                key,
                candle,
                event_time,
            } => {
                self.feed.note_lag(event_time, now);
                if let Some(watched) = self.trading(&key) {
                    watched.open(candle, now, out);
                    self.complain(&key, now);
                }
            }
            FeedEvent::Closed {
                key,
                candle,
                event_time,
            } => {
                self.feed.note_lag(event_time, now);
                if let Some(watched) = self.trading(&key) {
                    watched.closed(candle, now, out);
                    self.complain(&key, now);
                }
            }
            FeedEvent::Listing { .. } => out.push(Effect::ReadListing),
            FeedEvent::Mute { key } => {
                if let Some(watched) = self.trading(&key) {
                    watched.muted(now, out);
                }
            }
            FeedEvent::Heard { .. } => {} // its open candle comes beside this
            // The close that was lost is read from REST as any other that does not come: by its deadline.
            FeedEvent::Refused { key } => {
                if let Some(unsaid) = self.overflow.due(now.mono) {
                    tracing::warn!(series = %key, unsaid, "a closed candle did not fit the queue");
                }
            }
        }
    }

    /// What left and came back before this was heard waits for the next `Up`.
    fn leave_connection(
        &mut self,
        connection: ConnectionId,
        keys: &[SeriesKey],
        now: &Moment,
        out: &mut Vec<Effect>,
    ) {
        for key in keys {
            if self.carried.get(key) == Some(&connection) {
                self.carried.remove(key);
            }
            if let Some(watched) = self.trading(key) {
                watched.unlinked(connection, Duration::ZERO, now, out);
            }
        }
    }

    fn complain(&mut self, key: &SeriesKey, now: &Moment) {
        let refused = self
            .watched
            .get_mut(key)
            .map(|watched| &mut watched.refused);
        if let Some(refusal) = refused.and_then(Option::take)
            && let Some(unsaid) = self.impossible.due(now.mono)
        {
            tracing::warn!(series = %key, %refusal, unsaid, "candle dropped");
        }
    }

    /// Writes the feed's status when it changed, and from time to time for its lag.
    fn tell_status(&mut self, now: &Moment, out: &mut Vec<Effect>) {
        if self.voice == Beginning::Silent {
            return;
        }
        let due = self.feed.due(&self.watched, self.operation, now);
        out.extend(due.map(|status| Effect::Write(Write::Status(status))));
    }
}
