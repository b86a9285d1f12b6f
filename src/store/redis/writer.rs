//! The engine's side of Redis: one task that holds the role. Active, it numbers, appends and caches what the engine says;
//! as a standby it lets the engine be silent; and where the program may go on from memory, it sends what the engine says
//! to this process' own readers while Redis is away. It ends when its inbox is closed and empty.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::Part;
use super::active::{Active, Setback};
use super::cache::{Cache, CacheSettings};
use super::connect::CommandLink;
use super::error::RedisError;
use super::follower::{REDIAL_FIRST, REDIAL_LAST, Word};
use super::grant::{Grant, Term};
use super::lease::LeaseState;
use super::shared::Shared;
use super::take_over;
use super::wire::WatchedSeries;
use crate::backoff::Backoff;
use crate::clock::{ExchangeClock, Mono};
use crate::market::Symbol;
use crate::store::batch::{SavedScheduler, ToldOfAll, Voice, Write};

/// A program that may go on from memory does so after Redis has been away for so long.
const ALONE_AFTER_MS: u64 = 1_500;

/// Between two tries to take the role when the log changed under the first.
const RETRY_MS: u64 = 200;

/// Between two beats.
const BEAT_EVERY_MS: u64 = 1_000;

/// The longest the stop waits for Redis to take the last of it.
const LEAVE_WITHIN: Duration = Duration::from_millis(1_500);

/// What became of a turn at writing.
enum Written {
    /// Everything that was due.
    All,
    /// Nothing: the lease is not surely ours.
    Nothing,
}

/// Whether the program has readers of its own to go on for when Redis is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// Yes: from memory, in a numbering of its own.
    Memory,
    /// No: it waits for Redis.
    Wait,
}

/// What the writer works with.
pub(super) struct Desk {
    pub(super) shared: Arc<Shared>,
    pub(super) part: Part,
    pub(super) clock: ExchangeClock,
    pub(super) lease: watch::Receiver<LeaseState>,
    pub(super) voice: watch::Sender<Voice>,
    pub(super) mirror: mpsc::Sender<Word>,
    pub(super) universe: watch::Receiver<Arc<WatchedSeries>>,
}

enum Role {
    /// Another engine writes, or nobody yet.
    Standby,
    /// We write.
    Active(Box<Active>),
    /// Redis is away, and we speak to our own readers.
    Alone,
}

/// The task's state.
pub(super) struct Writer {
    desk: Desk,
    role: Role,
    /// The newest leave to speak, and whether what the engine says now is said by it.
    turn: u64,
    heard_turn: bool,
    /// Whether the engine has leave to speak.
    speaks: bool,
    link: Option<CommandLink>,
    backoff: Backoff,
    redial_at: Mono,
    away_since: Option<Mono>,
    beat_at: Mono,
    /// Our readers are still on the numbering of their own: they come back once Redis has what they were told.
    owes_return: bool,
    /// What had been told when we went on alone: should the log be lost meanwhile, what was told since goes into the new.
    told_before: Option<Arc<ToldOfAll>>,
    universe: u64,
    /// What the operator wants, and whether Redis has it.
    scheduler: Option<SavedScheduler>,
    scheduler_unsaved: bool,
    /// What the exchange trades, as our engine last said.
    tradable: Arc<BTreeSet<Symbol>>,
    /// Results written so far, over all roles.
    revs: Arc<AtomicU64>,
}

impl Writer {
    pub(super) fn new(desk: Desk) -> Self {
        Self {
            desk,
            role: Role::Standby,
            turn: 0,
            heard_turn: false,
            speaks: false,
            link: None,
            backoff: Backoff::new(REDIAL_FIRST, REDIAL_LAST),
            redial_at: Mono::default(),
            away_since: None,
            beat_at: Mono::default(),
            owes_return: false,
            told_before: None,
            universe: 0,
            scheduler: None,
            scheduler_unsaved: false,
            tradable: Arc::default(),
            revs: Arc::default(),
        }
    }

