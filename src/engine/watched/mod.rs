//! One watched series: its candles, its indicator, what readers were told of it, and what must be asked of the exchange.
//! What must hold: candles enter history by the commit rule alone; a change leaves only while the series is live, so
//! what a hole or a lost connection held back waits in `unsaid` and goes out, in order, once the series is live again.
//! Nothing here waits or sends: time comes in, effects go out.

mod asking;
mod telling;

use std::collections::{BTreeMap, BTreeSet};

use super::effect::Effect;
use super::forward;
use super::moment::Moment;
use super::patience::SeenTwice;
use super::warmup::{ENOUGH, Past, Step, WarmUp};
use crate::clock::Mono;
use crate::exchange::{CandleRequest, ConnectionId};
use crate::market::{
    Candle, Committed, OpenTime, Origin, Refusal, Series, SeriesKey, SeriesStatus, TimeMs, Verdict,
};
use crate::signal::{
    Analysis, Analyzer, Correction, History, Recommendation, SignalResult, Source,
};
use crate::store::Occasion;

/// Waits between reads that brought nothing: doubling from the first to the last.
const RETRY_FIRST_MS: u64 = 1_000;
const RETRY_LAST_MS: u64 = 60_000;

/// Whether candles of the series are coming in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Never,
    Up(ConnectionId),
    Down { since: Mono },
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

/// What an event did to the series, for the result to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    Nothing,
    OpenCandle,
    Close,
}

/// Counters of one event, added up by the engine.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) from_stream: u64,
    pub(super) from_rest: u64,
    pub(super) holes_opened: u64,
    pub(super) holes_closed: u64,
    pub(super) corrections: u64,
    pub(super) bad_candles: u64,
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
    ask_again_at: Mono,
    fruitless: u32,
    hole: SeenTwice<OpenTime>,
    disputed: BTreeSet<OpenTime>,
    revisions: BTreeMap<OpenTime, u32>,
    /// Close time up to which the first live result spoke; none before it.
    base: Option<TimeMs>,
    /// What the last change, told or unsaid, left standing.
    standing: Recommendation,
    unsaid: Vec<Unsaid>,
    status: SeriesStatus,
    result: SignalResult,
    pub(super) tally: Tally,
}

impl Watched {
    /// A series nothing is known of yet; its first, empty result is written.
    pub(super) fn new(key: SeriesKey, rank: usize, now: &Moment, out: &mut Vec<Effect>) -> Self {
        let result = super::result::empty(&key, now.exchange);
        out.push(Effect::result(result.clone(), Occasion::Status));
        Self {
            series: Series::new(key.interval),
            key,
            rank,
            analyzer: Analyzer::default(),
            checkpoint: Analyzer::default(),
            warm_up: Some(WarmUp::default()),
            history: None,
            link: Link::Never,
            asked: None,
            ask_again_at: Mono::default(),
            fruitless: 0,
            hole: SeenTwice::default(),
            disputed: BTreeSet::new(),
            revisions: BTreeMap::new(),
            base: None,
            standing: Recommendation::Hold,
            unsaid: Vec::new(),
            status: SeriesStatus::Warming,
            result,
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
            Link::Never | Link::Down { .. } => None,
        }
    }

    /// `connection` carries the series from now on.
    pub(super) fn linked(&mut self, connection: ConnectionId, now: &Moment, out: &mut Vec<Effect>) {
        self.link = Link::Up(connection);
        self.ask_again_at = now.mono;
        self.tick(now, out);
    }

    /// `connection` is lost. News of an older connection than the present one change nothing.
    pub(super) fn unlinked(&mut self, connection: ConnectionId, now: &Moment) {
        if self.link == Link::Up(connection) {
            self.link = Link::Down { since: now.mono };
        }
    }

    /// The open candle as it stands.
    pub(super) fn open(&mut self, candle: Candle, now: &Moment, out: &mut Vec<Effect>) {
        match self.series.preview(candle) {
            Ok(true) => self.settle(News::OpenCandle, now, out),
            Ok(false) => {}
            Err(refusal) => self.refuse(&refusal),
        }
    }

    /// The stream says that a candle has closed.
    pub(super) fn closed(&mut self, candle: Candle, now: &Moment, out: &mut Vec<Effect>) {
        let news = self.offer(&[candle], Origin::Stream, now);
        self.settle(news, now, out);
        self.ask(now, out);
    }

    /// REST has answered, or will not.
    pub(super) fn answered(
        &mut self,
        rows: Option<&[Candle]>,
        now: &Moment,
        out: &mut Vec<Effect>,
    ) {
        let Some(asked) = self.asked.take() else {
            return;
        };
        let Some(rows) = rows else {
            self.retry_later(now);
            return;
        };
        let news = match self
            .warm_up
            .as_mut()
            .map(|warm_up| warm_up.take(&self.key, rows, &asked, now))
        {
            Some(Step::Ask) => {
                if rows.is_empty() {
                    self.retry_later(now); // listed, and not a candle yet
                }
                News::Nothing
            }
            Some(Step::Done(past)) => self.begin(*past),
            None => self.repair(rows, &asked, now),
        };
        self.settle(news, now, out);
        self.ask(now, out);
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, now: &Moment, out: &mut Vec<Effect>) {
        self.settle(News::Nothing, now, out);
        self.ask(now, out);
    }

