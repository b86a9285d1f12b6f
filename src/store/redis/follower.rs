//! The readers' side of Redis: one task that keeps this process' view equal to the log and the cached results, and hands
//! every reader the same batches. Changes come from the log and from nowhere else; results from pub/sub, and from the
//! keys after every gap. While the writer of this process goes on alone, the view numbers what it says instead. What is shown
//! of all that is `shown`'s, what is made of silence `silence`'s.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;

use super::bus::Bus;
use super::connect::CommandLink;
use super::dial::{Dialed, Dialer, Log, LogNews, Position};
use super::error::RedisError;
use super::grant::Term;
use super::orders::LostTail;
use super::shared::Shared;
use super::wire::{Beat, Rev, WatchedSeries};
use crate::backoff::Backoff;
use crate::clock::{ExchangeClock, Mono};
use crate::market::SeriesKey;
use crate::signal::{Seq, SignalResult, StoreState};
use crate::store::batch::{Batch, ResetReason, Write};
use crate::store::mirror::Heard;
use crate::tasks::Tasks;

/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(100);

/// Waits between tries to connect: with the last of them a Redis that is back is in use again well within 5 s.
pub(super) const REDIAL_FIRST: Duration = Duration::from_millis(100);
pub(super) const REDIAL_LAST: Duration = Duration::from_secs(2);

/// At the end: how long the log may take to bring what this process wrote last.
const LAST_WITHIN_MS: u64 = 1_000;

/// What the writer of this process says.
#[derive(Debug)]
pub(super) enum Word {
    /// Redis is away: number what follows in an epoch of our own.
    Alone,
    /// What the engine says meanwhile.
    Local(Vec<Write>),
    /// Redis is back and has what was told meanwhile.
    Return,
    /// The writer has ended; the last number it wrote.
    Last(Seq),
}

/// What came from a short task.
pub(super) enum Arrived {
    Dialed {
        /// Of which `Follower::generation` it is.
        generation: u64,
        dialed: Box<Result<Dialed, RedisError>>,
    },
    Watched(WatchedSeries),
}

/// An open reading side.
pub(super) struct Session {
    entries: mpsc::Receiver<LogNews>,
    bus: Arc<Bus>,
    _stop: DropGuard,
}

enum Sign {
    Log(Option<LogNews>),
    Bus,
}

/// The task's state.
pub(super) struct Follower {
    pub(super) shared: Arc<Shared>,
    dialer: Dialer,
    tasks: Tasks,
    readers: Vec<mpsc::Sender<Arc<Batch>>>,
    /// Set by beats where no exchange sets it.
    clock: Option<ExchangeClock>,
    arrivals: mpsc::Sender<Arrived>,
    pub(super) session: Option<Session>,
    is_dialing: bool,
    /// Grows when the view changes its numbering by itself: a dial begun before that is of no use.
    generation: u64,
    redial_at: Mono,
    backoff: Backoff,
    pub(super) is_alone: bool,
    /// What readers are told when the log is read anew.
    pub(super) reset: ResetReason,
    pub(super) held: Option<Position>,
    pub(super) revs: BTreeMap<SeriesKey, Rev>,
    /// Results that know of a change the log has not brought yet.
    pub(super) early: BTreeMap<SeriesKey, (Rev, SignalResult)>,
    /// Revisions of results that are handed to the view in this step.
    pub(super) offered: BTreeMap<SeriesKey, Rev>,
    pub(super) beat_at: Mono,
    pub(super) dialed_at: Mono,
    pub(super) lost_at: Option<Mono>,
    /// A number a beat told that the log has not reached, since when.
    pub(super) behind: Option<(Seq, Mono)>,
    /// Term of the engine that beats, and since when it does; none once its predecessor's series were looked at.
    pub(super) term: u64,
    pub(super) term_at: Option<Mono>,
    universe: Option<(u64, u64)>,
    pub(super) watched: WatchedSeries,
    last: Option<(Seq, Mono)>,
}

impl Follower {
    pub(super) fn new(
        shared: Arc<Shared>,
        dialer: Dialer,
        readers: Vec<mpsc::Sender<Arc<Batch>>>,
        clock: Option<ExchangeClock>,
        arrivals: mpsc::Sender<Arrived>,
        tasks: Tasks,
    ) -> Self {
        let now = Mono::now();
        shared.view.set_state(StoreState::Degraded); // until it was read
        shared.change_health(|health| health.away_since = Some(now));
        Self {
            shared,
            dialer,
            tasks,
            readers,
            clock,
            arrivals,
            session: None,
            is_dialing: false,
            generation: 0,
            redial_at: now,
            backoff: Backoff::new(REDIAL_FIRST, REDIAL_LAST),
            is_alone: false,
            reset: ResetReason::LogLost,
            held: None,
            revs: BTreeMap::new(),
            early: BTreeMap::new(),
            offered: BTreeMap::new(),
            beat_at: now,
            dialed_at: now,
            lost_at: Some(now),
            behind: None,
            term: 0,
            term_at: None,
            universe: None,
            watched: WatchedSeries::default(),
            last: None,
        }
    }

