//! Warming up: reading a series' past, newest page first, until the recommendation rests on enough of it.
//! At least 499 candles; older pages while no cross is found in them, up to 5,000 or the contract's beginning
//! (indicator, History). Holes among them count only when the exchange has shown them twice, and so does the beginning:
//! a page with too few candles, then nothing before them; where the last page was full, nothing before it twice, as far
//! apart as for a hole. One empty answer is not a young contract. Where readers were told something before, it reads back
//! to that, so that nothing in between is lost however long it was.

use super::forward::{self, Turn};
use super::moment::Moment;
use super::patience::SeenTwice;
use crate::exchange::{CandleRequest, Proof};
use crate::market::{Candle, HISTORY_MAX, Hole, OpenTime, SeriesKey, TimeMs};
use crate::signal::{Analyzer, History};

/// Candles of a page: weight 2 under every version of the exchange's table (2.1).
const PAGE: u16 = 499;

/// Candles a recommendation rests on before the first live result, unless the contract is younger.
pub(super) const ENOUGH: usize = 499;

/// Past this many candles without a cross the search ends.
const CAP: usize = 5_000;

/// What a page led to.
pub(super) enum Step {
    /// Ask again with `WarmUp::request`, when `WarmUp::may_ask`.
    Ask,
    /// The past stands.
    Done(Box<Past>),
}

/// A series' past, ready to go on from.
pub(super) struct Past {
    /// The newest candles, at most `HISTORY_MAX`.
    pub(super) candles: Vec<Candle>,
    /// State before the first of `candles`.
    pub(super) checkpoint: Analyzer,
    /// State after the last of `candles`.
    pub(super) analyzer: Analyzer,
    /// Missing candles the exchange confirmed.
    pub(super) holes: u32,
    /// How far back it reaches.
    pub(super) history: History,
    /// What was read beyond `candles`.
    pub(super) older: Older,
}

/// What candles say that were read and are not kept.
#[derive(Default)]
pub(super) struct Older {
    /// The first of them.
    pub(super) from: Option<OpenTime>,
    /// The changes on them.
    pub(super) turns: Vec<Turn>,
    /// As `Run::known_from`.
    pub(super) known_from: Option<TimeMs>,
}

/// A series' past as far as it has been read.
#[derive(Default)]
pub(super) struct WarmUp {
    rows: Vec<Candle>,
    holes: SeenTwice<Vec<Hole>>,
    /// Whether the last page with candles had fewer than were asked for: the contract may begin with it.
    was_short: bool,
    /// Nothing before the oldest known candle, though its page was full.
    nothing_before: SeenTwice<OpenTime>,
}

impl WarmUp {
    /// The next page to ask for: the newest final candles, then what lies before the oldest known.
    pub(super) fn request(&self, key: &SeriesKey, now: &Moment) -> CandleRequest {
        let until = self.rows.first().map_or_else(
            || newest_final(key, now),
            |oldest| key.interval.steps(oldest.open_time, -1),
        );
        let limit = u16::try_from(CAP - self.rows.len()).map_or(PAGE, |left| left.clamp(1, PAGE));
        CandleRequest {
            key: key.clone(),
            from: None,
            until,
            limit,
            proof: Proof::Clock, // one row more would cost a second page; the stream contradicts a clock that is wrong
        }
    }

    /// Whether enough time has passed to ask again about a hole.
    pub(super) fn may_ask(&self, now: &Moment) -> bool {
        self.holes.may_look_again(now)
    }

    /// Takes an answer in. Readers were told what held at `told_until`, if anything.
    pub(super) fn take(
        &mut self,
        key: &SeriesKey,
        (page, asked): (&[Candle], &CandleRequest),
        told_until: Option<TimeMs>,
        now: &Moment,
    ) -> Step {
        let mut rows = page.to_vec();
        rows.extend_from_slice(&self.rows);
        let holes = holes_in(key, &rows);
        if !holes.is_empty() && !self.holes.confirm(holes.clone(), now) {
            return Step::Ask;
        }
        self.rows = rows;
        let Some(oldest) = self.rows.first().map(|oldest| oldest.open_time) else {
            return Step::Ask;
        };
        if !page.is_empty() {
            self.was_short = page.len() < usize::from(asked.limit);
        }
        let beginning_reached =
            page.is_empty() && (self.was_short || self.nothing_before.confirm(oldest, now));
        if self.rows.len() < ENOUGH && !beginning_reached {
            return Step::Ask;
        }
        let older_rows = self.rows.len().saturating_sub(HISTORY_MAX);
        let (older, kept) = self.rows.split_at(older_rows);
        let older = forward::run(&Analyzer::default(), older, key);
        let newer = forward::run(&older.analyzer, kept, key);
        let known_from = older.known_from.or(newer.known_from);
        let is_known = known_from.is_some_and(|from| told_until.is_none_or(|told| from <= told));
        if !is_known && !beginning_reached && self.rows.len() < CAP {
            return Step::Ask;
        }
        let history = match (beginning_reached, known_from.is_some()) {
            (true, _) if self.rows.len() < ENOUGH => History::Young,
            (true, _) | (false, true) => History::Full,
            (false, false) => History::Capped,
        };
        let missing: i64 = holes
            .iter()
            .map(|hole| key.interval.count_between(hole.from, hole.until) + 1)
            .sum();
        Step::Done(Box::new(Past {
            candles: kept.to_vec(),
            checkpoint: older.analyzer,
            analyzer: newer.analyzer,
            holes: u32::try_from(missing).unwrap_or(u32::MAX),
            history,
            older: Older {
                from: self.rows.first().map(|oldest| oldest.open_time),
                turns: older.turns,
                known_from: older.known_from,
            },
        }))
    }
}

/// The newest candle that is final now.
pub(super) fn newest_final(key: &SeriesKey, now: &Moment) -> OpenTime {
    let settled = now.exchange.plus_ms(-now.final_after_ms());
    key.interval.steps(key.interval.open_at(settled), -1)
}

/// The candles missing between the first row and the last.
fn holes_in(key: &SeriesKey, rows: &[Candle]) -> Vec<Hole> {
    let interval = key.interval;
    let mut holes = Vec::new();
    for pair in rows.windows(2) {
        let expected = interval.after(pair[0].open_time);
        if pair[1].open_time > expected {
            holes.push(Hole {
                from: expected,
                until: interval.steps(pair[1].open_time, -1),
            });
        }
    }
    holes
}
