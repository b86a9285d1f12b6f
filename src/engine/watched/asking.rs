//! What state a series is in, and what must be read for it next: one request at a time, the most needed first.
//! A close that does not come is read at T + 2 s and not at the sight of a newer open candle: the exchange may serve the
//! old version of a candle in the first seconds after it closed (hazard 19). And it is believed only with a later row behind
//! it (`Proof::NextCandle`): then no clock, ours or the exchange's, can make a forming candle look closed (hazard 29), and
//! so stamps that contradict the clock put no read off: the streams may only be slow.

use super::{Link, RestSide, Watched};
use crate::engine::effect::{Effect, FetchJob, Urgency};
use crate::engine::moment::Moment;
use crate::engine::warmup::newest_final;
use crate::exchange::{CandleRequest, Proof};
use crate::market::{HISTORY_MAX, OpenTime, SeriesStatus};

/// A connection that is back within this was only a hiccup.
const STALE_AFTER_MS: u64 = 5_000;

/// A close that has not come so long after its time is missing, exchange time (hazard 4) ...
const MISSING_AFTER_MS: i64 = 30_000;

/// ... and never earlier than this in real time, on an exchange whose clock runs faster than ours.
const MISSING_AFTER_REAL_MS: f64 = 2_000.0;

/// So many candles of a time to come in a row, four a second, are no slip of the exchange: its clock and its streams
/// disagree, and what it closes meanwhile is not known (hazard 29).
const EARLY_MAX: u32 = 8;

/// Candles before the recommendation exists.
const READY: usize = 100;

/// Candles one read of disputed ones covers, with those between them: weight 1.
const DISPUTE_PAGE: i64 = 98;

/// Most candles one repair asks for, with the row behind them: weight 2, and 1 up to 98.
const REPAIR_PAGE: i64 = 498;

impl Watched {
    pub(super) fn status_at(&self, now: &Moment) -> SeriesStatus {
        if self.link == Link::Ended {
            return SeriesStatus::Ended;
        }
        let ready =
            self.warm_up.is_none() && self.analyzer.candles() >= READY && self.link != Link::Never;
        let unsettled = self.series.hole().is_some() || self.overdue(now);
        if !ready || (self.record.is_none() && unsettled) {
            return SeriesStatus::Warming;
        }
        match self.link {
            Link::Down { since } if now.mono.ms_since(since) >= STALE_AFTER_MS => {
                SeriesStatus::Stale
            }
            Link::Never | Link::Up(_) | Link::Down { .. } | Link::Ended => {
                let disagrees = self.early_in_a_row >= EARLY_MAX;
                if disagrees || self.series.hole().is_some() || self.missing(now) {
                    SeriesStatus::Dirty
                } else {
                    SeriesStatus::Live
                }
            }
        }
    }

    /// Whether the next candle has closed for certain, and we do not have it.
    pub(super) fn overdue(&self, now: &Moment) -> bool {
        self.series
            .expected()
            .is_some_and(|expected| now.is_final(self.series.close_time(expected)))
    }

    /// Whether the next candle is to be asked for: it has closed by the clock, be that in doubt or not.
    pub(super) fn is_due(&self, now: &Moment) -> bool {
        let newest = self.newest_closed(now);
        self.series
            .expected()
            .is_some_and(|expected| expected <= newest)
    }

    /// The newest candle that may be asked for with a later row as the proof.
    fn newest_closed(&self, now: &Moment) -> OpenTime {
        let interval = self.key.interval;
        interval.steps(interval.open_at(now.closed_until()), -1)
    }

    /// Whether the next candle is so late that the series must not look up to date. Streams that contradict the clock are
    /// slow, unless REST does not have what has closed by it either: then it is the clock that is wrong.
    fn missing(&self, now: &Moment) -> bool {
        let Some(expected) = self.series.expected() else {
            return false;
        };
        let least_ms = now.from_real_ms(MISSING_AFTER_REAL_MS) + now.margin_ms();
        let mut patience_ms = MISSING_AFTER_MS.max(least_ms) + now.error_ms;
        if self.rest == RestSide::LackedIt {
            patience_ms += now.doubt_ms;
        }
        now.exchange.ms_since(self.series.close_time(expected)) > patience_ms
    }

    /// Whether more is missing than is kept of a series, and a connection is there to go on from.
    pub(super) fn is_lost(&self, now: &Moment) -> bool {
        let newest = newest_final(&self.key, now);
        let missing = |expected| self.key.interval.count_between(expected, newest) + 1;
        self.connection().is_some()
            && self.overdue(now)
            && self
                .series
                .expected()
                .is_some_and(|expected| missing(expected) > HISTORY_MAX as i64)
    }

    /// The candle that has not come half a minute after its close, from whatever source; said once of each (hazard 4). A
    /// lost connection is told by itself.
    pub(in crate::engine) fn alarm(&mut self, now: &Moment) -> Option<OpenTime> {
        let expected = self.series.expected()?;
        let listens = self.connection().is_some() && self.warm_up.is_none();
        if !listens || self.alarmed == Some(expected) || !self.missing(now) {
            return None;
        }
        self.alarmed = Some(expected);
        self.tally.late_closes += 1;
        Some(expected)
    }

    /// Asks for what is missing most, one request at a time.
    pub(super) fn ask(&mut self, now: &Moment, out: &mut Vec<Effect>) {
        if self.asked.is_some() || self.connection().is_none() || now.mono < self.ask_again_at {
            return;
        }
        let Some((request, urgency)) = self.wanted(now) else {
            return;
        };
        self.asked = Some(request.clone());
        self.in_order.push(request.clone());
        out.push(Effect::Ask(FetchJob {
            request,
            urgency,
            rank: self.rank,
        }));
    }

    fn wanted(&self, now: &Moment) -> Option<(CandleRequest, Urgency)> {
        if let Some(warm_up) = &self.warm_up {
            return warm_up
                .may_ask(now)
                .then(|| (warm_up.request(&self.key, now), Urgency::Backfill));
        }
        if let Some(hole) = self.series.hole() {
            // What lies behind the hole is asked for too: that REST shows a candle there tells a hole from a lag.
            let until = self.newest_closed(now);
            let may = hole.from <= until && self.hole.may_look_again(now);
            return may.then(|| (self.range(hole.from, until), self.urgency(now)));
        }
        let newest = self.newest_closed(now);
        if self.is_due(now) {
            let expected = self.series.expected()?;
            return Some((self.range(expected, newest), self.urgency(now)));
        }
        let mut due = self
            .disputed
            .due(now.mono)
            .take_while(|open| *open <= newest);
        let first = due.next()?;
        let page_end = self.key.interval.steps(first, DISPUTE_PAGE - 1);
        let last = due.take_while(|open| *open <= page_end).last();
        let last = last.unwrap_or(first);
        Some((self.range(first, last), Urgency::Repair))
    }

    /// What REST has been asked for in vain, while streams and clock contradict each other, may not have closed at all: it
    /// leaves room for what surely has.
    fn urgency(&self, now: &Moment) -> Urgency {
        if self.fruitless > 0 && now.doubt_ms > 0 {
            Urgency::Backfill
        } else {
            Urgency::Repair
        }
    }

    fn range(&self, from: OpenTime, until: OpenTime) -> CandleRequest {
        let count = (self.key.interval.count_between(from, until) + 1).clamp(1, REPAIR_PAGE);
        let limit = u16::try_from(count).unwrap_or(1);
        CandleRequest {
            key: self.key.clone(),
            from: Some(from),
            until,
            limit,
            proof: Proof::NextCandle,
        }
    }
}
