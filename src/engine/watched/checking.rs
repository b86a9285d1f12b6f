//! Holding closed candles against REST: which ones, and what comes of it. REST is right about every candle it has; one
//! that it has no more is kept, since nothing says which of its answers was wrong. Reads of a series overlap, and of two that
//! do nothing says which is older: what the later to come would change is disputed, and decided by a read of its own.

use super::Watched;
use crate::engine::effect::Effect;
use crate::engine::moment::Moment;
use crate::engine::warmup::newest_final;
use crate::exchange::{CandleRequest, Proof};
use crate::market::{Candle, OpenTime, Origin};

/// Who speaks of closed candles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Stream,
    /// REST, asked after everything else that is known of closed candles was learned.
    Rest,
    /// REST, and since it was asked something else was learned, which may be newer.
    Overtaken,
}

impl Word {
    pub(super) const fn origin(self) -> Origin {
        match self {
            Self::Stream => Origin::Stream,
            Self::Rest | Self::Overtaken => Origin::Rest,
        }
    }
}

impl Watched {
    /// The request for the newest `limit` closed candles; none while there is no history.
    pub(in crate::engine) fn check_request(
        &mut self,
        limit: u16,
        now: &Moment,
    ) -> Option<CandleRequest> {
        let request = self.newest(limit, now)?;
        self.in_order.push(request.clone());
        Some(request)
    }

    fn newest(&self, limit: u16, now: &Moment) -> Option<CandleRequest> {
        (self.warm_up.is_none() && self.series.last().is_some()).then(|| CandleRequest {
            key: self.key.clone(),
            from: None,
            until: newest_final(&self.key, now),
            limit,
            proof: Proof::NextCandle,
        })
    }

    /// The request for the `limit` candles before those that were sampled last, on the way back through what is kept; once
    /// through, those before the newest `limit` again, which every audit reads. None while there are no more than those.
    pub(in crate::engine) fn sample_request(
        &mut self,
        limit: u16,
        now: &Moment,
    ) -> Option<CandleRequest> {
        let newest = self.newest(limit, now)?;
        let oldest = self.series.history().front()?.open_time;
        let interval = self.key.interval;
        let page = i64::from(limit);
        let first = interval.steps(newest.until, -page);
        let next = self.sampled_to.map(|open| interval.steps(open, -1));
        let until = next
            .filter(|open| *open >= oldest)
            .unwrap_or(first)
            .min(first);
        if until < oldest {
            return None;
        }
        self.sampled_to = Some(interval.steps(until, 1 - page));
        let request = CandleRequest { until, ..newest };
        self.in_order.push(request.clone());
        Some(request)
    }

    /// `request` will not be answered.
    pub(in crate::engine) fn unanswered(&mut self, request: &CandleRequest) {
        self.in_order.retain(|one| one != request);
    }

    /// What the answer to `request` counts for. It overtakes the reads that are still on their way.
    pub(super) fn word_of(&mut self, request: &CandleRequest) -> Word {
        let in_order = self.in_order.contains(request);
        self.in_order.clear();
        if in_order {
            Word::Rest
        } else {
            Word::Overtaken
        }
    }

    /// What REST says of closed candles. Returns those it no longer has.
    pub(in crate::engine) fn checked(
        &mut self,
        request: &CandleRequest,
        rows: &[Candle],
        now: &Moment,
        out: &mut Vec<Effect>,
    ) -> Vec<OpenTime> {
        let word = self.word_of(request);
        let lacking = self.series.lacking_in(rows);
        self.tally.audit.checked += rows.len() as u64;
        self.tally.audit.lacking += lacking.len() as u64;
        let before = self.series.bridged();
        let corrections = self.tally.corrections;
        let news = self.offer(rows, word, now);
        let added = u64::from(before.saturating_sub(self.series.bridged()));
        self.tally.audit.added += added;
        self.tally.audit.replaced += (self.tally.corrections - corrections).saturating_sub(added);
        self.settle(news, now, out);
        self.ask(now, out);
        lacking
    }
}
