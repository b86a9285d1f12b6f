//! Reading candles the engine already has, to hold them against the exchange: the sweep's audits, and single series
//! somebody wants read anew. What differs goes through the same door as every revision. Each contract of a sweep has the
//! newest 98 candles of one interval read, the next one in the next sweep, and inside a share of the weight a page of older
//! ones, further back each time.

use super::core::Engine;
use super::effect::{Effect, FetchJob, Urgency};
use super::moment::Moment;
use super::order::OrderError;
use super::sweep::{self, AUDIT_CANDLES, Swept};
use super::watched::News;
use crate::exchange::CandleRequest;
use crate::market::{Candle, SeriesKey, SeriesStatus, Symbol};
use crate::store::Occasion;

/// Candles of a series that is read anew: weight 2, as a page of a warm-up.
const REFRESH_CANDLES: u16 = 498;

/// A series is read anew once in so long, however often somebody asks; ours.
const REFRESH_EVERY_MS: u64 = 1_000;

impl Engine {
    /// Moves the sweep on: begins it when it is due, asks for what there is room for.
    pub(super) fn sweep(&mut self, now: &Moment, out: &mut Vec<Effect>) {
        if !self.speaks() {
            return;
        }
        let first = self.sweeps.figures().next_at.is_none();
        let symbols: Vec<_> = self.symbols_in_trade().collect();
        if self.sweeps.begin(symbols.into_iter(), now) && first {
            tracing::info!(
                "HAMA scheduler started: {} symbols, every {}",
                self.symbols.len(),
                sweep::pace(self.sweeps.every())
            );
        }
        for symbol in self.sweeps.overdue(now) {
            self.swept(&symbol, Swept::Failed, now, out);
        }
        while let Some(symbol) = self.next_to_sweep(now) {
            self.audit(&symbol, now, out);
        }
    }

    fn next_to_sweep(&mut self, now: &Moment) -> Option<Symbol> {
        let primary = *self.intervals.first()?;
        let watched = &self.watched;
        let warming = |symbol: &Symbol| {
            let key = SeriesKey::new(symbol.clone(), primary);
            watched
                .get(&key)
                .is_some_and(|watched| watched.status() == SeriesStatus::Warming)
        };
        self.sweeps.next(warming, now)
    }

    fn audit(&mut self, symbol: &Symbol, now: &Moment, out: &mut Vec<Effect>) {
        let rank = self.sweeps.rank(self.intervals.len());
        let interval = self.intervals.get(rank).copied();
        let request = interval
            .map(|interval| SeriesKey::new(symbol.clone(), interval))
            .filter(|key| !self.sweeps.is_on_its_way(key))
            .and_then(|key| self.watched.get_mut(&key))
            .and_then(|watched| watched.check_request(AUDIT_CANDLES, now));
        let Some(request) = request else {
            self.swept(symbol, Swept::Failed, now, out);
            return;
        };
        self.sweeps.sent(request.clone(), now);
        out.push(Effect::Ask(FetchJob {
            request,
            urgency: Urgency::Audit,
            rank,
        }));
    }

    /// Older candles too, a page further back each time: what is revised late is not among the newest.
    fn sample(&mut self, key: &SeriesKey, now: &Moment, out: &mut Vec<Effect>) {
        let watched = self.watched.get_mut(key);
        let Some(request) = watched.and_then(|one| one.sample_request(AUDIT_CANDLES, now)) else {
            return;
        };
        self.sweeps.sampled(request.clone());
        out.push(Effect::Ask(FetchJob {
            request,
            urgency: Urgency::Audit,
            rank: self.intervals.len(), // after the newest candles of all
        }));
    }

    /// All results of a contract are written again, whatever became of its read.
    fn swept(&mut self, symbol: &Symbol, read: Swept, now: &Moment, out: &mut Vec<Effect>) {
        let mut swept = read;
        for (rank, interval) in self.intervals.iter().enumerate() {
            let key = SeriesKey::new(symbol.clone(), *interval);
            let Some(watched) = self.watched.get_mut(&key) else {
                continue;
            };
            watched.settle(News::Again(Occasion::Sweep), now, out);
            if rank == 0 && watched.status() != SeriesStatus::Live {
                swept = Swept::Failed;
            }
        }
        self.sweeps.done(swept, now);
    }