    /// Works until the inbox is closed and empty.
    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Vec<Write>>) {
        loop {
            self.work().await;
            let pause = self.pause();
            let shared = self.desk.shared.clone();
            tokio::select! {
                burst = inbox.recv() => {
                    let Some(mut burst) = burst else { break };
                    while let Ok(more) = inbox.try_recv() {
                        burst.extend(more);
                    }
                    self.take(burst).await;
                }
                Ok(()) = self.desk.lease.changed() => {}
                Ok(()) = self.desk.universe.changed() => {
                    self.universe += 1;
                }
                () = shared.lost_tail.notified() => self.look_at_lost_tail(),
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.leave().await;
    }

    /// Until something is due by the clock alone.
    fn pause(&self) -> Duration {
        let now = Mono::now();
        let due = match &self.role {
            Role::Active(_) if self.desk.lease.borrow().may_write(now).is_none() => {
                now.plus_ms(100) // the keeper says what becomes of it
            }
            Role::Active(active) if self.link.is_some() => {
                let cache = active.cache.next_due().unwrap_or(self.beat_at);
                cache.min(self.beat_at)
            }
            Role::Active(_) => self.redial_at,
            Role::Standby | Role::Alone => now.plus_ms(100),
        };
        Duration::from_millis(due.ms_since(now).clamp(1, 500))
    }

    /// Takes what the engine says, as far as it is said by the newest leave.
    async fn take(&mut self, burst: Vec<Write>) {
        let mut said = Vec::with_capacity(burst.len());
        let mut is_overruled = false;
        for write in burst {
            match write {
                Write::Turn(turn) => {
                    self.heard_turn = turn == self.turn;
                    said.clear();
                }
                Write::Scheduler(saved) => {
                    self.scheduler = Some(saved);
                    self.scheduler_unsaved = true;
                    // Said before the engine knew of the newest leave, which brought it an older word.
                    is_overruled |= self.speaks && !self.heard_turn;
                }
                Write::Tradable(tradable) => {
                    self.note_tradable(&tradable);
                    said.push(Write::Tradable(tradable));
                }
                said_now @ (Write::Change(_)
                | Write::Result { .. }
                | Write::Technical { .. }
                | Write::Ended(_)
                | Write::Symbols { .. }
                | Write::Status(_)) => said.push(said_now),
            }
        }
        if is_overruled {
            self.speak_again();
        }
        if !self.heard_turn {
            return;
        }
        match &mut self.role {
            Role::Standby => {}
            Role::Active(active) => {
                if active.take(said, Mono::now()) {
                    self.beat_at = Mono::now();
                }
            }
            Role::Alone => self.tell_mirror(Word::Local(said)).await,
        }
    }

    /// What the exchange trades goes to the hubs beside the watch list.
    fn note_tradable(&mut self, tradable: &Arc<BTreeSet<Symbol>>) {
        if *tradable != self.tradable {
            self.tradable = tradable.clone();
            self.universe += 1;
        }
    }

    /// Does what role and lease ask for.
    async fn work(&mut self) {
        let now = Mono::now();
        let lease = *self.desk.lease.borrow();
        match (lease, &self.role) {
            (LeaseState::Held { term, .. }, Role::Active(active)) if active.grant.term == term => {
                self.play(now).await;
            }
            (LeaseState::Held { term, .. }, _) => self.take_role(term, now).await,
            (LeaseState::Others, _) => self.step_down().await,
            (LeaseState::Away { since }, Role::Active(_) | Role::Standby) => {
                let is_long = now.ms_since(since) >= ALONE_AFTER_MS;
                match self.desk.part.fallback {
                    Fallback::Memory if is_long => self.go_alone().await,
                    Fallback::Memory => {}
                    Fallback::Wait => self.step_down().await,
                }
            }
            (LeaseState::Away { .. }, Role::Alone) => {}
        }
    }

    /// Writes what is due, as long as the lease is surely ours.
    async fn play(&mut self, now: Mono) {
        if now < self.redial_at {
            return;
        }
        let outcome = self.write(now).await;
        match outcome {
            Ok(Written::Nothing) => {}
            Ok(Written::All) => {
                self.backoff.reset();
                self.away_since = None;
                if self.owes_return && self.heard_turn {
                    self.owes_return = false;
                    tracing::info!("redis is back and up to date");
                    self.tell_mirror(Word::Return).await;
                }
            }
            Err(Setback::Away(error)) => self.note_away(&error, now).await,
            Err(Setback::Fenced) => {
                tracing::warn!("the lease is no longer ours: standing by");
                self.desk.shared.look_now.notify_one();
                self.step_down().await;
            }
            Err(Setback::LogDiffers(why)) => {
                tracing::warn!(why, "the log is not what we wrote: reading it anew");
                self.take_anew();
            }
        }
    }

    async fn write(&mut self, now: Mono) -> Result<Written, Setback> {
        let Role::Active(active) = &mut self.role else {
            return Ok(Written::Nothing);
        };
        if self.desk.lease.borrow().may_write(now).is_none() {
            return Ok(Written::Nothing);
        }
        let settings = &self.desk.shared.settings;
        let link = match &mut self.link {
            Some(link) => link,
            none => {
                active.begin_again(now);
                none.insert(CommandLink::open(settings).await?)
            }
        };
        if active.universe() != self.universe && self.heard_turn {
            let list = self.desk.universe.borrow().clone();
            if active.may_tell(&list, self.desk.shared.view.interest(), now) {
                let watched = WatchedSeries {
                    tradable: (*self.tradable).clone(),
                    ..(*list).clone()
                };
                active.watch_only(&watched, self.universe, link).await?;
                self.beat_at = now; // hubs hear of it by the beat
            }
        }
        if let Some(saved) = self.scheduler.as_ref().filter(|_| self.scheduler_unsaved) {
            link.save_scheduler(saved).await?;
            self.scheduler_unsaved = false;
        }
        active.write(link, settings, &self.desk.lease).await?;
        let shared = &self.desk.shared;
        shared.note_seen(active.ledger.epoch(), active.ledger.head());
        if now >= self.beat_at && self.heard_turn {
            self.beat_at = now.plus_ms(BEAT_EVERY_MS);
            active
                .beat(link, settings, self.desk.clock.now(), false)
                .await?;
        }
        Ok(Written::All)
    }

    /// Redis did not answer: try again soon, and go on alone if that lasts and we may.
    async fn note_away(&mut self, error: &RedisError, now: Mono) {
        self.link = None;
        let since = *self.away_since.get_or_insert(now);
        if since == now {
            tracing::warn!(%error, "redis does not answer");
        }
        let wait = self.backoff.next_delay();
        self.redial_at = now.plus_ms(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        let is_long = Mono::now().ms_since(since) >= ALONE_AFTER_MS;
        if is_long && self.desk.part.fallback == Fallback::Memory {
            self.go_alone().await;
        }
    }

    /// The lease is ours: reads what the log says and gives the engine leave to speak from there.
    async fn take_role(&mut self, term: Term, now: Mono) {
        if now < self.redial_at {
            return;
        }
        let engine = self.desk.shared.engine();
        let grant = Grant { engine, term };
        let read = take_over::read(&self.desk.shared, &grant).await;
        let (link, mut log) = match read {
            Ok(read) => read,
            Err(Setback::Away(error)) => return self.note_away(&error, now).await,
            Err(Setback::Fenced) => {
                self.redial_at = now.plus_ms(RETRY_MS);
                return self.desk.shared.look_now.notify_one();
            }
            Err(Setback::LogDiffers(why)) => {
                self.redial_at = now.plus_ms(RETRY_MS);
                tracing::warn!(why, "the log changed while it was read");
                return;
            }
        };
        tracing::info!(%term, epoch = %log.ledger.epoch(), seq = %log.ledger.head(), "active: this engine writes");
        let told_before = self.told_before.take();
        if let Some(told) = told_before.filter(|_| log.is_new) {
            for (key, told) in told.iter() {
                log.ledger.begin(key, told.base);
            }
        }
        let told = Arc::new(log.ledger.told());
        if !self.scheduler_unsaved {
            self.scheduler = log.scheduler;
        }
        let settings = &self.desk.shared.settings;
        let cache = Cache::new(
            CacheSettings {
                ttl_ms: settings.cache_ttl_secs.saturating_mul(1_000),
                interval_ms: settings.result_interval_ms,
                primary: self.desk.part.primary,
                db: settings.db(),
            },
            term.get(),
            self.revs.clone(),
        );
        let active = Active::new(grant, log.ledger, cache, log.series, now);
        self.owes_return |= matches!(self.role, Role::Alone);
        self.role = Role::Active(Box::new(active));
        self.desk.shared.active.send_replace(true);
        self.link = Some(link);
        self.backoff.reset();
        (self.away_since, self.beat_at) = (None, now);
        self.speak(told);
    }

    /// Somebody has seen more of this log than there is, or says so: what is there is read, and a numbering that lost its end
    /// is begun anew.
    fn look_at_lost_tail(&mut self) {
        let Role::Active(active) = &self.role else {
            return;
        };
        // One that was begun anew meanwhile needs nothing: a report may come by the log's holder and by every hub.
        if self.desk.shared.take_lost().as_ref() == Some(active.ledger.epoch()) {
            self.take_anew();
        }
    }

    /// The log must be read again. The lease is still ours, so the role is taken anew at once.
    fn take_anew(&mut self) {
        if matches!(self.role, Role::Active(_)) {
            self.role = Role::Standby;
        }
    }

    /// Gives the engine leave to speak, after what was told.
    fn speak(&mut self, told: Arc<ToldOfAll>) {
        self.turn += 1;
        self.heard_turn = false;
        self.speaks = true;
        self.desk.voice.send_replace(Voice::Speaking {
            turn: self.turn,
            told,
            scheduler: self.scheduler.clone(),
        });
    }

    /// As before, but with what the operator has said since.
    fn speak_again(&mut self) {
        match &self.role {
            Role::Standby => {} // it is said with the next leave
            Role::Active(active) => self.speak(Arc::new(active.ledger.told())),
            Role::Alone => self.speak(Arc::new(self.desk.shared.view.told())),
        }
    }

    /// The role is lost: the engine is silent until it is ours again.
    /// Readers who were on a numbering of our own come back to the log's.
    async fn step_down(&mut self) {
        let was_alone = matches!(self.role, Role::Alone) || std::mem::take(&mut self.owes_return);
        if matches!(self.role, Role::Standby) && !self.speaks && !was_alone {
            return;
        }
        self.role = Role::Standby;
        (self.speaks, self.away_since) = (false, None);
        self.desk.shared.active.send_replace(false);
        self.heard_turn = false;
        self.desk.voice.send_replace(Voice::Silent);
        if was_alone {
            tracing::info!("redis is back, and another engine is active");
            self.tell_mirror(Word::Return).await;
        }
    }

    /// Redis is away: our own readers get what the engine says, in a numbering of this process.
    async fn go_alone(&mut self) {
        if matches!(self.role, Role::Alone) {
            return;
        }
        tracing::warn!("redis is away: going on from memory, in a numbering of our own");
        self.link = None;
        self.desk.shared.active.send_replace(false);
        self.tell_mirror(Word::Alone).await;
        (self.role, self.owes_return) = (Role::Alone, false);
        self.told_before = Some(self.desk.shared.view.told().into());
        // From what our own readers have: what is in the log and has not come to them they must still be told.
        let told = Arc::new(self.desk.shared.view.told());
        self.speak(told);
    }

    /// The program stops: the last of it goes out, and another engine may take over at once.
    async fn leave(mut self) {
        let Role::Active(active) = &mut self.role else {
            return;
        };
        let Some(link) = &mut self.link else { return };
        let settings = &self.desk.shared.settings;
        let last = async {
            active.write(link, settings, &self.desk.lease).await?;
            active
                .beat(link, settings, self.desk.clock.now(), true)
                .await
        };
        match tokio::time::timeout(LEAVE_WITHIN, last).await {
            Ok(Ok(())) => {}
            Ok(Err(setback)) => tracing::warn!(?setback, "the last changes were not written"),
            Err(_) => tracing::warn!("redis did not take the last changes in time"),
        }
        let seq = active.ledger.head();
        self.tell_mirror(Word::Last(seq)).await;
    }

    async fn tell_mirror(&self, word: Word) {
        // It ends after us, or with the whole program.
        let _ = self.desk.mirror.send(word).await;
    }
}
