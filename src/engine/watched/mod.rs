//! One watched series: its candles, its indicator, what readers were told of it, and what must be asked of the exchange.
//! What must hold: candles enter history by the commit rule alone; a change leaves only while the series is live and
//! the engine may speak, so what a hole, a lost connection or a stop held back waits in `unsaid` and goes out, in order.
//! However long it was away, what it missed is read and told as caught up. Nothing here waits or sends: time comes in,
//! effects go out.

mod asking;
mod checking;
mod disputed;
mod record;
mod taking;
mod tally;
mod telling;

use std::time::Duration;

use self::checking::Word;
use self::disputed::Disputed;
use self::record::Record;
pub(super) use self::tally::Tally;
use super::effect::Effect;
use super::moment::Moment;
use super::patience::SeenTwice;
use super::settings::TechnicalFigures;
use super::warmup::{ENOUGH, Past, Step, WarmUp};
use crate::clock::Mono;
use crate::exchange::{CandleRequest, ConnectionId};
use crate::market::{Candle, OpenTime, Origin, Refusal, Series, SeriesKey, SeriesStatus, TimeMs};
use crate::signal::{
    Analysis, Analyzer, Correction, History, Recommendation, SignalResult, TechnicalTrack,
};
use crate::store::Occasion;

/// Whether candles of the series are coming in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Never,
    Up(ConnectionId),
    Down {
        since: Mono,
    },
    /// Never again: the contract no longer trades.
    Ended,
}

/// A change that is computed and not yet told.
enum Unsaid {
    Signal {
        analysis: Box<Analysis>,
        previous: Recommendation,
        price: f64,
        origin: Origin,
    },
    Correction(Box<Correction>),
}

/// Whether REST had the next candle when it last answered for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RestSide {
    HadIt,
    LackedIt,
}

/// What an event did to the series, for the result to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    Nothing,
    OpenCandle,
    Close,
    /// Nothing, but the result is to be written all the same.
    Again(Occasion),
}

/// Whether what is known of the series may be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    /// It may.
    Speak,
    /// The operator stopped the engine.
    Stopped,
    /// Another engine speaks.
    Silent,
}

/// One watched series.
pub(super) struct Watched {
    key: SeriesKey,
    /// Place of its interval in the settings: the primary one is read first.
    rank: usize,
    series: Series,
    analyzer: Analyzer,
    /// State before the oldest kept candle.
    checkpoint: Analyzer,
    warm_up: Option<WarmUp>,
    history: Option<History>,
    link: Link,
    /// The one request that is on its way.
    asked: Option<CandleRequest>,
    /// The reads on their way, of whatever kind, whose answer will be newer than all that is known of closed candles.
    in_order: Vec<CandleRequest>,
    ask_again_at: Mono,
    fruitless: u32,
    hole: SeenTwice<OpenTime>,
    /// Closed candles of which the stream, or an answer that was overtaken, says something else than history.
    disputed: Disputed,
    rest: RestSide,
    /// Candles of a time to come that came one after the other, nothing believable between them.
    early_in_a_row: u32,
    /// The candle whose close was missing when somebody was last alarmed.
    alarmed: Option<OpenTime>,
    /// Down to this candle older history was held against REST, on the way back through what is kept.
    sampled_to: Option<OpenTime>,
    leave: Leave,
    /// What readers were told; none before the first live result of the epoch.
    record: Option<Record>,
    /// What the newest closed candle says.
    standing: Recommendation,
    /// What follows on the record, as long as it is not `lost`.
    unsaid: Vec<Unsaid>,
    /// What follows on the record must be computed anew, from the record and the candles.
    lost: bool,
    /// How the newest closed candle came.
    last_origin: Origin,
    /// Changes up to this close are told as caught up.
    late_until: TimeMs,
    tells_technical: bool,
    technical: TechnicalTrack,
    status: SeriesStatus,
    /// As it was last told, or would have been.
    result: SignalResult,
    /// Why the last candle was refused, until somebody takes it to complain.
    pub(super) refused: Option<Refusal>,
    /// When somebody last had it read anew.
    pub(super) refreshed_at: Option<Mono>,
    pub(super) tally: Tally,
}

