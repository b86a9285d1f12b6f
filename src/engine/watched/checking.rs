//! Holding closed candles against REST: which ones, and what comes of it. REST is right about every candle it has; one
//! that it has no more is kept, since nothing says which of its answers was wrong.

use super::Watched;
use crate::engine::effect::Effect;
use crate::engine::moment::Moment;
use crate::engine::warmup::newest_final;
use crate::exchange::{CandleRequest, Proof};
use crate::market::{Candle, OpenTime, Origin};

impl Watched {
    /// The request for the newest `limit` closed candles; none while there is no history.
    pub(in crate::engine) fn check_request(
        &self,
        limit: u16,
        now: &Moment,
    ) -> Option<CandleRequest> {
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
        let newest = self.check_request(limit, now)?;
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
        Some(CandleRequest { until, ..newest })
    }

    /// What REST says of closed candles. Returns those it no longer has.
    pub(in crate::engine) fn checked(
        &mut self,
        rows: &[Candle],
        now: &Moment,
        out: &mut Vec<Effect>,
    ) -> Vec<OpenTime> {
        let lacking = self.series.lacking_in(rows);
        self.tally.audit.checked += rows.len() as u64;
        self.tally.audit.lacking += lacking.len() as u64;
        let before = self.series.bridged();
        let corrections = self.tally.corrections;
        let news = self.offer(rows, Origin::Rest, now);
        let added = u64::from(before.saturating_sub(self.series.bridged()));
        self.tally.audit.added += added;
        self.tally.audit.replaced += (self.tally.corrections - corrections).saturating_sub(added);
        self.settle(news, now, out);
        self.ask(now, out);
        lacking
    }
}
