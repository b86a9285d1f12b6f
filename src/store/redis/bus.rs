//! What comes over pub/sub: drained into a bounded map where the newest wins, before any work is done with it, so that
//! Redis never has a reason to cut the connection.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::answers::Answers;
use super::connect::{Message, PubSubLink};
use super::keys;
use super::wire::{Beat, Rev, is_of, read_published};
use crate::market::SeriesKey;
use crate::signal::SignalResult;

/// Series that may wait: more than are ever watched. What does not fit is read with all results at the next gap.
const SERIES_MAX: usize = 50_000;

/// What has been heard and not yet taken.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) results: BTreeMap<SeriesKey, (Rev, SignalResult)>,
    pub(super) beat: Option<Beat>,
    /// The connection is gone: nothing more will come.
    pub(super) is_over: bool,
}

/// The meeting point of the draining task and the one that works.
#[derive(Debug)]
pub(super) struct Bus {
    waiting: Mutex<Waiting>,
    pub(super) news: Notify,
    db: i64,
}

impl Bus {
    /// Hears what is said of this database.
    pub(super) fn new(db: i64) -> Self {
        Self {
            waiting: Mutex::default(),
            news: Notify::new(),
            db,
        }
    }

    /// What has come since the last time.
    pub(super) fn take(&self) -> Waiting {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn put(&self, change: impl FnOnce(&mut Waiting)) {
        change(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        self.news.notify_one();
    }

    /// Drains `link` until it ends or `stop` is cancelled. Answers to our own orders go to `answers`.
    pub(super) async fn drain(
        self: Arc<Self>,
        mut link: PubSubLink,
        answers: Arc<Answers>,
        stop: CancellationToken,
    ) {
        loop {
            let message = tokio::select! {
                message = link.next() => message,
                () = stop.cancelled() => break,
            };
            match message {
                Ok(message) => self.sort(&message, &answers),
                Err(error) => {
                    tracing::debug!(%error, "the bus is cut");
                    break;
                }
            }
        }
        self.put(|waiting| waiting.is_over = true);
    }

    fn sort(&self, message: &Message, answers: &Answers) {
        if message.channel == keys::BEAT {
            match serde_json::from_slice::<Beat>(&message.payload) {
                Ok(beat) if !is_of(beat.db, self.db) => {}
                Ok(beat) => self.put(|waiting| waiting.beat = Some(beat)),
                Err(error) => tracing::debug!(%error, "a beat that cannot be read"),
            }
        } else if message.channel == answers.channel() {
            answers.take(&message.payload);
        } else {
            self.update(&message.payload);
        }
    }

    fn update(&self, json: &[u8]) {
        match read_published(json, self.db) {
            Ok(None) => {}
            Ok(Some((rev, result))) => self.put(|waiting| {
                let key = result.key();
                let is_newer = waiting
                    .results
                    .get(&key)
                    .is_none_or(|(held, _)| rev > *held);
                if is_newer && waiting.results.len() < SERIES_MAX {
                    waiting.results.insert(key, (rev, result));
                }
            }),
            Err(error) => tracing::debug!(%error, "a result that cannot be read"),
        }
    }
}
