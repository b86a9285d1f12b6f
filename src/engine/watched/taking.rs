//! How candles become history, and what follows from it: the indicator moves, changes are noted, a revised candle is
//! computed forward. A hole is bridged here and nowhere else. What is said of it, and when, is `telling`'s.

use super::checking::Word;
use super::{News, RestSide, Unsaid, Watched};
use crate::engine::forward::{self, Turn};
use crate::engine::moment::Moment;
use crate::exchange::CandleRequest;
use crate::market::{Candle, Committed, HISTORY_MAX, Hole, OpenTime, Origin, Verdict};
use crate::signal::{Correction, Source, TechnicalTrack};

/// Waits between reads that brought nothing: doubling from the first to the last.
const RETRY_FIRST_MS: u64 = 1_000;
const RETRY_LAST_MS: u64 = 60_000;

/// Candles of one answer that amend history: it is computed forward once for all of them.
struct Amended {
    /// The first of them.
    first: OpenTime,
    /// The changes as they stood before.
    told: Vec<Turn>,
}

/// Changes that may wait to be told, of a stop of weeks: no more than the kept candles can make anew.
const UNSAID_MAX: usize = HISTORY_MAX;

impl Watched {
    /// Takes in what was read again: missing closes, holes, disputed candles. A hole is bridged on the second look, and
    /// only a look that shows a candle behind it counts: a REST side that lags has no candle there either.
    pub(super) fn repair(
        &mut self,
        rows: &[Candle],
        word: Word,
        asked: &CandleRequest,
        now: &Moment,
    ) -> News {
        let covered = |open| asked.from.is_some_and(|from| from <= open) && open <= asked.until;
        let before = self.series.expected();
        let mut news = self.offer(rows, word, now);
        if let (Word::Rest, Some(from)) = (word, asked.from) {
            self.disputed.put_off(from, asked.until, now.mono);
        }
        let stands_still = self.series.expected() == before;
        if stands_still && before.is_some_and(covered) {
            self.rest = RestSide::LackedIt;
        }
        if let Some(hole) = self.series.hole().filter(|hole| covered(hole.from)) {
            let shown_behind = rows.last().is_some_and(|row| row.open_time > hole.until);
            if shown_behind && self.hole.confirm(hole.from, now) {
                self.bridge(hole, now);
                news = News::Close;
            } else if !shown_behind && stands_still {
                self.retry_later(now);
            }
        } else if stands_still && self.series.hole().is_none() && self.is_due(now) {
            self.retry_later(now);
        }
        news
    }

    fn bridge(&mut self, hole: Hole, now: &Moment) {
        tracing::warn!(series = %self.key, from = %hole.from, until = %hole.until, "the exchange has no candle here: bridged");
        let mut committed = Vec::new();
        self.series.bridge(&mut committed);
        self.tally.holes_closed += u64::from(self.series.hole().is_none());
        self.absorb(&committed, now);
    }

    pub(super) fn retry_later(&mut self, now: &Moment) {
        let wait_ms = (RETRY_FIRST_MS << self.fruitless.min(10)).min(RETRY_LAST_MS);
        self.fruitless = self.fruitless.saturating_add(1);
        self.ask_again_at = now.mono.plus_ms(wait_ms);
    }

    pub(super) fn offer(&mut self, rows: &[Candle], word: Word, now: &Moment) -> News {
        let had_hole = self.series.hole().is_some();
        let mut committed = Vec::new();
        let mut amended: Option<Amended> = None;
        let mut news = News::Nothing;
        for candle in rows {
            let goes_on = self
                .series
                .expected()
                .is_some_and(|e| e <= candle.open_time);
            if goes_on && let Some(amended) = amended.take() {
                self.recompute(&amended, now); // before what comes after it moves the indicator
            }
            if word == Word::Overtaken && self.series.contradicts(candle) {
                self.dispute(candle.open_time, now);
                continue;
            }
            match self.series.offer(*candle, word.origin(), &mut committed) {
                Ok(Verdict::Committed) => news = News::Close,
                Ok(Verdict::Waits) => {}
                Ok(Verdict::Known | Verdict::TooOld) => self.decided(candle, word),
                Ok(Verdict::Disputed) => self.dispute(candle.open_time, now),
                Ok(verdict @ (Verdict::Revised | Verdict::Late)) => {
                    self.absorb(&std::mem::take(&mut committed), now);
                    if amended.is_none() {
                        amended = Some(self.before_amendment(candle.open_time));
                    }
                    self.amend(*candle, verdict);
                    news = News::Close; // the result stands on it
                }
                Err(refusal) => self.refuse(refusal),
            }
        }
        self.absorb(&committed, now);
        if let Some(amended) = amended {
            self.recompute(&amended, now);
        }
        let has_hole = self.warm_up.is_none() && self.series.hole().is_some();
        self.tally.holes_opened += u64::from(has_hole && !had_hole);
        self.tally.holes_closed += u64::from(had_hole && !has_hole && self.warm_up.is_none());
        news
    }

    /// A candle is to be decided by REST: by a read that is sent from now on, so those on their way settle nothing.
    pub(super) fn dispute(&mut self, open_time: OpenTime, now: &Moment) {
        if self.disputed.add(open_time, now.mono) {
            self.in_order.clear();
        }
    }

