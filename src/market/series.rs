//! One candle series and its commit rule (exchange facts, 3.3): history is written only by closed candles, one after
//! the other. A candle that does not follow the last one waits in `pending` until the hole before it is filled or
//! confirmed by the exchange; nothing is ever invented, merged or promoted by time. The open candle is kept apart and
//! never stored. What a commit means (indicator, signal, status) is for whoever holds the series.

use std::collections::{BTreeMap, VecDeque};

use super::{BadCandle, Candle, Interval, OpenTime, TimeMs};

/// Closed candles that may wait behind a hole. Beyond it the newest are dropped: REST has them when the hole is closed.
pub const PENDING_MAX: usize = 1_500;

/// Closed candles kept of each series.
pub const HISTORY_MAX: usize = 1_500;

/// Where a closed candle came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The live stream said that it closed.
    Stream,
    /// A REST answer about candles that are final.
    Rest,
}

/// A candle that has just become history.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Committed {
    /// The candle.
    pub candle: Candle,
    /// Where it came from.
    pub origin: Origin,
}

/// What became of an offered candle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// It follows the last one: committed, with whatever waited behind it.
    Committed,
    /// It is in history already, the same: dropped.
    Known,
    /// The stream says something else than history or than what waits, or has what history does not: REST must decide.
    Disputed,
    /// REST says something else than history, and REST is right: replace and recompute.
    Revised,
    /// REST has it now, and history went on without it over a hole it had confirmed: put it in and recompute.
    Late,
    /// There is a hole before it: it waits.
    Waits,
    /// Older than everything kept: dropped.
    TooOld,
}

/// Why a candle was refused.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// It breaks a rule every candle must hold.
    #[error(transparent)]
    Impossible(#[from] BadCandle),
    /// It does not open on the interval's grid.
    #[error("opens at {open_time}, off the grid of {interval}")]
    OffGrid {
        /// When it says that it opens.
        open_time: OpenTime,
        /// The series' interval.
        interval: Interval,
    },
    /// It speaks of a time the exchange's clock has not reached. `Series` knows no time: whoever holds it sees to this.
    #[error("opens at {open_time} and speaks of {ahead_ms} ms from now")]
    Early {
        /// When it says that it opens.
        open_time: OpenTime,
        /// How far ahead of the exchange's clock its open (of a closed candle its end) lies.
        ahead_ms: i64,
    },
}

/// A range of candles that is missing, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    /// First missing candle.
    pub from: OpenTime,
    /// Last missing candle.
    pub until: OpenTime,
}

/// Closed candles in a row, the open one, and those that wait behind a hole.
#[derive(Debug, Clone)]
pub struct Series {
    interval: Interval,
    history: VecDeque<Candle>,
    pending: BTreeMap<OpenTime, Committed>,
    open: Option<Candle>,
    bridged: u32,
}

impl Series {
    /// A series without a candle.
    pub fn new(interval: Interval) -> Self {
        Self {
            interval,
            history: VecDeque::new(),
            pending: BTreeMap::new(),
            open: None,
            bridged: 0,
        }
    }

    /// The closed candles kept, oldest first.
    pub fn history(&self) -> &VecDeque<Candle> {
        &self.history
    }

    /// The open candle as last seen, if it is the one after the newest closed candle: behind a hole it would be computed
    /// as if the candles in the hole had never been.
    pub fn open_candle(&self) -> Option<&Candle> {
        let expected = self.expected()?;
        self.open.as_ref().filter(|open| open.open_time == expected)
    }

    /// The newest closed candle.
    pub fn last(&self) -> Option<&Candle> {
        self.history.back()
    }

    /// The candle that must come next; none before there is history.
    pub fn expected(&self) -> Option<OpenTime> {
        self.last().map(|last| self.interval.after(last.open_time))
    }

    /// Candles the exchange never had, bridged so far.
    pub fn bridged(&self) -> u32 {
        self.bridged
    }

    /// The candles missing between history and what waits; none when nothing waits.
    pub fn hole(&self) -> Option<Hole> {
        let from = self.expected()?;
        let (first_waiting, _) = self.pending.first_key_value()?;
        Some(Hole {
            from,
            until: self.interval.steps(*first_waiting, -1),
        })
    }

    /// Begins the series with closed candles in order (holes among them confirmed and counted by the caller).
    /// Candles that waited behind them are committed as far as they follow.
    pub fn begin(&mut self, history: Vec<Candle>, bridged: u32) -> Vec<Committed> {
        self.history = history.into();
        self.bridged = bridged;
        if let Some(expected) = self.expected() {
            self.pending = self.pending.split_off(&expected);
        }
        let mut committed = Vec::new();
        self.drain_pending(&mut committed);
        committed
    }

    /// Shows the open candle. False when it is older than what is known: nothing changes then.
    ///
    /// # Errors
    /// `Refusal` when it cannot be a candle of this series.
    pub fn preview(&mut self, candle: Candle) -> Result<bool, Refusal> {
        self.check(&candle)?;
        let closed = self
            .last()
            .is_some_and(|last| candle.open_time <= last.open_time)
            || self.pending.contains_key(&candle.open_time);
        let outdated = self
            .open
            .is_some_and(|open| candle.open_time < open.open_time);
        if closed || outdated {
            return Ok(false);
        }
        self.open = Some(candle);
        Ok(true)
    }

    /// Nothing is known of the open candle any more; false when nothing was.
    pub fn forget_open(&mut self) -> bool {
        self.open.take().is_some()
    }

