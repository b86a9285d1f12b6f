//! What the tasks of the store share with each other and with who reads it: the view, the health of the connection, a
//! link for reads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use super::RedisSettings;
use super::connect::CommandLink;
use super::dial::Position;
use super::grant::{EngineId, HighestTerm};
use super::wire::WatchedSeries;
use crate::clock::Mono;
use crate::signal::{Epoch, Seq};
use crate::store::MemoryStore;

/// How the reading side of Redis does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// Whether the log has been read at all.
    pub is_loaded: bool,
    /// Since when Redis, or an engine behind it, has been silent; none: it is there.
    pub away_since: Option<Mono>,
    /// Whether the present trouble has been logged.
    pub(super) is_told: bool,
}

/// Shared by the tasks of one store.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: RedisSettings,
    pub(super) view: Arc<MemoryStore>,
    /// Name of this process on the bus.
    name: EngineId,
    /// The lease may be free, or is no longer ours: its keeper looks at once.
    pub(super) look_now: Arc<Notify>,
    /// Somebody holds more of the log than Redis does: the active engine looks, and begins anew.
    pub(super) lost_tail: Notify,
    /// Whether the engine of this process is the active one.
    pub(super) active: watch::Sender<bool>,
    /// Whether this process numbers alone.
    alone: AtomicBool,
    pub(super) highest_term: HighestTerm,
    /// The watch list as the active engine tells it.
    pub(super) watched: watch::Sender<Arc<WatchedSeries>>,
    health: watch::Sender<Health>,
    tail_reads: AtomicU64,
    /// The highest place in the log that was ever seen.
    seen: Mutex<Option<(Epoch, Seq)>>,
    /// Of which numbering more is held somewhere than there is.
    lost: Mutex<Option<Epoch>>,
    link: Mutex<Option<CommandLink>>,
}

impl Shared {
    pub(super) fn new(settings: RedisSettings, view: Arc<MemoryStore>, name: EngineId) -> Self {
        let health = Health {
            is_loaded: false,
            away_since: None,
            is_told: false,
        };
        Self {
            settings,
            view,
            name,
            look_now: Arc::default(),
            lost_tail: Notify::new(),
            active: watch::Sender::new(false),
            alone: AtomicBool::new(false),
            highest_term: HighestTerm::default(),
            watched: watch::Sender::new(Arc::default()),
            health: watch::Sender::new(health),
            tail_reads: AtomicU64::new(0),
            seen: Mutex::default(),
            lost: Mutex::default(),
            link: Mutex::default(),
        }
    }

    pub(super) fn health(&self) -> Health {
        *self.health.borrow()
    }

    pub(super) fn change_health(&self, change: impl FnOnce(&mut Health)) {
        self.health.send_modify(change);
    }

    /// Name of this process on the bus, and of its engine in the lease.
    pub(super) fn engine(&self) -> EngineId {
        self.name.clone()
    }

    pub(super) fn is_alone(&self) -> bool {
        self.alone.load(Ordering::Acquire)
    }

    pub(super) fn set_alone(&self, alone: bool) {
        self.alone.store(alone, Ordering::Release);
    }

    pub(super) fn tail_reads(&self) -> u64 {
        self.tail_reads.load(Ordering::Acquire)
    }

    pub(super) fn count_tail_read(&self) {
        self.tail_reads.fetch_add(1, Ordering::AcqRel);
    }

    /// A link for reads, while Redis is there.
    pub(super) fn link(&self) -> Option<CommandLink> {
        lock(&self.link).clone()
    }

    pub(super) fn set_link(&self, link: Option<CommandLink>) {
        *lock(&self.link) = link;
    }

    /// The highest place in the log that was ever seen, in the epoch that was seen last.
    pub(super) fn seen(&self) -> Option<(Epoch, Seq)> {
        lock(&self.seen).clone()
    }

    pub(super) fn note_position(&self, held: Option<&Position>) {
        if let Some(held) = held {
            self.note_seen(&held.epoch, held.seq);
        }
    }

    /// Somebody holds the log up to this place, and it is not there.
    pub(super) fn report_lost(&self, epoch: &Epoch, seq: Seq) {
        self.note_seen(epoch, seq);
        *lock(&self.lost) = Some(epoch.clone());
        self.lost_tail.notify_one();
    }

    /// The numbering that was last reported as lost, once.
    pub(super) fn take_lost(&self) -> Option<Epoch> {
        lock(&self.lost).take()
    }

    /// The log is known to have reached this place.
    pub(super) fn note_seen(&self, epoch: &Epoch, seq: Seq) {
        let mut seen = lock(&self.seen);
        match &mut *seen {
            Some((known, highest)) if known == epoch => *highest = seq.max(*highest),
            Some(_) | None => *seen = Some((epoch.clone(), seq)),
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