    /// REST has said of a candle what history says: whatever the stream said, that is settled.
    fn decided(&mut self, candle: &Candle, word: Word) {
        match word {
            Word::Rest => self.disputed.settle(candle.open_time),
            Word::Overtaken => {}
            Word::Stream => self.tally.duplicates += 1,
        }
    }

    /// Candles have become history: notes what they change, and lets go of the oldest.
    pub(super) fn absorb(&mut self, committed: &[Committed], now: &Moment) {
        self.commit(committed, now);
        self.let_go();
    }

    /// Candles have become history: moves the indicator and notes the changes.
    pub(super) fn commit(&mut self, committed: &[Committed], now: &Moment) {
        for Committed { candle, origin } in committed {
            match origin {
                Origin::Stream => self.tally.from_stream += 1,
                Origin::Rest => self.tally.from_rest += 1,
            }
            let close_time = self.series.close_time(candle.open_time);
            self.tally.delays.note(now.exchange.ms_since(close_time));
            let analysis = self.analyzer.push(candle);
            self.last_origin = *origin;
            let previous = std::mem::replace(&mut self.standing, analysis.recommendation);
            let follows = self.record.is_some() && !self.lost;
            if follows && previous != analysis.recommendation {
                let analysis = Box::new(analysis);
                self.unsaid.push(Unsaid::Signal {
                    analysis,
                    previous,
                    price: candle.close,
                    origin: *origin,
                });
            }
        }
        if !committed.is_empty() {
            let from_rest = committed.iter().any(|one| one.origin == Origin::Rest);
            if from_rest || !self.is_due(now) {
                // Else the clock runs ahead of REST, and each close of the stream would begin the vain reads anew.
                self.rest = RestSide::HadIt;
                self.fruitless = 0;
                self.ask_again_at = now.mono;
            }
            self.early_in_a_row = 0;
            self.hole.forget();
        }
    }

    /// Lets go of what is more than is kept.
    pub(super) fn let_go(&mut self) {
        self.trim();
        if self.unsaid.len() > UNSAID_MAX {
            self.lose();
        }
    }

    /// Lets go of what is older than what is kept.
    fn trim(&mut self) {
        while let Some(oldest) = self.series.trim_oldest() {
            self.checkpoint.push(&oldest);
            let close_time = self.series.close_time(oldest.open_time);
            if let Some(record) = &mut self.record {
                record.forget(close_time);
            }
        }
        if let Some(oldest) = self.series.history().front() {
            self.disputed.forget_before(oldest.open_time);
        }
    }

    fn before_amendment(&self, first: OpenTime) -> Amended {
        let told = forward::run(&self.checkpoint, self.series.history(), &self.key).turns;
        Amended { first, told }
    }

    /// The exchange says something else than before about a closed candle (hazard 19), or, `Late`, has one it had shown to
    /// be missing twice (hazard 22): takes it in.
    fn amend(&mut self, candle: Candle, verdict: Verdict) {
        let open_time = candle.open_time;
        self.disputed.settle(open_time);
        self.tally.corrections += 1;
        if verdict == Verdict::Late {
            self.series.insert(candle);
            tracing::warn!(series = %self.key, %open_time, "the exchange has a candle now where it had none");
        } else {
            self.series.replace(candle);
            tracing::warn!(series = %self.key, %open_time, "the exchange revised a closed candle");
        }
    }

    /// Computes forward what was amended, and tells what differs.
    fn recompute(&mut self, amended: &Amended, now: &Moment) {
        self.technical = TechnicalTrack::default(); // it stands on what was there before
        let run = forward::run(&self.checkpoint, self.series.history(), &self.key);
        self.analyzer = run.analyzer;
        self.correct(&amended.told, &run.turns, amended.first, now);
        self.trim();
    }

    /// Tells what was told before as it now stands, if the two differ.
    fn correct(&mut self, told: &[Turn], turns: &[Turn], open_time: OpenTime, now: &Moment) {
        let previous = self.standing;
        self.standing = self
            .analyzer
            .last()
            .map_or(previous, |last| last.recommendation);
        let Some(record) = &self.record else { return };
        if self.lost || !self.unsaid.is_empty() {
            self.lose(); // what was not told yet is told as it now is
            return;
        }
        let (told, stands) = (forward::stands(told), forward::stands(turns));
        let difference = forward::difference(&told, &stands, record.since());
        if difference.is_none() && self.standing == previous {
            return;
        }
        // No change lies after the first live result, and yet what that said no longer holds: that is told too.
        let (corrects, stands) = difference.unwrap_or_default();
        let candle_close_time = self.series.close_time(open_time);
        self.unsaid.push(Unsaid::Correction(Box::new(Correction {
            key: self.key.clone(),
            revision: record.next_revision(candle_close_time),
            corrects,
            stands,
            recommendation: self.standing,
            previous,
            candle_open_time: open_time,
            candle_close_time,
            event_time: now.exchange,
            source: Source::Rest,
        })));
    }

    /// Gives up the changes that wait: they are computed anew once they may be told.
    fn lose(&mut self) {
        self.unsaid.clear();
        self.lost = true;
    }
}