    /// Whether history, or what waits behind it, says something else of a closed candle.
    pub fn contradicts(&self, candle: &Candle) -> bool {
        match self.pending.get(&candle.open_time) {
            Some(waiting) => waiting.candle != *candle,
            None => {
                let is_past = |expected| candle.open_time < expected;
                self.expected().is_some_and(is_past)
                    && self.compare(candle, Origin::Stream) == Verdict::Disputed
            }
        }
    }

    /// Offers a closed candle. What becomes history is appended to `committed`, in order.
    ///
    /// # Errors
    /// `Refusal` when it cannot be a candle of this series.
    pub fn offer(
        &mut self,
        candle: Candle,
        origin: Origin,
        committed: &mut Vec<Committed>,
    ) -> Result<Verdict, Refusal> {
        self.check(&candle)?;
        if self
            .open
            .is_some_and(|open| open.open_time <= candle.open_time)
        {
            self.open = None; // the candle it previewed, or an older one, is over
        }
        let Some(expected) = self.expected() else {
            return Ok(self.wait(Committed { candle, origin }));
        };
        if candle.open_time < expected {
            return Ok(self.compare(&candle, origin));
        }
        if candle.open_time > expected {
            return Ok(self.wait(Committed { candle, origin }));
        }
        self.commit(Committed { candle, origin }, committed);
        self.drain_pending(committed);
        Ok(Verdict::Committed)
    }

    /// The exchange has confirmed that it has no candle in the hole: goes on behind it, as charts do.
    pub fn bridge(&mut self, committed: &mut Vec<Committed>) {
        let Some(hole) = self.hole() else { return };
        let missing = self.interval.count_between(hole.from, hole.until) + 1;
        let missing = u32::try_from(missing).unwrap_or(u32::MAX);
        self.bridged = self.bridged.saturating_add(missing);
        if let Some((_, next)) = self.pending.pop_first() {
            self.commit(next, committed);
        }
        self.drain_pending(committed);
    }

    /// Puts a revised candle in the place of the one that opens at the same time.
    pub fn replace(&mut self, candle: Candle) {
        if let Some(at) = self.position(candle.open_time) {
            self.history[at] = candle;
        }
    }

    /// Puts a candle that came late into the hole that was bridged over it.
    pub fn insert(&mut self, candle: Candle) {
        let at = self
            .history
            .partition_point(|known| known.open_time < candle.open_time);
        self.history.insert(at, candle);
        self.bridged = self.bridged.saturating_sub(1);
    }

    /// Forgets history: too much is missing behind it. What waits and the open candle stay.
    pub fn restart(&mut self) {
        self.history.clear();
        self.bridged = 0;
    }

    /// Candles of history between the first and the last of `rows` that `rows` does not have.
    pub fn lacking_in(&self, rows: &[Candle]) -> Vec<OpenTime> {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            return Vec::new();
        };
        let from = self
            .history
            .partition_point(|known| known.open_time < first.open_time);
        let within = self.history.range(from..);
        within
            .map(|known| known.open_time)
            .take_while(|open| *open <= last.open_time)
            .filter(|open| {
                rows.binary_search_by_key(open, |row| row.open_time)
                    .is_err()
            })
            .collect()
    }

    /// Takes the oldest candle out when more than `HISTORY_MAX` are kept.
    pub fn trim_oldest(&mut self) -> Option<Candle> {
        if self.history.len() > HISTORY_MAX {
            self.history.pop_front()
        } else {
            None
        }
    }

    /// Last millisecond of the candle that opens at `open`.
    pub fn close_time(&self, open: OpenTime) -> TimeMs {
        self.interval.close_time(open)
    }

    fn check(&self, candle: &Candle) -> Result<(), Refusal> {
        if !self.interval.is_on_grid(candle.open_time) {
            return Err(Refusal::OffGrid {
                open_time: candle.open_time,
                interval: self.interval,
            });
        }
        Ok(candle.check()?)
    }

    fn position(&self, open_time: OpenTime) -> Option<usize> {
        let at = self
            .history
            .partition_point(|known| known.open_time < open_time);
        self.history
            .get(at)
            .filter(|known| known.open_time == open_time)
            .map(|_| at)
    }

    fn compare(&self, candle: &Candle, origin: Origin) -> Verdict {
        let Some(at) = self.position(candle.open_time) else {
            let kept = self.history.front();
            return match origin {
                _ if kept.is_none_or(|oldest| candle.open_time < oldest.open_time) => {
                    Verdict::TooOld
                }
                Origin::Stream => Verdict::Disputed,
                Origin::Rest => Verdict::Late,
            };
        };
        match origin {
            _ if self.history[at] == *candle => Verdict::Known,
            Origin::Stream => Verdict::Disputed,
            Origin::Rest => Verdict::Revised,
        }
    }

    /// REST's newest word on a waiting candle stands. The stream's second word on one changes nothing; where it is another,
    /// REST decides once the candle is history.
    fn wait(&mut self, incoming: Committed) -> Verdict {
        let open_time = incoming.candle.open_time;
        match self.pending.get(&open_time) {
            Some(waiting) if incoming.origin == Origin::Stream => {
                if waiting.candle != incoming.candle {
                    return Verdict::Disputed;
                }
            }
            Some(_) => {
                self.pending.insert(open_time, incoming);
            }
            None => {
                self.pending.insert(open_time, incoming);
                if self.pending.len() > PENDING_MAX {
                    self.pending.pop_last();
                }
            }
        }
        Verdict::Waits
    }

    fn drain_pending(&mut self, committed: &mut Vec<Committed>) {
        while let Some(expected) = self.expected()
            && let Some(next) = self.pending.remove(&expected)
        {
            self.commit(next, committed);
        }
    }

    fn commit(&mut self, next: Committed, committed: &mut Vec<Committed>) {
        self.history.push_back(next.candle);
        committed.push(next);
    }
}

#[cfg(test)]
mod tests;
