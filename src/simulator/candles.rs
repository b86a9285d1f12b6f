//! The candles of one contract as they come, generated or recorded: whole ones, and the open one as it stands at an
//! instant. What faults make of them, and which of them have closed, is `tape.rs`'s question: REST, streams and the
//! truth read there. Generated hours are kept, so that the candles of a long interval cost their minutes once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use super::bar::Bar;
use super::generator::{BLOCK_MINUTES, BLOCK_MS, Voice};
use super::replay::Recording;
use crate::market::{Interval, OpenTime, TimeMs};

const MINUTE_MS: i64 = 60_000;
const DAY_HOURS: i64 = 24;
/// Days of generated hours kept per contract: 499 candles of 4 h are 83 days; 96 days of hours are 221 KB.
const KEPT_DAYS: usize = 96;

/// Where a contract's candles come from.
#[derive(Debug)]
pub(super) enum Candles {
    /// Computed from a seed.
    Generated(Box<Generated>),
    /// Read from files.
    Recorded(Recording),
}

/// Which candles are wanted: those that open from `from` to `to`, both included.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    /// First open time wanted.
    pub from: OpenTime,
    /// Last open time wanted.
    pub to: OpenTime,
    /// At most so many.
    pub limit: usize,
    /// Which of too many are kept.
    pub keep: Keep,
}

/// Which end of a span counts when it holds more than the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// The oldest.
    Oldest,
    /// The newest.
    Newest,
}

/// A contract whose candles are computed.
#[derive(Debug)]
pub(super) struct Generated {
    voice: Voice,
    first: TimeMs,
    end: TimeMs,
    kept: Mutex<Kept>,
}

type Hours = Arc<[Bar; DAY_HOURS as usize]>;
type Minutes = Arc<[Bar; BLOCK_MINUTES]>;

#[derive(Debug, Default)]
struct Kept {
    days: BTreeMap<i64, Hours>,
    order: VecDeque<i64>,
    minutes: Option<(i64, Minutes)>,
}

impl Candles {
    /// The candles of a span, oldest first, whole whether they have closed or not.
    pub(super) fn whole(&self, interval: Interval, span: Span) -> Vec<(OpenTime, Bar)> {
        match self {
            Self::Generated(generated) => generated.whole(interval, span),
            Self::Recorded(recording) => recorded(recording, interval, span),
        }
    }

    /// The interval whose candles those of `interval` are made of.
    pub(super) fn base_of(&self, interval: Interval) -> Option<Interval> {
        match self {
            Self::Generated(_) => Some(Interval::M1),
            Self::Recorded(recording) => recording.base_of(interval),
        }
    }

    /// The shortest interval there is.
    pub(super) fn shortest(&self) -> Interval {
        match self {
            Self::Generated(_) => Interval::M1,
            Self::Recorded(recording) => recording.shortest().unwrap_or(Interval::M1),
        }
    }

    /// The candle that is open at `now`, as it stands; `None` in a hole or past the end.
    pub(super) fn forming(&self, interval: Interval, now: TimeMs, tick: i64) -> Option<Bar> {
        let open = interval.open_at(now);
        match self {
            Self::Generated(generated) => generated.forming(open, now, tick),
            Self::Recorded(recording) => {
                let base = recording.base_of(interval)?;
                recorded_forming(recording, base, open, now)
            }
        }
    }

    /// Where the 24 hours before `now` begin, to the base candle.
    pub(super) fn day_began(&self, now: TimeMs) -> OpenTime {
        let yesterday = now.plus_ms(-DAY_HOURS * BLOCK_MS);
        let base = match self {
            Self::Generated(_) => Interval::H1,
            Self::Recorded(_) => self.shortest(),
        };
        base.after(base.open_at(yesterday))
    }

    /// Everything traded in the 24 hours before `now`, to the base candle.
    pub(super) fn last_day(&self, now: TimeMs, tick: i64) -> Option<Bar> {
        let from = self.day_began(now);
        match self {
            Self::Generated(generated) => generated.forming(from, now, tick),
            Self::Recorded(recording) => {
                recorded_forming(recording, recording.shortest()?, from, now)
            }
        }
    }

    /// Cuts a generated contract's history off at `end`: a delisted one.
    pub(super) fn end_at(&mut self, end: TimeMs) {
        match self {
            Self::Generated(generated) => generated.end = end,
            Self::Recorded(_) => {}
        }
    }
}

impl Generated {
    /// A contract whose first candle opens at `first_ms` (a whole day).
    pub(super) fn new(voice: Voice, first_ms: i64) -> Self {
        Self {
            voice,
            first: TimeMs::new(first_ms),
            end: TimeMs::new(i64::MAX),
            kept: Mutex::default(),
        }
    }