    /// Works until the writer has ended; where there is none, until the program stops.
    pub(super) async fn run(
        mut self,
        mut arrived: mpsc::Receiver<Arrived>,
        mut words: Option<mpsc::Receiver<Word>>,
    ) {
        let tasks = self.tasks.clone();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.redial_when_due();
            tokio::select! {
                word = next_word(&mut words) => match word {
                    Some(word) => self.take_word(word).await,
                    None => break,
                },
                Some(arrived) = arrived.recv() => self.take_arrived(arrived).await,
                sign = next_sign(&mut self.session) => self.take_sign(sign).await,
                _ = ticks.tick() => self.look_at_deadlines().await,
                () = tasks.stopping(), if words.is_none() => return,
            }
        }
        self.wait_for_last().await;
    }

    /// The writer has ended: the log still brings what it wrote last.
    async fn wait_for_last(&mut self) {
        let Some((seq, since)) = self.last else {
            return;
        };
        while self.held.as_ref().is_some_and(|held| held.seq < seq)
            && Mono::now().ms_since(since) < LAST_WITHIN_MS
        {
            tokio::select! {
                sign = next_sign(&mut self.session) => self.take_sign(sign).await,
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    fn redial_when_due(&mut self) {
        let due = self.session.is_none() && !self.is_dialing && !self.is_alone;
        if !due || Mono::now() < self.redial_at {
            return;
        }
        self.is_dialing = true;
        let (dialer, held) = (self.dialer.clone(), self.held.clone());
        let (arrivals, generation) = (self.arrivals.clone(), self.generation);
        self.tasks.spawn_short("redis dial", async move {
            let dialed = Box::new(dialer.dial(held).await);
            let arrived = Arrived::Dialed { generation, dialed };
            // The follower is gone: the program has stopped.
            let _ = arrivals.send(arrived).await;
        });
    }

    async fn take_word(&mut self, word: Word) {
        match word {
            Word::Alone => {
                self.hang_up(None);
                self.is_alone = true;
                self.generation += 1;
                self.shared.set_alone(true);
                self.shared.view.set_state(StoreState::Degraded);
                self.shared.change_health(|health| {
                    health.away_since = health.away_since.or(Some(Mono::now()));
                });
                let batch = self.shared.view.number_alone();
                self.send(batch).await;
            }
            Word::Local(writes) => {
                if self.is_alone {
                    let batch = self.shared.view.write(writes);
                    self.send(batch).await;
                }
            }
            Word::Return if !self.is_alone => {}
            Word::Return => {
                self.is_alone = false;
                self.generation += 1;
                self.shared.set_alone(false);
                (self.held, self.reset) = (None, ResetReason::StoreBack);
                let now = Mono::now();
                // Until a beat says otherwise an engine is there: the writer has just heard of one.
                (self.redial_at, self.lost_at, self.beat_at) = (now, Some(now), now);
            }
            Word::Last(seq) => self.last = Some((seq, Mono::now())),
        }
    }

    async fn take_arrived(&mut self, arrived: Arrived) {
        match arrived {
            Arrived::Dialed { generation, dialed } => {
                self.is_dialing = false;
                match *dialed {
                    // It was under way when the writer went on alone.
                    Ok(dialed) if generation != self.generation => drop(dialed),
                    Ok(dialed) => self.take_dialed(dialed).await,
                    Err(error) => {
                        if self.is_first_trouble() {
                            tracing::warn!(%error, "redis cannot be read; trying on");
                        }
                        self.redial_later();
                    }
                }
            }
            Arrived::Watched(watched) => {
                let heard = self.note_watched(watched);
                let batch = self.shared.view.hear(heard);
                self.send(batch).await;
            }
        }
    }

    /// Whether nothing was logged yet since Redis was last read: one line for one trouble.
    fn is_first_trouble(&self) -> bool {
        let is_first = !self.shared.health().is_told;
        self.shared.change_health(|health| health.is_told = true);
        is_first
    }

    async fn take_dialed(&mut self, dialed: Dialed) {
        let batch = match dialed.log {
            Log::Missing => {
                if self.held.is_some() {
                    if self.is_first_trouble() {
                        tracing::warn!("the log is gone: waiting for a new one");
                    }
                    self.report_lost_tail(Seq::NONE, dialed.link);
                }
                return self.redial_later();
            }
            Log::TailLost { tail } => {
                let held = self.held.clone();
                tracing::warn!(?held, %tail, "the log has lost its end: waiting for a new one");
                self.report_lost_tail(tail, dialed.link);
                return self.redial_later();
            }
            Log::Same(changes) => {
                self.early.clear();
                self.note_changes(&changes);
                let heard = Heard {
                    changes,
                    results: self.fresh(dialed.results),
                    ..self.note_watched(dialed.watched)
                };
                self.hear(heard)
            }
            Log::Anew(loaded) => self.load(loaded, dialed.watched, dialed.results),
        };
        self.backoff.reset();
        (self.dialed_at, self.lost_at, self.behind) = (Mono::now(), None, None);
        self.shared.set_link(Some(dialed.link));
        self.shared.note_position(self.held.as_ref());
        self.session = Some(Session {
            entries: dialed.entries,
            bus: dialed.bus,
            _stop: dialed.stop,
        });
        self.shared.change_health(|health| {
            (health.is_loaded, health.is_told) = (true, false);
        });
        self.send(batch).await;
        self.tell_whether_away(Mono::now()).await;
    }

    /// The active engine must know: what the log has lost may have been told by an engine that is no more.
    fn report_lost_tail(&self, tail: Seq, mut link: CommandLink) {
        let Some(held) = &self.held else { return };
        // Where another change has our number, the log must have been further than it is for this to be seen.
        let seq = held.seq.max(tail.next());
        self.shared.report_lost(&held.epoch, seq);
        let order = LostTail::json(&held.epoch, seq);
        self.tasks.spawn_short("redis report", async move {
            if let Err(error) = link.give_order("", 0, &order).await {
                tracing::warn!(%error, "the loss could not be reported; it is at the next dial");
            }
        });
    }

    async fn take_sign(&mut self, sign: Sign) {
        let mut heard = Heard::default();
        match sign {
            Sign::Log(Some(LogNews::Read(entries))) => {
                heard.changes = entries;
                self.note_changes(&heard.changes);
                self.shared.count_tail_read();
                heard.results = self.no_longer_early();
            }
            Sign::Log(Some(LogNews::Over) | None) => return self.hang_up(Some(Mono::now())),
            Sign::Bus => {
                let Some(session) = &self.session else { return };
                let waiting = session.bus.take();
                heard.results = self.fresh(waiting.results);
                if let Some(beat) = waiting.beat {
                    self.note_beat(&beat, &mut heard);
                }
                if waiting.is_over {
                    self.hang_up(Some(Mono::now()));
                }
            }
        }
        let batch = self.hear(heard);
        self.send(batch).await;
    }

    fn note_beat(&mut self, beat: &Beat, heard: &mut Heard) {
        let now = Mono::now();
        let computed_anew = self.nobody_computes();
        self.beat_at = now;
        self.shared.highest_term.saw(Term::new(beat.term));
        if beat.term > self.term {
            (self.term, self.term_at) = (beat.term, Some(now));
        }
        if let (Some(clock), Some(status)) = (&self.clock, &beat.status) {
            clock.set(beat.time, status.speed, Duration::ZERO);
        }
        if beat.leaving {
            self.shared.look_now.notify_one();
        }
        heard.status = beat.status;
        if self.universe != Some((beat.term, beat.universe)) {
            self.universe = Some((beat.term, beat.universe));
            self.read_watched();
        }
        let Some(held) = &self.held else { return };
        if computed_anew {
            return self.hang_up(Some(now)); // what was held as out of date is read again
        }
        if beat.epoch != held.epoch {
            return self.hang_up(Some(now)); // the log was begun anew
        }
        if beat.seq <= held.seq {
            self.behind = None;
        } else if self.behind.is_none_or(|(seq, _)| seq <= held.seq) {
            self.behind = Some((beat.seq, now));
        }
    }

    fn read_watched(&self) {
        let Some(mut link) = self.shared.link() else {
            return;
        };
        let arrivals = self.arrivals.clone();
        self.tasks.spawn_short("redis watch list", async move {
            let Ok(Some(json)) = link.get(super::keys::UNIVERSE).await else {
                return; // the next version, or the next dial, brings it
            };
            if let Ok(watched) = serde_json::from_slice(&json) {
                let _ = arrivals.send(Arrived::Watched(watched)).await;
            }
        });
    }

    pub(super) fn hang_up(&mut self, lost_at: Option<Mono>) {
        self.session = None;
        self.shared.set_link(None);
        self.lost_at = self.lost_at.or(lost_at);
        self.behind = None;
        self.redial_at = Mono::now();
    }

    pub(super) fn redial_later(&mut self) {
        let wait = self.backoff.next_delay();
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.redial_at = Mono::now().plus_ms(wait_ms);
    }

    pub(super) async fn send(&mut self, batch: Batch) {
        if batch.items.is_empty() && self.readers.is_empty() {
            return;
        }
        let batch = Arc::new(batch);
        for reader in &self.readers {
            // A reader that is gone has ended with the program.
            let _ = reader.send(batch.clone()).await;
        }
    }
}

async fn next_word(words: &mut Option<mpsc::Receiver<Word>>) -> Option<Word> {
    match words {
        Some(words) => words.recv().await,
        None => std::future::pending().await,
    }
}

async fn next_sign(session: &mut Option<Session>) -> Sign {
    match session {
        Some(session) => tokio::select! {
            news = session.entries.recv() => Sign::Log(news),
            () = session.bus.news.notified() => Sign::Bus,
        },
        None => std::future::pending().await,
    }
}