impl Watched {
    /// A series nothing is known of yet; its first, empty result is written.
    pub(super) fn new(
        key: SeriesKey,
        rank: usize,
        leave: Leave,
        technical: TechnicalFigures,
        now: &Moment,
        out: &mut Vec<Effect>,
    ) -> Self {
        let mut result = SignalResult::warming(&key, now.exchange);
        if leave == Leave::Stopped {
            result.status = SeriesStatus::Stopped;
        }
        if leave != Leave::Silent {
            out.push(Effect::result(result.clone(), Occasion::Status));
        }
        Self {
            leave,
            tells_technical: technical == TechnicalFigures::Written && rank == 0,
            technical: TechnicalTrack::default(),
            series: Series::new(key.interval),
            key,
            rank,
            analyzer: Analyzer::default(),
            checkpoint: Analyzer::default(),
            warm_up: Some(WarmUp::default()),
            history: None,
            link: Link::Never,
            asked: None,
            in_order: Vec::new(),
            ask_again_at: Mono::default(),
            fruitless: 0,
            hole: SeenTwice::default(),
            disputed: Disputed::default(),
            rest: RestSide::HadIt,
            early_in_a_row: 0,
            alarmed: None,
            sampled_to: None,
            record: None,
            standing: Recommendation::Hold,
            unsaid: Vec::new(),
            lost: false,
            last_origin: Origin::Rest,
            late_until: TimeMs::new(i64::MIN),
            status: SeriesStatus::Warming,
            result,
            refused: None,
            refreshed_at: None,
            tally: Tally::default(),
        }
    }

    pub(super) fn status(&self) -> SeriesStatus {
        self.status
    }

    pub(super) fn series(&self) -> &Series {
        &self.series
    }

    pub(super) fn checkpoint(&self) -> &Analyzer {
        &self.checkpoint
    }

    /// The connection that carries the series, while it is up.
    pub(super) fn connection(&self) -> Option<ConnectionId> {
        match self.link {
            Link::Up(connection) => Some(connection),
            Link::Never | Link::Down { .. } | Link::Ended => None,
        }
    }

    /// The contract no longer trades. What was said of it last stands, as ended; nothing more is read or said.
    pub(super) fn end(&mut self, now: &Moment, out: &mut Vec<Effect>) {
        self.link = Link::Ended;
        self.asked = None;
        self.tick(now, out);
    }

    /// `connection` carries the series from now on.
    pub(super) fn linked(&mut self, connection: ConnectionId, now: &Moment, out: &mut Vec<Effect>) {
        self.link = Link::Up(connection);
        self.ask_again_at = now.mono;
        self.tick(now, out);
    }

    /// `connection` is lost. News of an older connection than the present one change nothing.
    /// One given up because it was silent has been down for as long: its series are stale at once.
    pub(super) fn unlinked(
        &mut self,
        connection: ConnectionId,
        silent_for: Duration,
        now: &Moment,
        out: &mut Vec<Effect>,
    ) {
        if self.link == Link::Up(connection) {
            self.link = Link::Down {
                since: now.mono.minus(silent_for),
            };
            self.tick(now, out);
        }
    }

    /// The open candle as it stands.
    pub(super) fn open(&mut self, candle: Candle, now: &Moment, out: &mut Vec<Effect>) {
        if self.is_early(&candle, candle.open_time.time(), now) {
            return;
        }
        match self.series.preview(candle) {
            Ok(true) => {
                self.early_in_a_row = 0;
                self.settle(News::OpenCandle, now, out);
            }
            Ok(false) => self.doubt(&candle, now),
            Err(refusal) => self.refuse(refusal),
        }
    }

    /// Its stream has fallen silent while others deliver: what the open candle said last is not shown on. Its closes come
    /// from REST, so it stays live.
    pub(super) fn muted(&mut self, now: &Moment, out: &mut Vec<Effect>) {
        if self.series.forget_open() {
            self.settle(News::OpenCandle, now, out);
        }
    }

    /// An update of a candle that REST has shown as closed: the clock by which it was asked may be wrong (hazard 29), and
    /// REST says once more what it is.
    fn doubt(&mut self, update: &Candle, now: &Moment) {
        let is_newest = self.series.last().map(|last| last.open_time) == Some(update.open_time);
        if is_newest && self.last_origin == Origin::Rest {
            self.dispute(update.open_time, now);
        }
    }

    /// The stream says that a candle has closed.
    pub(super) fn closed(&mut self, candle: Candle, now: &Moment, out: &mut Vec<Effect>) {
        let close_time = self.series.close_time(candle.open_time);
        if self.is_early(&candle, close_time, now) {
            return;
        }
        let news = self.offer(&[candle], Word::Stream, now);
        self.settle(news, now, out);
        self.ask(now, out);
    }