    fn whole(&self, interval: Interval, span: Span) -> Vec<(OpenTime, Bar)> {
        let mut first = interval.open_at(self.first.max(span.from.time()));
        while first.time() < self.first || first < span.from {
            first = interval.after(first);
        }
        let last = interval.open_at(span.to.time()).min(
            // The last candle that closes before the end.
            interval.steps(interval.open_at(self.end), -1),
        );
        if last < first {
            return Vec::new();
        }
        let limit = i64::try_from(span.limit).unwrap_or(i64::MAX).max(1);
        let (mut open, end) = match span.keep {
            Keep::Oldest => (first, last.min(interval.steps(first, limit - 1))),
            Keep::Newest => (first.max(interval.steps(last, 1 - limit)), last),
        };
        let mut rows = Vec::new();
        while open <= end {
            let next = interval.after(open);
            if let Some(bar) = self.between(open.time(), next.time()) {
                rows.push((open, bar));
            }
            open = next;
        }
        rows
    }

    fn forming(&self, open: OpenTime, now: TimeMs, tick: i64) -> Option<Bar> {
        if now >= self.end || open.time() < self.first {
            return None;
        }
        let minute = Interval::M1.open_at(now);
        let block = self.minutes(minute.ms().div_euclid(BLOCK_MS));
        let at = minute.ms().rem_euclid(BLOCK_MS) / MINUTE_MS;
        let elapsed = now.ms_since(minute.time());
        let current = block[at as usize].after(elapsed, MINUTE_MS, tick);
        match self.between(open.time(), minute.time()) {
            None => Some(current),
            Some(mut sum) => {
                sum.absorb(&current);
                Some(sum)
            }
        }
    }

    /// The candle of all minutes from `from` to `to` (excluded), both whole minutes; `None` of none.
    fn between(&self, from: TimeMs, to: TimeMs) -> Option<Bar> {
        let mut at = from.ms();
        let mut whole: Option<Bar> = None;
        while at < to.ms() {
            let hour = at.div_euclid(BLOCK_MS);
            let hour_end = (hour + 1) * BLOCK_MS;
            let part = if at == hour * BLOCK_MS && hour_end <= to.ms() {
                self.hour(hour)
            } else {
                let begin = (at - hour * BLOCK_MS) / MINUTE_MS;
                let end = (to.ms().min(hour_end) - hour * BLOCK_MS) / MINUTE_MS;
                Bar::of(&self.minutes(hour)[begin as usize..end as usize])?
            };
            match &mut whole {
                Some(sum) => sum.absorb(&part),
                None => whole = Some(part),
            }
            at = hour_end.min(to.ms());
        }
        whole
    }

    fn hour(&self, hour: i64) -> Bar {
        let day = hour.div_euclid(DAY_HOURS);
        let within = hour.rem_euclid(DAY_HOURS) as usize;
        if let Some(hours) = self.kept().days.get(&day) {
            return hours[within];
        }
        let hours: Hours = Arc::new(std::array::from_fn(|at| {
            let block = self.voice.block(day * DAY_HOURS + at as i64);
            Bar::of(&block).unwrap_or(block[0])
        }));
        let bar = hours[within];
        let mut kept = self.kept();
        if kept.days.insert(day, hours).is_none() {
            kept.order.push_back(day);
        }
        if kept.order.len() > KEPT_DAYS
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.days.remove(&oldest);
        }
        bar
    }

    fn minutes(&self, hour: i64) -> Minutes {
        if let Some((kept, minutes)) = &self.kept().minutes
            && *kept == hour
        {
            return Arc::clone(minutes);
        }
        let minutes: Minutes = Arc::new(self.voice.block(hour));
        self.kept().minutes = Some((hour, Arc::clone(&minutes)));
        minutes
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn recorded(recording: &Recording, interval: Interval, span: Span) -> Vec<(OpenTime, Bar)> {
    let Some(rows) = recording.rows(interval) else {
        return Vec::new();
    };
    let begin = rows.partition_point(|(open, _)| *open < span.from);
    let end = rows.partition_point(|(open, _)| *open <= span.to);
    if end <= begin {
        return Vec::new();
    }
    let rows = &rows[begin..end];
    let few = rows.len().min(span.limit);
    match span.keep {
        Keep::Oldest => rows[..few].to_vec(),
        Keep::Newest => rows[rows.len() - few..].to_vec(),
    }
}

/// What the candles of `base` from `from` on come to at `now`.
fn recorded_forming(
    recording: &Recording,
    base: Interval,
    from: OpenTime,
    now: TimeMs,
) -> Option<Bar> {
    let rows = recording.rows(base)?;
    let begin = rows.partition_point(|(open, _)| *open < from);
    let end = rows.partition_point(|(open, _)| open.time() <= now);
    let rows = rows.get(begin..end)?;
    let ((last_open, last), closed) = rows.split_last()?;
    let closes = base.after(*last_open).time();
    let current = last.after(
        now.ms_since(last_open.time()),
        closes.ms_since(last_open.time()),
        recording.scale().tick,
    );
    match Bar::of(closed.iter().map(|(_, bar)| bar)) {
        None => Some(current),
        Some(mut sum) => {
            sum.absorb(&current);
            Some(sum)
        }
    }
}
