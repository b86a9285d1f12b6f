//! Results, changes and who is told: the one place where a change gets its number.
//! The engine sends `Write`s; the writer task numbers the changes, publishes the new state as a whole and hands one
//! `Batch` to every reader. Within a batch every change stands before any result that shows it. REST and the hub read
//! the published state and the log; nobody else writes. Memory is the store of one process; its numbering dies with it.

mod batch;
mod log;
mod memory;
mod published;
pub mod redis;

pub use batch::{Base, Batch, Item, Occasion, ResetReason, Told, ToldOfAll, Voice, Write};
pub use log::{ChangeFilter, ChangesPage, Gone};
pub use memory::MemoryStore;
pub use published::Published;

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

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
}

impl Store {
    /// A store in memory, with an epoch of its own.
    pub fn memory() -> Self {
        Self::Memory(Arc::new(MemoryStore::new(KEPT_CHANGES)))
    }

    /// The state as last published: epoch, head and every result, of one moment.
    pub fn published(&self) -> Arc<Published> {
        match self {
            Self::Memory(store) => store.published(),
        }
    }

    /// Follows the published state.
    pub fn follow(&self) -> watch::Receiver<Arc<Published>> {
        match self {
            Self::Memory(store) => store.follow(),
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
        match self {
            Self::Memory(store) => store.changes(since, limit, filter),
        }
    }

    /// The writer: numbers, publishes and hands on what the engine says, until its inbox is closed and empty.
    /// A reader that does not take a batch holds the writer back; a reader that is gone is forgotten.
    pub async fn write_all(
        self,
        mut inbox: mpsc::Receiver<Vec<Write>>,
        mut readers: Vec<mpsc::Sender<Arc<Batch>>>,
    ) {
        while let Some(first) = inbox.recv().await {
            let mut burst = first;
            while let Ok(more) = inbox.try_recv() {
                burst.extend(more);
            }
            let batch = match &self {
                Self::Memory(store) => Arc::new(store.write(burst)),
            };
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