    /// Takes in the answer to an audit; false when `request` was none.
    pub(super) fn audited(
        &mut self,
        request: &CandleRequest,
        rows: Option<&[Candle]>,
        now: &Moment,
        out: &mut Vec<Effect>,
    ) -> bool {
        let Some(awaited) = self.sweeps.answered(request) else {
            return false;
        };
        self.check(request, rows, now, out);
        if awaited {
            if rows.is_some() && self.sweeps.is_sampled(&request.key) {
                self.sample(&request.key, now, out);
            }
            let read = if rows.is_some() {
                Swept::Ok
            } else {
                Swept::Failed
            };
            self.swept(&request.key.symbol, read, now, out);
            self.sweep(now, out);
        }
        true
    }

    /// Asks for the newest closed candles of a series, unless they are asked for already, have just been read, or no more
    /// come: what is known is the answer then.
    pub(super) fn refresh(&mut self, key: SeriesKey, now: &Moment, out: &mut Vec<Effect>) {
        if self.refreshing.contains_key(&key) {
            return; // that answer serves both
        }
        let Some(watched) = self.watched.get_mut(&key) else {
            let unknown = OrderError::NotWatched(key.clone());
            out.push(Effect::Refreshed(key, Err(unknown)));
            return;
        };
        let is_fresh = |at| now.mono.ms_since(at) < REFRESH_EVERY_MS;
        if watched.status() == SeriesStatus::Ended || watched.refreshed_at.is_some_and(is_fresh) {
            out.push(Effect::Refreshed(key, Ok(())));
            return;
        }
        let Some(request) = watched.check_request(REFRESH_CANDLES, now) else {
            let warming = OrderError::Warming(key.clone());
            out.push(Effect::Refreshed(key, Err(warming)));
            return;
        };
        self.refreshing.insert(key, request.clone());
        out.push(Effect::Ask(FetchJob {
            request,
            urgency: Urgency::Refresh,
            rank: 0,
        }));
    }

    /// Takes in the answer to a refresh; false when `request` was none.
    pub(super) fn refreshed(
        &mut self,
        request: &CandleRequest,
        rows: Option<&[Candle]>,
        now: &Moment,
        out: &mut Vec<Effect>,
    ) -> bool {
        let key = &request.key;
        if self.refreshing.get(key) != Some(request) {
            return false;
        }
        self.refreshing.remove(key);
        self.check(request, rows, now, out);
        let outcome = match (self.watched.get_mut(key), rows) {
            (None, _) => Err(OrderError::NotWatched(key.clone())),
            (Some(watched), None) if watched.status() != SeriesStatus::Ended => Err(
                OrderError::Unreadable(format!("the exchange did not give the candles of {key}")),
            ),
            (Some(watched), _) => {
                watched.refreshed_at = Some(now.mono);
                watched.settle(News::Again(Occasion::Sweep), now, out); // who asked finds it in the cache
                Ok(())
            }
        };
        out.push(Effect::Refreshed(key.clone(), outcome));
        true
    }

    /// Holds what is known of a series that trades against an answer.
    fn check(
        &mut self,
        request: &CandleRequest,
        rows: Option<&[Candle]>,
        now: &Moment,
        out: &mut Vec<Effect>,
    ) {
        let Some(watched) = self.trading(&request.key) else {
            return;
        };
        let Some(rows) = rows else {
            watched.unanswered(request);
            return;
        };
        let lacking = watched.checked(request, rows, now, out);
        if let (Some(first), Some(last)) = (lacking.first(), lacking.last())
            && let Some(unsaid) = self.lacking.due(now.mono)
        {
            tracing::warn!(series = %request.key, candles = lacking.len(), %first, %last, unsaid, "the exchange no longer has candles it gave before: kept");
        }
    }
}