    /// REST has answered `request`, or will not. What the series does not wait for is another's: the one that was watched
    /// under this name before.
    pub(super) fn answered(
        &mut self,
        request: &CandleRequest,
        rows: Option<&[Candle]>,
        now: &Moment,
        out: &mut Vec<Effect>,
    ) {
        let Some(asked) = self.asked.take_if(|asked| asked == request) else {
            return;
        };
        let Some(rows) = rows else {
            self.unanswered(request);
            self.retry_later(now);
            return;
        };
        let word = self.word_of(request);
        let told_until = self.record.as_ref().map(|record| record.base().close_time);
        let news = match self
            .warm_up
            .as_mut()
            .map(|warm_up| warm_up.take(&self.key, (rows, &asked), told_until, now))
        {
            Some(Step::Ask) => {
                if rows.is_empty() {
                    self.retry_later(now); // listed, and not a candle yet
                }
                News::Nothing
            }
            Some(Step::Done(past)) => self.begin(*past, now),
            None => self.repair(rows, word, &asked, now),
        };
        self.settle(news, now, out);
        self.ask(now, out);
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, now: &Moment, out: &mut Vec<Effect>) {
        self.start_over_if_lost(now);
        self.settle(News::Nothing, now, out);
        self.ask(now, out);
    }

    fn refuse(&mut self, refusal: Refusal) {
        match refusal {
            Refusal::Impossible(_) | Refusal::OffGrid { .. } => self.tally.impossible += 1,
            Refusal::Early { .. } => {
                self.tally.early += 1;
                self.early_in_a_row = self.early_in_a_row.saturating_add(1);
            }
        }
        self.refused = Some(refusal);
    }

    /// Refuses a candle that speaks of a `time` still to come: taken in, it would be a hole of its own making before it,
    /// or an open candle that outdates all true ones.
    fn is_early(&mut self, candle: &Candle, time: TimeMs, now: &Moment) -> bool {
        let Some(ahead_ms) = now.surely_ahead_ms(time) else {
            return false;
        };
        self.refuse(Refusal::Early {
            open_time: candle.open_time,
            ahead_ms,
        });
        true
    }

    /// So much is missing that a warm-up is nearer than a repair: begins anew.
    fn start_over_if_lost(&mut self, now: &Moment) {
        let lost = self.warm_up.is_none() && self.asked.is_none() && self.is_lost(now);
        if !lost {
            return;
        }
        tracing::warn!(series = %self.key, "more is missing than is kept: warming up anew");
        self.start_over(now);
    }

    /// History is read anew. What readers were told is not forgotten; what follows on it is computed from the two once
    /// history stands again, which then reaches back to it.
    fn start_over(&mut self, now: &Moment) {
        self.asked = None;
        self.in_order.clear();
        self.warm_up = Some(WarmUp::default());
        self.history = None;
        self.tally.holes_closed += u64::from(self.series.hole().is_some());
        self.series.restart();
        self.analyzer = Analyzer::default();
        self.checkpoint = Analyzer::default();
        self.technical = TechnicalTrack::default();
        self.disputed.clear();
        self.hole.forget();
        self.sampled_to = None;
        self.unsaid.clear();
        self.lost = self.record.is_some();
        let told_status = self.result.status;
        self.result = SignalResult::warming(&self.key, now.exchange);
        self.result.status = told_status;
    }

    fn begin(&mut self, past: Past, now: &Moment) -> News {
        self.warm_up = None;
        self.fruitless = 0;
        self.checkpoint = past.checkpoint;
        self.analyzer = past.analyzer;
        self.history = Some(past.history);
        self.standing = self
            .analyzer
            .last()
            .map_or(Recommendation::Hold, |last| last.recommendation);
        let committed = self.series.begin(past.candles, past.holes);
        self.tally.holes_opened += u64::from(self.series.hole().is_some());
        self.commit(&committed, now);
        self.catch_up(past.older, now);
        self.let_go();
        News::Close
    }

    /// How far back the recommendation reaches: a young contract grows up, a capped one finds its cross.
    pub(super) fn history(&self) -> Option<History> {
        let crossed = self
            .analyzer
            .last()
            .is_some_and(|last| last.last_cross_direction != 0);
        match self.history? {
            History::Young if self.analyzer.candles() >= ENOUGH => Some(History::Full),
            History::Capped if crossed => Some(History::Full),
            known @ (History::Full | History::Young | History::Capped) => Some(known),
        }
    }

    pub(super) fn key(&self) -> &SeriesKey {
        &self.key
    }

    pub(super) fn analyzer(&self) -> &Analyzer {
        &self.analyzer
    }
}
