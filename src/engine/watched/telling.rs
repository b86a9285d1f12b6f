//! What is said of a series, and when: changes leave only while it is live and the engine may speak, before the result
//! that shows them. What was told is kept in `record`; where that and the candles have gone different ways, `lost`, the
//! changes are computed anew from the two.

use super::{Leave, News, Record, Unsaid, Watched};
use crate::engine::effect::Effect;
use crate::engine::forward::{self, Turn};
use crate::engine::moment::Moment;
use crate::engine::result;
use crate::engine::warmup::Older;
use crate::market::{OpenTime, Origin, SeriesStatus, TimeMs};
use crate::signal::{
    ChangeBody, Correction, History, Recommendation, SignalChange, SignalResult, Source, Stand,
    Technical, TechnicalTrack,
};
use crate::store::{Base, Occasion, Told, Write};

/// What our candles say of the past that readers were told of.
struct Held {
    /// What held when they were told something last.
    at_base: Recommendation,
    /// The first candle read, where it is no longer kept.
    oldest: Option<OpenTime>,
    /// What is said of candles before it is no knowledge, and that candle's own change may be of another `previous` than
    /// we think.
    known_from: Option<TimeMs>,
}

impl Watched {
    /// Says what may be said now: status, changes, the result.
    pub(in crate::engine) fn settle(&mut self, news: News, now: &Moment, out: &mut Vec<Effect>) {
        self.status = self.status_at(now);
        if self.leave != Leave::Speak {
            return;
        }
        let turned = self.status != self.result.status;
        if self.status != SeriesStatus::Live {
            if turned || news == News::Again(Occasion::Status) {
                self.tell_status(self.status, now, out);
            }
            return;
        }
        let first = self.record.is_none();
        if !self.tell_changes(now, out) {
            return;
        }
        let occasion = match news {
            _ if first => Occasion::FirstLive,
            _ if turned => Occasion::Status,
            News::Close => Occasion::Close,
            News::OpenCandle => Occasion::Update,
            News::Again(occasion) => occasion,
            News::Nothing => return,
        };
        self.result = result::of(self, now.exchange);
        if self.tells_technical && occasion != Occasion::Update {
            let technical = Box::new(self.technical_figures());
            out.push(Effect::Write(Write::Technical {
                symbol: self.key.symbol.clone(),
                technical,
            }));
        }
        out.push(Effect::result(self.result.clone(), occasion));
    }

    /// The figures beside HAMA, moved on by the candles that became history since they were last asked for.
    fn technical_figures(&mut self) -> Technical {
        let history = self.series.history();
        let last = self.technical.last();
        if history.front().map(|oldest| oldest.open_time) > last {
            self.technical = TechnicalTrack::default(); // what lies between is no longer kept
        }
        let known = history.partition_point(|candle| Some(candle.open_time) <= last);
        for candle in history.range(known..) {
            self.technical.push(candle);
        }
        self.technical.figures()
    }

    /// The operator has stopped the engine: says so once, then nothing.
    pub(in crate::engine) fn stop(&mut self, now: &Moment, out: &mut Vec<Effect>) {
        self.leave = Leave::Stopped;
        self.tell_status(SeriesStatus::Stopped, now, out);
    }

    /// The operator lets it go on: what was missed goes out late, whatever its age.
    pub(in crate::engine) fn go_on(&mut self, now: &Moment, out: &mut Vec<Effect>) {
        self.leave = Leave::Speak;
        self.settle(News::Again(Occasion::Status), now, out);
    }

    /// What it closed until `time` is told as caught up.
    pub(in crate::engine) fn is_late_until(&mut self, time: TimeMs) {
        self.late_until = self.late_until.max(time);
    }

    /// Another engine speaks: what readers know from now on is not known here.
    pub(in crate::engine) fn fall_silent(&mut self) {
        self.leave = Leave::Silent;
        self.record = None;
        self.unsaid.clear();
        self.lost = false;
    }

    /// What readers were told; none: nothing in this epoch.
    pub(in crate::engine) fn learn(&mut self, told: Option<&Told>, leave: Leave, now: &Moment) {
        self.leave = leave;
        self.unsaid.clear();
        self.record = told.map(Record::of_log);
        if self.warm_up.is_none() && !self.reaches_back() {
            self.start_over(now);
        }
        let caught_up = self.has_caught_up();
        if caught_up {
            self.unsaid = self.rebased(Older::default(), now);
        }
        self.lost = self.record.is_some() && !caught_up;
        // A result must not show a change before that is told.
        let agrees = caught_up && self.unsaid.is_empty();
        self.result = if self.warm_up.is_none() && (agrees || self.record.is_none()) {
            result::of(self, now.exchange)
        } else {
            SignalResult::warming(&self.key, now.exchange)
        };
    }

