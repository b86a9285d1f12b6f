//! Results, changes and who is told: the one place where a change gets its number.
//! The engine sends `Write`s; the writer task numbers the changes, publishes the new state as a whole and hands one
//! `Batch` to every reader. Within a batch every change stands before any result that shows it. REST and the hub read
//! the published state and the log; nobody else writes. Memory is the store of one process; its numbering dies with it.
//! With Redis the log is there: one engine's writer appends to it, and every process' memory mirrors it.

mod batch;
mod burst;
mod interest;
mod ledger;
mod log;
mod memory;
mod mirror;
mod published;
pub mod redis;

pub use batch::{
    Base, Batch, Item, Occasion, ResetReason, SavedScheduler, Told, ToldOfAll, Voice, Write,
};
pub use interest::{Interest, Noted, WANTED_FOR};
pub use log::{ChangeFilter, ChangesPage, Gone};
pub use memory::MemoryStore;
pub use published::Published;
pub use redis::RedisStore;

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::clock::Mono;
use crate::signal::Seq;

/// How many changes the log keeps.
pub const KEPT_CHANGES: usize = 100_000;

/// Bursts of writes that may wait for the writer. When full the engine waits: its own inbox conflates meanwhile.
pub const WRITE_QUEUE: usize = 64;

/// The store in use; clones share it.
#[derive(Debug, Clone)]
pub enum Store {
    /// In this process.
    Memory(Arc<MemoryStore>),
    /// In Redis, which this process follows.
    Redis(RedisStore),
}

impl Store {
    /// A store in memory, with an epoch of its own.
    pub fn memory() -> Self {
        Self::Memory(Arc::new(MemoryStore::new(KEPT_CHANGES)))
    }

    /// What this process has of it: everything readers are served from.
    pub fn view(&self) -> &Arc<MemoryStore> {
        match self {
            Self::Memory(view) => view,
            Self::Redis(redis) => redis.view(),
        }
    }

    /// The state as last published: epoch, head and every result, of one moment.
    pub fn published(&self) -> Arc<Published> {
        self.view().published()
    }

    /// Follows the published state.
    pub fn follow(&self) -> watch::Receiver<Arc<Published>> {
        self.view().follow()
    }

    /// What readers want watched.
    pub fn interest(&self) -> &Interest {
        self.view().interest()
    }

    /// How often the tail of a log that others write has been read; none for a log that is ours.
    pub fn tail_reads(&self) -> Option<u64> {
        match self {
            Self::Memory(_) => None,
            Self::Redis(redis) => redis.tail_reads(),
        }
    }

    /// Whether there is anything to read: a log that others write must have been read once.
    pub fn is_readable(&self) -> bool {
        match self {
            Self::Memory(_) => true,
            Self::Redis(redis) => redis.is_readable(),
        }
    }

    /// Since when Redis is away; none while it is there, and where there is none to be.
    pub fn away_since(&self) -> Option<Mono> {
        match self {
            Self::Memory(_) => None,
            Self::Redis(redis) => redis.health().away_since,
        }
    }

    /// The logged changes after `since` that match, oldest first, at most `limit`.
    ///
    /// # Errors
    /// `Gone` when the numbers after `since` are no longer (or not yet) in the log.
    pub fn changes(
        &self,
        since: Seq,
        limit: usize,
        filter: &ChangeFilter,
    ) -> Result<ChangesPage, Gone> {
        self.view().changes(since, limit, filter)
    }
}

impl MemoryStore {
    /// The writer: numbers, publishes and hands on what the engine says, until its inbox is closed and empty.
    /// A reader that does not take a batch holds the writer back; a reader that is gone is forgotten.
    pub async fn write_all(
        self: Arc<Self>,
        mut inbox: mpsc::Receiver<Vec<Write>>,
        mut readers: Vec<mpsc::Sender<Arc<Batch>>>,
    ) {
        while let Some(first) = inbox.recv().await {
            let mut burst = first;
            while let Ok(more) = inbox.try_recv() {
                burst.extend(more);
            }
            let batch = Arc::new(self.write(burst));
            let mut gone = false;
            for reader in &readers {
                gone |= reader.send(batch.clone()).await.is_err();
            }
            if gone {
                readers.retain(|reader| !reader.is_closed());
            }
        }
    }
}

#[cfg(test)]
mod tests;