    fn refuse(&mut self, refusal: &Refusal) {
        self.tally.bad_candles += 1;
        tracing::warn!(series = %self.key, %refusal, "impossible candle dropped");
    }

    fn begin(&mut self, past: Past) -> News {
        self.warm_up = None;
        self.checkpoint = past.checkpoint;
        self.analyzer = past.analyzer;
        self.history = Some(past.history);
        self.standing = self
            .analyzer
            .last()
            .map_or(Recommendation::Hold, |last| last.recommendation);
        let committed = self.series.begin(past.candles, past.holes);
        self.absorb(&committed);
        News::Close
    }

    /// Takes in what was read again: missing closes, holes, disputed candles.
    fn repair(&mut self, rows: &[Candle], asked: &CandleRequest, now: &Moment) -> News {
        if let Some(from) = asked.from {
            self.disputed = self.disputed.split_off(&self.key.interval.after(from));
        }
        let before = self.series.expected();
        let mut news = self.offer(rows, Origin::Rest, now);
        if let Some(hole) = self.series.hole() {
            let was_asked =
                asked.from.is_some_and(|from| from <= hole.from) && asked.until >= hole.from;
            if was_asked && self.hole.confirm(hole.from, now) {
                tracing::warn!(series = %self.key, from = %hole.from, until = %hole.until, "the exchange has no candle here: bridged");
                let mut committed = Vec::new();
                self.series.bridge(&mut committed);
                self.absorb(&committed);
                news = News::Close;
            }
        } else if self.series.expected() == before && self.overdue(now) {
            self.retry_later(now);
        }
        news
    }

    fn retry_later(&mut self, now: &Moment) {
        let wait_ms = (RETRY_FIRST_MS << self.fruitless.min(10)).min(RETRY_LAST_MS);
        self.fruitless = self.fruitless.saturating_add(1);
        self.ask_again_at = now.mono.plus_ms(wait_ms);
    }

    fn offer(&mut self, rows: &[Candle], origin: Origin, now: &Moment) -> News {
        let had_hole = self.series.hole().is_some();
        let mut committed = Vec::new();
        for candle in rows {
            match self.series.offer(*candle, origin, &mut committed) {
                Ok(Verdict::Committed | Verdict::Known | Verdict::Waits | Verdict::TooOld) => {}
                Ok(Verdict::Disputed) => {
                    self.disputed.insert(candle.open_time);
                }
                Ok(Verdict::Revised) => {
                    self.absorb(&std::mem::take(&mut committed));
                    self.revise(*candle, now);
                }
                Err(refusal) => self.refuse(&refusal),
            }
        }
        let has_hole = self.warm_up.is_none() && self.series.hole().is_some();
        self.tally.holes_opened += u64::from(has_hole && !had_hole);
        self.tally.holes_closed += u64::from(had_hole && !has_hole && self.warm_up.is_none());
        if committed.is_empty() {
            return News::Nothing;
        }
        self.absorb(&committed);
        News::Close
    }

    /// Candles have become history: moves the indicator and notes the changes.
    fn absorb(&mut self, committed: &[Committed]) {
        for Committed { candle, origin } in committed {
            match origin {
                Origin::Stream => self.tally.from_stream += 1,
                Origin::Rest => self.tally.from_rest += 1,
            }
            let analysis = self.analyzer.push(candle);
            let previous = std::mem::replace(&mut self.standing, analysis.recommendation);
            if self.base.is_some() && previous != analysis.recommendation {
                let analysis = Box::new(analysis);
                self.unsaid.push(Unsaid::Signal {
                    analysis,
                    previous,
                    price: candle.close,
                    origin: *origin,
                });
            }
        }
        while let Some(oldest) = self.series.trim_oldest() {
            self.checkpoint.push(&oldest);
            self.revisions.remove(&oldest.open_time);
        }
        if !committed.is_empty() {
            self.fruitless = 0;
            self.hole.forget();
        }
    }

    /// The exchange says something else than before about a closed candle (hazard 19): replace, recompute, tell.
    fn revise(&mut self, candle: Candle, now: &Moment) {
        if !self.unsaid.is_empty() {
            self.disputed.insert(candle.open_time); // first say what is known, then correct it
            return;
        }
        let (_, told) = forward::run(&self.checkpoint, self.series.history(), &self.key);
        self.series.replace(candle);
        let (analyzer, stands) = forward::run(&self.checkpoint, self.series.history(), &self.key);
        self.analyzer = analyzer;
        self.tally.corrections += 1;
        tracing::warn!(series = %self.key, open_time = %candle.open_time, "the exchange revised a closed candle");
        let previous = self.standing;
        self.standing = self
            .analyzer
            .last()
            .map_or(previous, |last| last.recommendation);
        let Some(base) = self.base else { return };
        let Some((corrects, stands)) = forward::difference(&told, &stands, base) else {
            return;
        };
        let revision = self.revisions.entry(candle.open_time).or_insert(0);
        *revision += 1;
        self.unsaid.push(Unsaid::Correction(Box::new(Correction {
            key: self.key.clone(),
            revision: *revision,
            corrects,
            stands,
            recommendation: self.standing,
            previous,
            candle_open_time: candle.open_time,
            candle_close_time: self.series.close_time(candle.open_time),
            event_time: now.exchange,
            source: Source::Rest,
        })));
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
