//! The sweep: at a steady pace every watched contract has the last closed candles of one of its intervals held against
//! REST and all its results written again. Which contract is next, what is on its way and when the next sweep begins
//! is kept here; what a read says is the series' to take in. Plain code: told the time.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::moment::Moment;
use crate::clock::Mono;
use crate::exchange::CandleRequest;
use crate::market::{SeriesKey, Symbol, TimeMs};

/// Audits on their way at once: half of what the fetcher sends at once.
pub(super) const AUDITS: usize = 4;

/// Candles of an audit: weight 1 under every version of the exchange's table, as the ten of 2.2 would be.
pub(super) const AUDIT_CANDLES: u16 = 98;

/// Weight a minute that samples of older candles may cost (2.2): weight 1 each.
const SAMPLES_A_MINUTE: usize = 40;

/// An audit that is not answered by then has failed; the contract is not read again before the answer is in.
const AUDIT_WITHIN_MS: u64 = 20_000;

/// For so long a sweep leaves contracts that are warming up for later: else the first one would find nothing to sweep.
const WARM_WITHIN_MS: u64 = 60_000;

/// A line of progress every so many contracts.
const PROGRESS_EVERY: usize = 10;

/// How far a sweep is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SweepProgress {
    /// Contracts done.
    pub done: usize,
    /// Contracts in all.
    pub total: usize,
}

/// How a sweep ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SweepOutcome {
    /// Contracts whose candles were read and whose primary series is live.
    pub ok: usize,
    /// The others.
    pub failed: usize,
    /// How long it took, real milliseconds.
    pub duration_ms: u64,
    /// When it ended, Unix milliseconds.
    #[schema(value_type = i64)]
    pub ended_at: TimeMs,
}

/// What is known of the sweeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SweepFigures {
    /// The one that runs; null between two.
    pub progress: Option<SweepProgress>,
    /// The last one that ended; null before the first.
    pub last: Option<SweepOutcome>,
    /// When the next one begins, Unix milliseconds; null while none will.
    #[schema(value_type = Option<i64>)]
    pub next_at: Option<TimeMs>,
}

/// Whether a contract was swept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Swept {
    Ok,
    Failed,
}

struct OnItsWay {
    request: CandleRequest,
    asked_at: Mono,
    /// Whether the running sweep still waits for it.
    awaited: bool,
}

struct Running {
    began: Mono,
    waiting: VecDeque<Symbol>,
    progress: SweepProgress,
    ok: usize,
    /// Of so many contracts one has older candles sampled.
    sample_one_of: usize,
}

/// When a sweep begins, by our clock and by the wall's.
#[derive(Clone, Copy)]
struct Due {
    mono: Mono,
    wall: TimeMs,
}

/// The sweeps of one engine.
pub(super) struct Sweeps {
    every: Duration,
    /// How many have begun: the interval that is read rotates.
    round: usize,
    running: Option<Running>,
    on_its_way: BTreeMap<SeriesKey, OnItsWay>,
    samples: BTreeMap<SeriesKey, CandleRequest>,
    next: Option<Due>,
    last: Option<SweepOutcome>,
}

impl Sweeps {
    pub(super) const fn new(every: Duration) -> Self {
        Self {
            every,
            round: 0,
            running: None,
            on_its_way: BTreeMap::new(),
            samples: BTreeMap::new(),
            next: None,
            last: None,
        }
    }

    pub(super) const fn every(&self) -> Duration {
        self.every
    }

    /// Sweeps so often from the next one on.
    pub(super) const fn set_every(&mut self, every: Duration) {
        self.every = every;
    }

    pub(super) fn figures(&self) -> SweepFigures {
        SweepFigures {
            progress: self.running.as_ref().map(|running| running.progress),
            last: self.last,
            next_at: self.next.map(|due| due.wall),
        }
    }

    /// The sweep that runs ends here, and none begins.
    pub(super) fn stop(&mut self) {
        self.running = None;
        self.next = None;
        for on_its_way in self.on_its_way.values_mut() {
            on_its_way.awaited = false;
        }
    }

    /// A sweep is due: begins one of `symbols`. False when it is not.
    pub(super) fn begin(&mut self, symbols: impl Iterator<Item = Symbol>, now: &Moment) -> bool {
        let due = self.next.is_none_or(|next| now.mono >= next.mono);
        if self.running.is_some() || !due {
            return false;
        }
        let waiting: VecDeque<_> = symbols.collect();
        if waiting.is_empty() {
            return false;
        }
        let every_ms = u64::try_from(self.every.as_millis()).unwrap_or(u64::MAX);
        let wall_ms = i64::try_from(every_ms).unwrap_or(i64::MAX);
        self.next = Some(Due {
            mono: now.mono.plus_ms(every_ms),
            wall: now.wall.plus_ms(wall_ms),
        });
        let samples = usize::try_from(every_ms / 60_000).unwrap_or(1).max(1) * SAMPLES_A_MINUTE;
        let sample_one_of = waiting.len().div_ceil(samples);
        let progress = SweepProgress {
            done: 0,
            total: waiting.len(),
        };
        self.running = Some(Running {
            began: now.mono,
            waiting,
            progress,
            ok: 0,
            sample_one_of,
        });
        self.round = self.round.wrapping_add(1);
        true
    }