    fn tell_status(&mut self, status: SeriesStatus, now: &Moment, out: &mut Vec<Effect>) {
        let ends = status == SeriesStatus::Ended && self.result.status != SeriesStatus::Ended;
        self.result.status = status;
        self.result.event_time = now.exchange;
        out.push(Effect::result(self.result.clone(), Occasion::Status));
        out.extend(ends.then(|| Effect::Write(Write::Ended(self.key.clone()))));
    }

    /// False: readers know of a candle that has not come here yet, and nothing may be said before it has.
    fn tell_changes(&mut self, now: &Moment, out: &mut Vec<Effect>) -> bool {
        let Some(reached) = self.reached() else {
            return false;
        };
        if self.record.is_none() {
            self.record = Some(Record::beginning(reached));
        }
        if self.lost {
            if !self.has_caught_up() {
                return false;
            }
            self.unsaid = self.rebased(Older::default(), now);
            self.lost = false;
        }
        for unsaid in std::mem::take(&mut self.unsaid) {
            let body = self.said(unsaid, now);
            if let Some(record) = &mut self.record {
                record.note(&body);
            }
            out.push(Effect::Write(Write::Change(body)));
        }
        if let Some(record) = &mut self.record {
            record.reach(reached);
        }
        true
    }

    /// The newest closed candle and what it says.
    fn reached(&self) -> Option<Base> {
        let last = self.series.last()?;
        Some(Base {
            close_time: self.series.close_time(last.open_time),
            recommendation: self.analyzer.last()?.recommendation,
        })
    }

    fn has_caught_up(&self) -> bool {
        let (Some(record), Some(reached)) = (&self.record, self.reached()) else {
            return false;
        };
        reached.close_time >= record.base().close_time
    }

    /// Whether what held when readers were told something last can be known from the kept candles, or from no candles
    /// at all.
    fn reaches_back(&self) -> bool {
        let (Some(record), Some(oldest)) = (&self.record, self.series.history().front()) else {
            return true;
        };
        let until = record.base().close_time;
        let is_kept = oldest.open_time <= self.key.interval.after(self.key.interval.open_at(until));
        match self.history {
            Some(History::Young | History::Capped) => true,
            Some(History::Full) | None => {
                let run = forward::run(&self.checkpoint, self.series.history(), &self.key);
                is_kept && self.knows(until, None, run.known_from)
            }
        }
    }

    /// History stands again: what readers were not told follows from it and from what was read beyond it.
    pub(super) fn catch_up(&mut self, older: Older, now: &Moment) {
        if !self.lost || !self.has_caught_up() {
            return;
        }
        self.unsaid = self.rebased(older, now);
        self.lost = false;
    }

    /// What is to be said after what was told, by the kept candles and what was read beyond them: one correction where
    /// they contradict it, then every change after it.
    fn rebased(&self, older: Older, now: &Moment) -> Vec<Unsaid> {
        let Some(record) = &self.record else {
            return Vec::new();
        };
        let until = record.base().close_time;
        let run = forward::run(&self.checkpoint, self.series.history(), &self.key);
        let turns = older.turns.into_iter().chain(run.turns);
        let (known, mut new): (Vec<Turn>, Vec<Turn>) =
            turns.partition(|turn| turn.stand.candle_close_time <= until);
        let mut unsaid = Vec::new();
        if self.knows(until, older.known_from, run.known_from) {
            let held = Held {
                at_base: self.held_between(&known, &new),
                oldest: older.from,
                known_from: older
                    .known_from
                    .or(run.known_from)
                    .filter(|_| self.history != Some(History::Young)),
            };
            unsaid.extend(self.contradiction(record, &known, &held, now));
        } else {
            tracing::warn!(series = %self.key, told_until = %until, "what changed since then cannot be known for certain: the cross before it lies further back than is read");
            // What held at the base lies before all we know: the log knows better, and we go on from it.
            follow_from(record.base().recommendation, &mut new);
            if new.is_empty() {
                unsaid.extend(self.other_state(record, now));
            }
        }
        let newest = self.series.last().map(|last| last.open_time);
        unsaid.extend(new.into_iter().map(|turn| Unsaid::Signal {
            origin: if Some(turn.analysis.open_time) == newest {
                self.last_origin
            } else {
                Origin::Rest
            },
            analysis: Box::new(turn.analysis),
            previous: turn.stand.previous,
            price: turn.price,
        }));
        unsaid
    }

    /// Whether our candles say what held at `close_time`: a cross before it is among them, or they are all there are.
    fn knows(
        &self,
        close_time: TimeMs,
        known_beyond: Option<TimeMs>,
        known_from: Option<TimeMs>,
    ) -> bool {
        let before = self.checkpoint.last();
        let crossed_before = before.is_some_and(|last| last.last_cross_direction != 0);
        self.history == Some(History::Young)
            || known_beyond.is_none() && crossed_before
            || known_beyond
                .or(known_from)
                .is_some_and(|from| from <= close_time)
    }