    /// Which of `count` intervals the running sweep reads: the primary one first.
    pub(super) const fn rank(&self, count: usize) -> usize {
        match count {
            0 => 0,
            count => self.round.wrapping_sub(1) % count,
        }
    }

    /// These contracts are not swept any more; those that are still waiting for it are none of the running sweep's.
    pub(super) fn leave_out(&mut self, gone: &[Symbol], now: &Moment) {
        if let Some(running) = &mut self.running {
            let before = running.waiting.len();
            running.waiting.retain(|symbol| !gone.contains(symbol));
            running.progress.total -= before - running.waiting.len();
        }
        self.end_when_done(now);
    }

    /// The next contract, while there is room for a read. Those that are `warming` are left for later, for a while.
    pub(super) fn next(
        &mut self,
        warming: impl Fn(&Symbol) -> bool,
        now: &Moment,
    ) -> Option<Symbol> {
        let awaited = self.on_its_way.values().filter(|one| one.awaited).count();
        if awaited >= AUDITS {
            return None;
        }
        let running = self.running.as_mut()?;
        let patient = now.mono.ms_since(running.began) < WARM_WITHIN_MS;
        let ready = |symbol: &Symbol| !(patient && warming(symbol));
        let at = running.waiting.iter().position(ready)?;
        running.waiting.remove(at)
    }

    /// Whether a read of the series is still unanswered, awaited or not.
    pub(super) fn is_on_its_way(&self, key: &SeriesKey) -> bool {
        self.on_its_way.contains_key(key)
    }

    /// `request` has been sent for the running sweep.
    pub(super) fn sent(&mut self, request: CandleRequest, now: &Moment) {
        let key = request.key.clone();
        let on_its_way = OnItsWay {
            request,
            asked_at: now.mono,
            awaited: true,
        };
        self.on_its_way.insert(key, on_its_way);
    }

    /// A sample of older candles has been sent; no sweep waits for it.
    pub(super) fn sampled(&mut self, request: CandleRequest) {
        self.samples.insert(request.key.clone(), request);
    }

    /// Whether the contract whose turn it is has older candles of `key` sampled too: which ones do moves on with each
    /// sweep.
    pub(super) fn is_sampled(&self, key: &SeriesKey) -> bool {
        !self.samples.contains_key(key)
            && self.running.as_ref().is_some_and(|running| {
                (running.progress.done + self.round).is_multiple_of(running.sample_one_of.max(1))
            })
    }

    /// Whether `request` was an audit: it is answered now. Some(true): the running sweep waited for it.
    pub(super) fn answered(&mut self, request: &CandleRequest) -> Option<bool> {
        if self.samples.get(&request.key) == Some(request) {
            self.samples.remove(&request.key);
            return Some(false);
        }
        let ours = self.on_its_way.get(&request.key)?.request == *request;
        let answered = ours.then(|| self.on_its_way.remove(&request.key))?;
        answered.map(|one| one.awaited)
    }

    /// The contracts whose read has taken too long.
    pub(super) fn overdue(&mut self, now: &Moment) -> Vec<Symbol> {
        let late =
            |one: &&mut OnItsWay| one.awaited && now.mono.ms_since(one.asked_at) >= AUDIT_WITHIN_MS;
        let mut symbols = Vec::new();
        for one in self.on_its_way.values_mut().filter(late) {
            one.awaited = false;
            symbols.push(one.request.key.symbol.clone());
        }
        symbols
    }

    /// A contract of the running sweep is done.
    pub(super) fn done(&mut self, swept: Swept, now: &Moment) {
        let Some(running) = &mut self.running else {
            return;
        };
        running.progress.done += 1;
        running.ok += usize::from(swept == Swept::Ok);
        let SweepProgress { done, total } = running.progress;
        if done % PROGRESS_EVERY == 0 || done == total {
            tracing::info!("HAMA refresh progress (刷新进度): {done}/{total}");
        }
        self.end_when_done(now);
    }

    /// The running sweep ends with its last contract.
    fn end_when_done(&mut self, now: &Moment) {
        let Some(running) = &self.running else { return };
        let SweepProgress { done, total } = running.progress;
        if done < total {
            return;
        }
        let outcome = SweepOutcome {
            ok: running.ok,
            failed: total - running.ok,
            duration_ms: now.mono.ms_since(running.began),
            ended_at: now.wall,
        };
        let next = self.next.map_or(now.wall, |due| due.wall.max(now.wall));
        tracing::info!(
            "HAMA refresh done (刷新完成): ok {}, failed {}, {:.1} s, next {}",
            outcome.ok,
            outcome.failed,
            outcome.duration_ms as f64 / 1_000.0,
            time_of_day(next)
        );
        self.last = Some(outcome);
        self.running = None;
    }
}

/// `5 min`, or `90 s` where minutes would not say it.
pub(super) fn pace(every: Duration) -> String {
    match every.as_secs() {
        secs if secs % 60 == 0 => format!("{} min", secs / 60),
        secs => format!("{secs} s"),
    }
}

/// `12:05:00`, UTC.
fn time_of_day(time: TimeMs) -> String {
    let secs = time.ms().div_euclid(1_000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", secs / 3_600, secs / 60 % 60, secs % 60)
}