    /// What held between the changes `known` and those after them.
    fn held_between(&self, known: &[Turn], new: &[Turn]) -> Recommendation {
        match (known.last(), new.first()) {
            (Some(before), _) => before.stand.recommendation,
            (None, Some(after)) => after.stand.previous,
            (None, None) => self.standing,
        }
    }

    /// Something else holds now than was told, and the turns that led to it cannot be known any more.
    fn other_state(&self, record: &Record, now: &Moment) -> Option<Unsaid> {
        let base = record.base();
        let reached = self.reached()?;
        let turned = reached.recommendation != base.recommendation;
        turned.then(|| {
            let closes = (Vec::new(), Vec::new());
            self.correction(
                record,
                reached.close_time,
                closes,
                reached.recommendation,
                now,
            )
        })
    }

    fn contradiction(
        &self,
        record: &Record,
        known: &[Turn],
        held: &Held,
        now: &Moment,
    ) -> Option<Unsaid> {
        let base = record.base();
        let kept = self.series.history().front().map(|oldest| oldest.open_time);
        let oldest_close = self.series.close_time(held.oldest.or(kept)?);
        let since = record.since().max(oldest_close.plus_ms(-1));
        let since = held.known_from.map_or(since, |from| since.max(from));
        let recommendation = held.at_base;
        let difference = forward::difference(record.stands(), &forward::stands(known), since);
        if difference.is_none() && recommendation == base.recommendation {
            return None;
        }
        let (corrects, stands) = difference.unwrap_or_default();
        let closes = stands.iter().map(|stand| stand.candle_close_time);
        let first = closes.chain(corrects.iter().copied()).min();
        let close_time = first.unwrap_or_else(|| base.close_time.max(oldest_close));
        Some(self.correction(record, close_time, (corrects, stands), recommendation, now))
    }

    fn correction(
        &self,
        record: &Record,
        close_time: TimeMs,
        (corrects, stands): (Vec<TimeMs>, Vec<Stand>),
        recommendation: Recommendation,
        now: &Moment,
    ) -> Unsaid {
        Unsaid::Correction(Box::new(Correction {
            key: self.key.clone(),
            revision: record.next_revision(close_time),
            corrects,
            stands,
            recommendation,
            previous: record.base().recommendation,
            candle_open_time: self.key.interval.open_at(close_time),
            candle_close_time: close_time,
            event_time: now.exchange,
            source: Source::CatchUp,
        }))
    }

    fn said(&self, unsaid: Unsaid, now: &Moment) -> ChangeBody {
        match unsaid {
            Unsaid::Correction(correction) => ChangeBody::Correction(Correction {
                event_time: now.exchange,
                source: if correction.event_time <= self.late_until {
                    Source::CatchUp
                } else {
                    correction.source
                },
                ..*correction
            }),
            Unsaid::Signal {
                analysis,
                previous,
                price,
                origin,
            } => {
                let candle_close_time = self.series.close_time(analysis.open_time);
                ChangeBody::Signal(SignalChange {
                    key: self.key.clone(),
                    recommendation: analysis.recommendation,
                    previous,
                    confidence: analysis.confidence(),
                    price,
                    hama_close: analysis.values.hama_close.unwrap_or(price),
                    ma: analysis.values.ma.unwrap_or(price),
                    deviation_pct: analysis.values.deviation_pct.unwrap_or(0.0),
                    candle_open_time: analysis.open_time,
                    candle_close_time,
                    last_cross_direction: analysis.last_cross_direction,
                    last_cross_time: analysis.last_cross_time,
                    event_time: now.exchange,
                    source: self.source(candle_close_time, origin, now),
                })
            }
        }
    }

    fn source(&self, close_time: TimeMs, origin: Origin, now: &Moment) -> Source {
        let open = self.key.interval.open_at(close_time);
        let next_close = self.series.close_time(self.key.interval.after(open));
        match origin {
            _ if now.exchange > next_close || close_time <= self.late_until => Source::CatchUp,
            Origin::Stream => Source::Stream,
            Origin::Rest => Source::Rest,
        }
    }
}

/// Makes `turns` follow on `standing`: the first of them turns from it, or is none.
fn follow_from(standing: Recommendation, turns: &mut Vec<Turn>) {
    while turns
        .first()
        .is_some_and(|turn| turn.stand.recommendation == standing)
    {
        turns.remove(0);
    }
    if let Some(first) = turns.first_mut() {
        first.stand.previous = standing;
    }
}
